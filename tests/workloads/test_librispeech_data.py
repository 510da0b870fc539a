"""Data of LibriSpeech: splits, batches, the tokenizer, and the tiny data set."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import sentencepiece
import soundfile
import torch

from algoperf_lightning.data import DataNotFoundError, Draws
from algoperf_lightning.data.streams import Loader, TrainingStream
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.workloads.librispeech.data import LibriSpeechData
from algoperf_lightning.workloads.librispeech.spec import (
    CONFORMER,
    DEEPSPEECH,
    FOLDER,
    TINY_UTTERANCES,
    TINY_VOCABULARY,
    TOKENIZER_FILE,
)
from algoperf_lightning.workloads.librispeech.tokenizer import Tokenizer, train_tokenizer

TINY = CONFORMER.of(tiny=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("librispeech")
    LibriSpeechData(CONFORMER, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tiny, tmp_path):
    """To damage."""
    shutil.copytree(tiny, tmp_path / "own")
    return tmp_path / "own"


def read(examples, indices):
    return examples.read(np.asarray(indices), Draws(0, np.asarray(indices)))


# Reading


def test_every_split_reads_as_declared(tiny):
    data = LibriSpeechData(TINY, tiny)
    data.check()
    assert {split: len(data.open(split)) for split in TINY.splits} == TINY.splits
    batch = next(iter(TrainingStream(data.open("train"), 8, seed=0)))
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in batch.items()}
    assert shapes == {
        "inputs": ((8, 25_600), torch.int16),
        "input_lengths": ((8,), torch.int64),
        "targets": ((8, 24), torch.int64),
        "target_lengths": ((8,), torch.int64),
    }


def test_the_tiny_data_are_read_at_full_size_too(tiny):
    for spec in (CONFORMER, DEEPSPEECH):
        batch = read(LibriSpeechData(spec, tiny).open("test"), [0])
        assert batch["inputs"].shape == (1, 320_000)
        assert batch["targets"].shape == (1, 256)


def test_an_example_is_its_recording_and_its_transcript(tiny):
    examples = LibriSpeechData(TINY, tiny).open("validation")
    lines = (tiny / FOLDER / "dev-other/5/2/5-2.trans.txt").read_text().splitlines()
    utterance, _, text = lines[3].partition(" ")
    row = next(row for row in range(len(examples)) if examples.index.path(row).endswith(f"/{utterance}.flac"))
    batch = read(examples, [0, row])
    sound, rate = soundfile.read(tiny / FOLDER / f"dev-other/5/2/{utterance}.flac", dtype="int16")
    assert rate == 16_000
    length = batch["input_lengths"][1]
    assert length == len(sound)
    assert np.array_equal(batch["inputs"][1, :length], sound)
    assert not batch["inputs"][1, length:].any()
    pieces = batch["targets"][1, : batch["target_lengths"][1]].tolist()
    assert pieces[-1] == 2
    assert 2 not in pieces[:-1]
    assert 1 not in pieces
    assert not batch["targets"][1, len(pieces) :].any()
    assert examples.tokenizer.decode([pieces]) == [text]


def test_splits_are_the_official_parts_without_what_is_too_long(tiny):
    shorter = {**TINY.data, "samples": 20_000, "characters": 12}
    data = LibriSpeechData(dataclasses.replace(TINY, data=shorter), tiny)
    everything = LibriSpeechData(TINY, tiny).open("train").index
    assert len(everything) == 288
    assert {everything.path(row).split("/")[0] for row in range(288)} == {
        "train-clean-100", "train-clean-360", "train-other-500",
    }  # fmt: skip
    kept = data.open("train").index
    expected = [
        (everything.path(row), everything.transcript(row))
        for row in range(288)
        if everything.samples[row] <= 20_000 and len(everything.transcript(row)) <= 12
    ]
    assert 0 < len(kept) < 288
    assert [(kept.path(row), kept.transcript(row)) for row in range(len(kept))] == expected


def test_the_evaluated_part_of_train_is_fixed_by_the_seed(tiny):
    rows = [LibriSpeechData(TINY, tiny, seed=seed).open("eval_train").rows for seed in (0, 0, 1)]
    assert len(set(rows[0])) == 48
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


def test_processes_read_the_same_batches(tiny):
    stream = TrainingStream(LibriSpeechData(TINY, tiny).open("train"), 8, seed=0)
    for number, (one, other) in enumerate(zip(Loader(stream), Loader(stream, workers=2), strict=False)):
        assert all(torch.equal(one[name], other[name]) for name in one)
        if number == 2:
            break


def test_full_scale_reads_in_processes_and_tiny_does_not(tiny):
    assert LibriSpeechData(CONFORMER, tiny).workers == 4
    assert LibriSpeechData(TINY, tiny).workers == 0


# The tokenizer


def test_the_tokenizer_has_the_settings_of_the_benchmark(tiny):
    model = (tiny / FOLDER / TOKENIZER_FILE).read_bytes()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert processor.vocab_size() == TINY_VOCABULARY
    special = (processor.unk_id(), processor.bos_id(), processor.eos_id(), processor.pad_id())
    assert special == (0, 1, 2, -1)
    index = LibriSpeechData(TINY, tiny)._read_index("train-clean-100")
    transcripts = [index.transcript(row) for row in range(len(index))]
    assert train_tokenizer(transcripts, TINY_VOCABULARY) == model
    assert set("".join(transcripts)) == set("AEINOST' ")
    assert all(0 not in pieces for pieces in Tokenizer(model).encode(transcripts))  # every character is covered


def test_pieces_that_do_not_exist_are_unknown(tiny):
    tokenizer = LibriSpeechData(CONFORMER, tiny).tokenizer
    assert tokenizer.decode([[1000], [0], [], [2]]) == [" ⁇ ", " ⁇ ", "", ""]


def test_a_tokenizer_of_another_vocabulary_is_refused(own_tiny):
    texts = ["A BOY NAMED TOM SAT", "THE QUICK BROWN FOX JUMPS OVER A LAZY DOG", "IT'S NOT SO"] * 9
    (own_tiny / FOLDER / TOKENIZER_FILE).write_bytes(train_tokenizer(texts, 32))
    with pytest.raises(DataNotFoundError, match=r"spm_model\.vocab is damaged: .* model of 16 pieces, but it has 32"):
        LibriSpeechData(TINY, own_tiny).check()
    (own_tiny / FOLDER / "TINY").unlink()
    with pytest.raises(DataNotFoundError, match=r"model of 1,024 pieces, but it has 32"):
        assert LibriSpeechData(CONFORMER, own_tiny).tokenizer


def test_a_target_that_does_not_fit_is_named(tiny):
    spec = dataclasses.replace(TINY, data={**TINY.data, "tokens": 5})
    with pytest.raises(BadInputError, match=r"word pieces of train-clean-\d+/.*\.flac, but at most 5 fit"):
        LibriSpeechData(spec, tiny).check()


# The tiny data set


def test_tiny_data_are_the_same_for_the_same_seed(tiny, tmp_path):
    LibriSpeechData(CONFORMER, tmp_path / "b").write_tiny(0)
    LibriSpeechData(CONFORMER, tmp_path / "c").write_tiny(1)
    a, b, c = (
        [path.read_bytes() for path in sorted((folder / FOLDER).rglob("*.flac"))]
        for folder in (tiny, tmp_path / "b", tmp_path / "c")
    )
    assert a == b
    assert len(a) == len(c) == sum(TINY_UTTERANCES.values())
    assert all(one != other for one, other in zip(a, c, strict=True))


def test_tiny_data_may_be_written_again_by_the_other_workload(own_tiny):
    LibriSpeechData(DEEPSPEECH, own_tiny).write_tiny(5)
    LibriSpeechData(TINY, own_tiny).check()
