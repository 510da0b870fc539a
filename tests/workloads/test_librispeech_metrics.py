"""Decoding, word error rates and the CTC loss, against the benchmark's numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torchmetrics.functional.text import edit_distance

from algoperf_lightning.data.streams import EvaluationBatches
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import LibriSpeechConformer
from algoperf_lightning.workloads.librispeech.ctc import ctc_loss
from algoperf_lightning.workloads.librispeech.decoding import greedy_decode
from algoperf_lightning.workloads.librispeech.metric import WordErrorRate, edit_distances, printed, word_errors

# Reference, hypothesis, errors and words as printed, errors and words.
CASES = [
    ("HELLO WORLD", "HELLO WORLD", 0, 4, 0, 2),
    ("HELLO WORLD", "HELLO", 2, 4, 1, 2),
    ("OPEN SOURCE ROCKS", "OPEN SAUCE ROCKS", 1, 5, 1, 3),
    ("DON'T STOP THE MUSIC", "DONT STOP THE MUSIC", 2, 6, 1, 4),
    ("HOW ARE YOU", "", 3, 5, 3, 3),
    ("THE QUICK BROWN FOX", "THE QUICK QUICK BROWN FOX", 1, 6, 1, 4),
    ("I CAN'T SAY", "I CAN'T SAY", 0, 5, 0, 3),
    ("THE LAZY DOG", "A LAZY DOG", 1, 5, 1, 3),
    ("ARE YOU THE FOX", "ARE THE FOX", 1, 6, 1, 4),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[1] or "nothing")
def test_errors_and_words_are_those_of_the_reference(case):
    reference, hypothesis, *expected = case
    as_printed = word_errors([printed(reference)], [printed(hypothesis)])
    plain = word_errors([reference], [hypothesis])
    assert [numbers.item() for numbers in (*as_printed, *plain)] == expected


@pytest.mark.parametrize(("as_printed", "expected"), [(True, 11 / 46), (False, 9 / 28)])
def test_rate_of_a_split_is_that_of_the_reference(as_printed, expected):
    metric = WordErrorRate(as_printed=as_printed)
    for begin in range(0, len(CASES), 4):
        references, hypotheses = zip(*(case[:2] for case in CASES[begin : begin + 4]), strict=True)
        metric.update(references, hypotheses)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-12)


def test_unknown_characters_are_printed_as_bytes():
    assert printed("A ⁇ B") == r"tf.Tensor(b'A \xe2\x81\x87 B', shape=(), dtype=string)"
    assert printed('SAY "IT\'S"') == r"""tf.Tensor(b'SAY "IT\'S"', shape=(), dtype=string)"""


def test_edit_distances_are_those_of_the_reference_and_of_torchmetrics():
    assert word_errors(["a b c d", "", "kitten sat"], ["a x c", "a b", "sat kitten"])[0].tolist() == [2, 2, 2]
    generator = random.Random(0)
    pairs = [[[generator.randrange(4) for _ in range(generator.randrange(9))] for _ in range(2)] for _ in range(300)]
    firsts, seconds = zip(*pairs, strict=True)
    words = [["".join("abcd"[number] for number in numbers) for numbers in side] for side in (firsts, seconds)]
    assert edit_distances(firsts, seconds).tolist() == edit_distance(*words, reduction="none").tolist()


def test_greedy_decoding_is_that_of_the_reference():
    frames = [
        [0, 3, 3, 0, 3, 5, 5, 2, 2, 0, 0, 7],
        [4, 4, 4, 1, 1, 0, 6, 6, 2, 9, 9, 9],
        [0] * 12,
        [8] * 12,
    ]
    logits = torch.nn.functional.one_hot(torch.tensor(frames), 10).float()
    labels, counts = greedy_decode(logits, torch.tensor([12, 9, 12, 1]))
    decoded = [row[:count].tolist() for row, count in zip(labels, counts, strict=True)]
    assert decoded == [[3, 3, 5, 2, 7], [4, 1, 6, 2], [], [8]]
    assert labels.shape == (4, 12)
    assert all(not row[count:].any() for row, count in zip(labels, counts, strict=True))


LOGITS = torch.from_numpy(np.sin(0.3 * np.arange(144))).float().view(2, 12, 6)
TARGETS = {"targets": torch.tensor([[1, 2, 2, 3], [5, 4, 0, 0]]), "target_lengths": torch.tensor([4, 2])}


@pytest.mark.parametrize(
    ("lengths", "weights", "losses", "tokens"),
    [
        pytest.param([12, 9], None, [13.3270, 10.0303], [4, 2], id="plain"),
        pytest.param([12, 9], [1.0, 0.0], [13.3270, 0.0], [4, 0], id="masked"),
        pytest.param([4, 4], None, [torch.inf, 4.20332], [4, 2], id="impossible"),
        pytest.param([4, 4], [0.0, 1.0], [0.0, 4.20332], [0, 2], id="impossible-and-masked"),
    ],
)
def test_ctc_loss_is_that_of_the_reference(lengths, weights, losses, tokens):
    batch = TARGETS if weights is None else {**TARGETS, "weights": torch.tensor(weights)}
    loss = ctc_loss(LOGITS, torch.tensor(lengths), batch)
    assert loss.per_example.tolist() == pytest.approx(losses, rel=1e-5)
    assert loss.weight.tolist() == tokens


def test_an_evaluation_counts_every_utterance_once(tmp_path):
    workload = LibriSpeechConformer(PlainSGD(), tiny=True, data_dir=tmp_path)
    workload.data.write_tiny()
    workload.configure_model()
    workload.eval()
    examples = workload.data.open("test")
    results = []
    with torch.no_grad():
        for size in (32, 13):
            metrics = workload.build_metrics()
            for batch in EvaluationBatches(examples, size):
                workload.evaluate(batch, metrics)
            results.append({name: float(metric.compute()) for name, metric in metrics.items()})
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    words = sum(len(examples.index.transcript(row).split()) for row in examples.rows)
    assert metrics["plain_wer"].words == words
    assert metrics["wer"].words == words + 2 * len(examples)
    texts = [examples.index.transcript(row) for row in examples.rows]
    assert metrics["loss"].weight == sum(len(pieces) for pieces in examples.tokenizer.encode(texts))
