"""Splits, order, reading, and the tiny data set."""

from __future__ import annotations

import gzip
import pickle
import shutil

import numpy as np
import pytest
import torch

from algoperf_lightning.data.examples import Examples
from algoperf_lightning.data.streams import EvaluationBatches, Loader, TrainingStream
from algoperf_lightning.workloads.criteo1tb.batches import EvenlySpaced, RowFiles, ShuffledFiles
from algoperf_lightning.workloads.criteo1tb.data import Criteo1TBData
from algoperf_lightning.workloads.criteo1tb.parsing import parse
from algoperf_lightning.workloads.criteo1tb.spec import CRITEO1TB


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("criteo1tb")
    Criteo1TBData(CRITEO1TB, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tiny, tmp_path):
    """To damage."""
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    return tmp_path


def converted(folder):
    return {path.name: path.read_bytes() for path in (folder / "criteo1tb" / "converted").iterdir()}


# Splits


def test_splits_of_the_tiny_data_set(tiny):
    for spec in (CRITEO1TB, CRITEO1TB.of(tiny=True)):
        data = Criteo1TBData(spec, tiny)
        sizes = {split: len(data.open(split)) for split in spec.splits}
        assert sizes == {"train": 23_000, "eval_train": sizes["eval_train"], "validation": 3_330, "test": 3_800}
        assert sizes["eval_train"] == 23_000 * spec.splits["eval_train"] // spec.splits["train"]
        if spec.is_tiny:
            assert sizes == spec.splits


def test_validation_is_the_end_of_the_last_day(tiny):
    data = Criteo1TBData(CRITEO1TB, tiny)
    names = {split: [path.name for path in data.open(split).paths] for split in ("train", "validation", "test")}
    assert names["test"] == [f"day_23_{part:02}.npy" for part in range(19)]
    assert names["validation"] == [f"day_23_{part:02}.npy" for part in range(19, 36)]
    assert len(names["train"]) == 23 * 5
    assert not [name for name in names["train"] if name.startswith("day_23")]


class Sized(Examples):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def read(self, indices, draws):
        return {"inputs": torch.from_numpy(indices)}


def test_the_evaluated_part_of_train_is_evenly_spaced_over_all_days():
    train = Sized(CRITEO1TB.splits["train"])
    part = EvenlySpaced(train, CRITEO1TB.splits["eval_train"])
    assert len(part) == 83_279_872
    begins = part.chosen(np.arange(0, len(part), 8_192))
    assert len(begins) == 10_166
    assert begins[0] == 0
    assert set(np.diff(begins)) == {412_669, 412_670}
    assert begins[-1] + 8_192 <= len(train)
    middle = part.read(np.arange(8_190, 8_194), None)["inputs"].tolist()
    assert middle == [8_190, 8_191, begins[1], begins[1] + 1]


@pytest.mark.parametrize(
    ("rows", "count"), [(23_000, 455), (50_000, 45_000), (10_166, 10_166), (12_000, 11_999), (7, 3)]
)
def test_no_row_is_evaluated_twice(rows, count):
    chosen = EvenlySpaced(Sized(rows), count).chosen(np.arange(count))
    assert len(set(chosen)) == count
    assert chosen.max() < rows
    assert (np.diff(chosen) > 0).all()


def test_every_row_is_evaluated_once_on_any_number_of_ranks_with_the_last_batch_padded(tiny):
    examples = Criteo1TBData(CRITEO1TB, tiny).open("validation")
    everything = examples.read(np.arange(3_330), None)
    for ranks in (1, 3):
        batches = [list(EvaluationBatches(examples, 1_024, rank, ranks)) for rank in range(ranks)]
        ordered = [batch for several in zip(*batches, strict=True) for batch in several]
        assert len({batch["ids"].shape for batch in ordered}) == 1
        weights = torch.cat([batch["weights"] for batch in ordered])
        assert weights.sum().item() == 3_330
        for name, column in everything.items():
            assert torch.equal(torch.cat([batch[name] for batch in ordered])[weights > 0], column)


# Order


def test_files_are_shuffled_anew_each_pass_and_their_rows_are_in_order():
    sizes = np.array([5, 1, 7, 3])
    order = ShuffledFiles(sizes, seed=0)
    files = np.split(np.arange(16), np.cumsum(sizes)[:-1])
    passes = []
    for number in range(30):
        rows = order.take(number * 16, 16)
        starts = [start for start in range(16) if any(rows[start] == file[0] for file in files)]
        passes.append([next(i for i, file in enumerate(files) if rows[start] == file[0]) for start in starts])
        assert sorted(passes[-1]) == [0, 1, 2, 3]
        assert np.array_equal(rows, np.concatenate([files[file] for file in passes[-1]]))
    assert len({tuple(files) for files in passes}) > 10
    first = [ShuffledFiles(sizes, seed).take(0, 16).tolist() for seed in range(20)]
    assert len({tuple(rows) for rows in first}) > 8
    assert order.take(0, 16).tolist() == first[0]


def test_the_order_is_the_same_from_any_position():
    order = ShuffledFiles(np.array([5, 1, 7, 3]), seed=3)
    whole = order.take(0, 100)
    for begin, count in ((0, 1), (3, 9), (15, 2), (31, 40), (99, 1)):
        assert np.array_equal(ShuffledFiles(order.sizes, 3).take(begin, count), whole[begin : begin + count])


def test_positions_of_the_real_size_are_reached_at_once():
    sizes = np.array([5_000_000] * 839 + [197_692])
    order = ShuffledFiles(sizes, seed=0)
    rows = order.take(2_796_000_000, 262_144)
    assert len(rows) == 262_144
    breaks = np.flatnonzero(np.diff(rows) != 1)
    assert len(breaks) <= 1
    assert rows.max() < sizes.sum()


def test_training_reads_stretches_in_the_order_of_the_stream(tiny):
    train = Criteo1TBData(CRITEO1TB, tiny).open("train")
    everything = train.read(np.arange(len(train)), None)
    order = train.order(5)
    for rank in range(2):
        stream = iter(TrainingStream(train, 600, seed=5, rank=rank, ranks=2))
        for number in range(45):  # past the end of the first pass
            batch = next(stream)
            rows = order.take(number * 600 + rank * 300, 300)
            assert all(torch.equal(batch[name], everything[name][rows]) for name in everything)


def test_rows_in_any_order_are_those_that_were_asked_for(tiny):
    validation = Criteo1TBData(CRITEO1TB, tiny).open("validation")
    everything = validation.read(np.arange(3_330), None)
    for rows in (np.array([3_329, 0, 200, 199, 199]), np.zeros(0, np.int64), np.arange(3_329, -1, -7)):
        batch = validation.read(rows, None)
        assert all(torch.equal(batch[name], column[rows]) for name, column in everything.items())


def test_worker_processes_get_paths_and_not_the_rows(tiny):
    validation = Criteo1TBData(CRITEO1TB, tiny).open("validation")
    expected = list(EvaluationBatches(validation, 1_000))
    assert len(pickle.dumps(validation)) < 10_000
    again = pickle.loads(pickle.dumps(validation))
    assert isinstance(again, RowFiles)
    read = list(Loader(EvaluationBatches(again, 1_000), workers=2))
    assert len(read) == len(expected)
    for one, other in zip(read, expected, strict=True):
        assert all(torch.equal(one[name], value) for name, value in other.items())


# Tiny


def test_the_tiny_data_set_is_text_of_the_official_form_that_gives_its_rows(tiny):
    data = Criteo1TBData(CRITEO1TB, tiny)
    text = gzip.decompress((tiny / "criteo1tb" / "day_7.gz").read_bytes())
    assert len(text.splitlines()[0].split(b"\t")) == 40
    rows = parse(text)
    train = data.open("train")
    batch = train.read(np.arange(7_000, 8_000), None)
    assert np.array_equal(batch["inputs"], rows["dense"])
    assert b"\t\t" in text
    assert b"\t-1\t" in text


def test_writing_the_tiny_data_set_again_mends_it(own_tiny, tiny):
    data = Criteo1TBData(CRITEO1TB, own_tiny)
    whole = converted(tiny)
    (data.converted / "day_6_03.npy").write_bytes(b"")
    data.write_tiny()
    assert converted(own_tiny) == whole
    data.write_tiny(seed=1)
    assert converted(own_tiny) != whole
    data.check()
