"""The text of tolstoi_char_rnn: what is left out, numbers of characters, rows and blocks, states between blocks."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError

import numpy as np
import pytest
import torch

from algoperf_lightning.data import DataNotFoundError, TrainingStream, checksum
from algoperf_lightning.data.streams import EvaluationBatches
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads.tolstoi import data as tolstoi_data
from algoperf_lightning.workloads.tolstoi.batches import Blocks
from algoperf_lightning.workloads.tolstoi.carried_state import CarriedState
from algoperf_lightning.workloads.tolstoi.data import TolstoiData
from algoperf_lightning.workloads.tolstoi.reading import CUTS, encode, without
from algoperf_lightning.workloads.tolstoi.spec import TOLSTOI_CHAR_RNN
from algoperf_lightning.workloads.tolstoi.workload import TolstoiCharRnn

PATH = "tolstoi/war-and-peace.txt"
TINY = TOLSTOI_CHAR_RNN.of(tiny=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tolstoi")
    TolstoiData(TINY, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tmp_path):
    TolstoiData(TINY, tmp_path).write_tiny()
    return tmp_path


# Text


def test_lines_are_left_out_as_in_the_official_file():
    front, title, contents = 29, 4, 771
    text, licence = 63_845, 358
    lines = [*(f"front {k}" for k in range(front)), *(f"title {k}" for k in range(title))]
    lines += [*(f"contents {k}" for k in range(contents)), *(f"text {k}" for k in range(text))]
    lines += [f"licence {k}" for k in range(licence)]
    left = without("\r\n".join(lines).encode(), CUTS).decode().split("\r\n")
    expected = [*(f"title {k}" for k in range(title)), *(f"text {k}" for k in range(text))]
    assert left[:-1] == expected[:-1]
    assert left[-1].rstrip("\r") == expected[-1]


def test_characters_are_numbered_by_frequency_and_first_appearance():
    numbers, vocabulary = encode("to be or not to be\r\nè")
    assert vocabulary == [" ", "o", "t", "b", "e", "r", "n", "\r", "\n", "è"]
    assert "".join(vocabulary[number] for number in numbers) == "to be or not to be\r\nè"
    counts = Counter(numbers.tolist())
    assert [counts[k] for k in range(10)] == [5, 4, 3, 2, 2, 1, 1, 1, 1, 1]


def test_splits_follow_one_another_and_targets_are_the_next_characters(tiny):
    data = TolstoiData(TINY, tiny)
    text = (tiny / PATH).read_bytes().decode().split("\r\n")
    assert text[:3] == ["Produced by nobody"] * 3
    kept = "\r\n".join([text[3], *text[3 + 5 :]][:1_202])  # one line, then "CHAPTER" four times, then the others
    assert "CHAPTER" not in kept
    numbers, _ = encode(kept if kept.endswith("\r") else kept + "\r")
    first = -(-4 * len(numbers) // 5)
    held_out = len(numbers) - first
    parts = {"validation": numbers[:held_out], "train": numbers[held_out:first], "test": numbers[first:]}
    for split, expected in parts.items():
        blocks = data.open(split)
        used = (len(expected) - 1) // 200 * 200
        assert np.array_equal(blocks.inputs.reshape(-1), expected[:used])
        assert np.array_equal(blocks.targets.reshape(-1), expected[1 : used + 1])
    assert {split: len(data.open(split)) for split in TINY.splits} == TINY.splits
    whole, part = data.open("train"), data.open("eval_train")
    assert np.array_equal(part.inputs, whole.inputs)
    assert (part.blocks, whole.blocks) == (TINY.splits["eval_train"] // 10, TINY.splits["train"] // 10)


def test_the_official_counts_give_the_sizes_of_the_spec():
    sizes = {"train": 1_959_711, "validation": 653_237, "test": 653_237}
    for split, characters in sizes.items():
        blocks = Blocks(np.zeros(characters, np.uint8), 50, 50)
        assert len(blocks) == TOLSTOI_CHAR_RNN.splits[split]
    assert -(-4 * 3_266_185 // 5) == 653_237 + 1_959_711
    assert TOLSTOI_CHAR_RNN.splits["eval_train"] == TOLSTOI_CHAR_RNN.splits["validation"]


def test_each_row_goes_on_where_it_ended(tiny):
    examples = TolstoiData(TINY, tiny).open("train")
    stream = iter(TrainingStream(examples, 10, seed=5, whole_batches=True))
    batches = [next(stream) for _ in range(examples.blocks + 1)]
    assert torch.equal(batches[0]["rows"], torch.arange(10))
    for number, batch in enumerate(batches[:-1]):
        assert (batch["blocks"] == number).all()
    rows = torch.cat([batch["inputs"] for batch in batches[:-1]], 1)
    assert np.array_equal(rows.numpy(), examples.inputs)
    assert all(torch.equal(batches[-1][name], batches[0][name]) for name in batches[0])  # never shuffled


# State


def model_on(tiny, **options):
    workload = TolstoiCharRnn(PlainSGD(), tiny=True, data_dir=tiny, **options)
    workload.configure_model()
    return workload


def test_blocks_read_one_by_one_are_the_text_read_at_once(tiny):
    workload = model_on(tiny).eval()
    batches = list(EvaluationBatches(workload.data.open("validation"), 10))[:5]
    with torch.no_grad():
        parts = [workload.outputs(batch) for batch in batches]
        whole, _ = workload.network(torch.cat([batch["inputs"] for batch in batches], 1), torch.zeros(10, 4, 48))
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_smaller_batches_carry_the_same_states(tiny):
    workload, other = model_on(tiny).eval(), model_on(tiny).eval()
    examples = workload.data.open("validation")

    def logits(instance, size, count):
        with torch.no_grad():
            batches = list(EvaluationBatches(examples, size))[: count // size]
            return torch.cat([instance.outputs(batch) for batch in batches])

    torch.testing.assert_close(logits(workload, 10, 40), logits(other, 4, 40))


def test_a_block_that_is_read_again_begins_where_it_began_and_the_first_at_zero(tiny):
    workload = model_on(tiny).eval()
    batches = list(EvaluationBatches(workload.data.open("validation"), 10))[:3]
    with torch.no_grad():
        first = [[workload.outputs(batch) for _ in range(2)] for batch in batches]
        again = [workload.outputs(batch) for batch in batches]
    for (one, two), three in zip(first, again, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_no_gradient_goes_from_one_block_to_the_one_before(tiny):
    workload = model_on(tiny)
    stream = iter(TrainingStream(workload.data.open("train"), 10, seed=0, whole_batches=True))
    workload.outputs(next(stream))
    assert workload.trained.behind.abs().sum() > 0
    assert not workload.trained.behind.requires_grad
    workload.loss(next(stream)).per_example.sum().backward()
    assert (workload.trained.block == 1).all()


def test_evaluations_leave_the_state_of_training_alone(tiny, tmp_path):
    workload = model_on(tiny)
    train(workload, 3, tmp_path, val_check_interval=3, check_val_every_n_epoch=None, limit_val_batches=2)
    assert (workload.trained.block == 2).all()
    assert (workload.evaluated.block == 1).all()
    names = {name for name in workload.state_dict() if not name.startswith("model.")}
    assert names == {"trained.before", "trained.behind", "trained.block"}


@pytest.mark.slow
def test_two_ranks_train_evaluate_and_carry_states_as_one(tiny, tmp_path):
    script = Path(__file__).with_name("ranks_tolstoi.py")
    results = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        subprocess.run([sys.executable, script, str(tiny), str(folder), str(ranks)], check=True, timeout=240)
        results.append((json.loads((folder / "evaluation.json").read_text()), torch.load(folder / "final.pt")))
    (one, model), (two, other) = results
    assert two == pytest.approx(one, rel=1e-4)
    assert (model["trained.block"] == 5).all()
    for name, value in model.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_states_of_rows_that_are_not_read_stay():
    carried = CarriedState(4, (3,), persistent=True)
    rows, end = torch.tensor([2, 0]), torch.randn(2, 3)
    carried.keep(rows, torch.tensor([0, 0]), torch.zeros(2, 3), end)
    assert carried.block.tolist() == [0, -1, 0, -1]
    assert torch.equal(carried.start(rows, torch.tensor([1, 1])), end)
    assert torch.equal(carried.start(torch.tensor([1, 3]), torch.tensor([5, 5])), torch.zeros(2, 3))


def test_a_batch_with_two_blocks_of_a_row_is_refused(tiny):
    class Large(Submission):
        batch_sizes: ClassVar = {"tolstoi_char_rnn": 64}

    with pytest.raises(BadInputError, match=r"batch_size is 64, but the text has 50 rows.*divides 50"):
        TolstoiCharRnn(Large())


# Files


def test_without_the_marker_the_official_sum_holds(own_tiny):
    (own_tiny / "tolstoi/TINY").unlink()
    with pytest.raises(
        DataNotFoundError, match=r"war-and-peace\.txt is damaged: .*3ed0f41c.*data prepare tolstoi_char"
    ):
        TolstoiData(TOLSTOI_CHAR_RNN, own_tiny).check()


def test_another_encoding_is_named(own_tiny):
    content = (own_tiny / PATH).read_bytes()
    (own_tiny / PATH).write_bytes(content[:2_000] + "é".encode("latin1") + content[2_000:])
    with pytest.raises(DataNotFoundError, match=r"expected text in UTF-8"):
        TolstoiData(TINY, own_tiny).open("train")


def test_without_internet_the_error_says_what_to_do(tmp_path, monkeypatch):
    def no_internet(*args, **kwargs):
        raise URLError("no internet")

    monkeypatch.setattr("urllib.request.urlopen", no_internet)
    with pytest.raises(
        DataNotFoundError, match=r"(?s)no internet.*data prepare tolstoi_char_rnn.*SHA-256 sum 3ed0f41c"
    ):
        TolstoiData(TOLSTOI_CHAR_RNN, tmp_path).prepare_data()


def test_the_text_is_downloaded_and_checked(own_tiny, tmp_path_factory, monkeypatch):
    target = tmp_path_factory.mktemp("target")
    monkeypatch.setattr(tolstoi_data, "URL", (own_tiny / PATH).as_uri())
    with pytest.raises(DataNotFoundError, match=r"sha256 sum is .* not 3ed0f41c"):
        TolstoiData(TOLSTOI_CHAR_RNN, target).prepare_data()
    monkeypatch.setattr(tolstoi_data, "SHA256", checksum(own_tiny / PATH, "sha256"))
    TolstoiData(TOLSTOI_CHAR_RNN, target).prepare_data()
    assert (target / PATH).read_bytes() == (own_tiny / PATH).read_bytes()
