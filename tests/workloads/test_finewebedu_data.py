"""Data of finewebedu_lm: token files, where they come from, windows."""

from __future__ import annotations

import base64
import dataclasses
import json
import tracemalloc
import zlib
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
import torch

from algoperf_lightning.data import Draws
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.workloads.finewebedu import tiny as grammar
from algoperf_lightning.workloads.finewebedu.batches import Windows
from algoperf_lightning.workloads.finewebedu.conversion import write_token_file
from algoperf_lightning.workloads.finewebedu.data import FineWebEduData
from algoperf_lightning.workloads.finewebedu.reading import HEADER_SIZE, TokenFile
from algoperf_lightning.workloads.finewebedu.sources import ArrowFolder, FlatFiles, find_tokens
from algoperf_lightning.workloads.finewebedu.spec import FINEWEBEDU_LM, FOLDER

# Written by `datasets` 5.2: three rows of `input_ids`.
ROWS = [[5, 6, 7, 63], [8, 63], [9, 10, 11, 12, 63]]
REAL_ARROW = (
    "c-nPQ!Ait15S{L3yWKTN4@Eqd;ISvYdC?E>EFOfVxNQw+U2F=<vVY@8_!0h7d`Ty3DfnPAllRi(&D2_JA0ncZ9M*J7F)b)T1w`V=ORR$VFJD7OI6"
    "lGZv;_4BYZ|dvx~<>Tb-q`1Rhs_2>ikBxyWVW{wi`>n-kQ&yt8m0zU8*8io50+cFMXvBW9m+KMjZgWb%J>An?|=yT|QOboAdF5{@_$*s4qso3&hI#"
    "3|_n@yq;2qUSeAM?oysXG;=xUJ1F#Ns#oF}B={m3q$uYzc;0>^XS|nm#uJwQcA5)1N4lkeHTLp2>qi>?&7A%q=zpY>JmrfKH=Eo`JjW^AdogPZu9t"
    "`#-}jJL-uZAwG8g)H`4`naLy`"
)
REAL_STATE = {
    "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
    "_fingerprint": "acdfc9469a31cf80",
    "_format_columns": None,
    "_format_kwargs": {},
    "_format_type": None,
    "_output_all_columns": False,
    "_split": None,
}
# A made-up benchmark that two hundred tokens are enough for.
SMALL = dataclasses.replace(
    FINEWEBEDU_LM.of(tiny=True), data={"length": 9}, splits={"train": 12, "eval_train": 3, "validation": 4}
)


def no_draws(count):
    return Draws(0, np.arange(count))


def save_folder(path, rows, column="input_ids", type_=None):
    """What ``datasets`` writes, with another column or type if asked."""
    path.mkdir(parents=True, exist_ok=True)
    table = pa.table({column: pa.array(rows, type_ or pa.list_(pa.int32()))})
    with (
        pa.OSFile(str(path / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=2)
    (path / "state.json").write_text(json.dumps(REAL_STATE))
    return path


def stream_of(source):
    return np.concatenate([block for _, block in source.blocks()])


def folder_with(tmp_path, train, validation):
    folder = tmp_path / FOLDER
    folder.mkdir(exist_ok=True)
    np.asarray(train, "<u2").tofile(folder / "train.bin")
    np.asarray(validation, "<u2").tofile(folder / "val.bin")
    return FineWebEduData(SMALL, tmp_path)


@pytest.fixture
def prepared(tmp_path):
    """Twelve windows and a rest to train on, four and a rest to validate, as token files and what they are from."""
    data = folder_with(tmp_path, np.arange(125) % 64, (np.arange(45) * 7) % 64)
    data.prepare_data()
    return data


# Forms of tokens


def test_a_folder_is_read_as_the_library_wrote_it(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "data-00000-of-00001.arrow").write_bytes(zlib.decompress(base64.b85decode(REAL_ARROW)))
    (folder / "state.json").write_text(json.dumps(REAL_STATE))
    source = find_tokens(tmp_path, "train")
    assert isinstance(source, ArrowFolder)
    assert source.tokens == 11
    assert stream_of(source).tolist() == list(chain(*ROWS))


@pytest.mark.parametrize("type_", [pa.list_(pa.int64()), pa.large_list(pa.uint16()), pa.list_(pa.int8())], ids=str)
def test_lists_of_other_integers_are_read_too(tmp_path, type_):
    source = ArrowFolder(save_folder(tmp_path / "val", [*ROWS, [], None, [1]], type_=type_))
    assert stream_of(source).tolist() == [*chain(*ROWS), 1]


def test_flat_files_are_read_in_the_order_of_their_names(tmp_path):
    ids = np.arange(30, dtype="<u2")
    for number, part in ((2, ids[20:]), (0, ids[:10]), (1, ids[10:20])):
        np.save(tmp_path / f"edufineweb_train_{number:06}.npy", part)
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, 30
    (tmp_path / "edu_fineweb_val_000000.bin").write_bytes(header.tobytes() + ids.tobytes())
    for split in ("train", "validation"):
        source = find_tokens(tmp_path, split)
        assert isinstance(source, FlatFiles)
        assert source.tokens == 30
        assert stream_of(source).tolist() == ids.tolist()


@pytest.mark.parametrize("form", ["folder", "bin", "npy"])
def test_every_form_becomes_the_same_token_file(tmp_path, form):
    ids = {"train": np.arange(130) % 64, "val": (np.arange(50) * 7) % 64}
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name, values in ids.items():
        if form == "folder":
            save_folder(folder / name, [values[:60].tolist(), values[60:].tolist()])
        elif form == "bin":
            values.astype("<u2").tofile(folder / f"{name}.bin")
        else:
            np.save(folder / f"{name}.npy", values)
    data = FineWebEduData(SMALL, tmp_path)
    data.prepare_data()
    data.check()
    for name, values in ids.items():
        content = (folder / f"{name}.tokens").read_bytes()
        assert content[:8] == b"fwe-tok1"
        assert content[HEADER_SIZE:] == values.astype("<u2").tobytes()
    assert not list(folder.glob("*.part"))


# Windows


def test_windows_are_consecutive_and_targets_are_the_next_tokens(prepared):
    batch = prepared.open("validation").read(np.arange(4), no_draws(4))
    stream = torch.arange(45) * 7 % 64
    assert torch.equal(batch["inputs"], torch.stack([stream[10 * n : 10 * n + 9] for n in range(4)]))
    assert torch.equal(batch["targets"], torch.stack([stream[10 * n + 1 : 10 * n + 10] for n in range(4)]))
    assert (batch["inputs"].dtype, batch["targets"].dtype) == (torch.int32, torch.int64)
    assert set(batch) == {"inputs", "targets"}


def test_splits_have_the_sizes_of_the_spec_and_the_remainder_is_dropped(prepared):
    assert [len(prepared.open(split)) for split in ("train", "eval_train", "validation")] == [12, 3, 4]
    start = prepared.open("train").read(np.arange(3), no_draws(3))
    same = prepared.open("eval_train").read(np.arange(3), no_draws(3))
    assert torch.equal(start["inputs"], same["inputs"])


def test_training_takes_every_window_once_in_each_pass(prepared):
    stream = iter(TrainingStream(prepared.open("train"), 4, seed=1))
    passes = [torch.cat([next(stream)["inputs"][:, 0] for _ in range(3)]) for _ in range(2)]
    expected = sorted(range(0, 120, 10), key=lambda begin: begin % 64)
    assert all(sorted(taken.tolist()) == sorted(begin % 64 for begin in expected) for taken in passes)
    assert not torch.equal(*passes)


@pytest.mark.parametrize("ranks", [1, 3])
def test_every_token_is_evaluated_once_on_any_number_of_ranks(prepared, ranks):
    examples = prepared.open("validation")
    batches = [batch for rank in range(ranks) for batch in EvaluationBatches(examples, 3, rank, ranks)]
    begins = [
        int(row[0])
        for batch in batches
        for row, weight in zip(batch["inputs"], batch["weights"], strict=True)
        if weight
    ]
    assert sorted(begins) == sorted(10 * n * 7 % 64 for n in range(4))


def test_reading_copies_nothing_but_the_batch(tmp_path):
    path = tmp_path / "train.tokens"
    source = FlatFiles([big_file(tmp_path, 4_000_000)])
    write_token_file(path, source, 64, "test")
    tracemalloc.start()
    try:
        windows = Windows(TokenFile(path).windows(1_025))
        stream = iter(TrainingStream(windows, 8, seed=0))
        for _ in range(5):
            next(stream)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(windows) == 4_000_000 // 1_025
    assert peak < 500_000  # the file has 8 million bytes, a batch of inputs and targets 100,000


def big_file(tmp_path, tokens):
    path = tmp_path / "train.bin"
    (np.arange(tokens) % 64).astype("<u2").tofile(path)
    return path


# Conversions that were broken off


class Broken(FlatFiles):
    """Breaks off before its third block."""

    def blocks(self):
        for number, (path, ids) in enumerate(super().blocks()):
            for piece in np.array_split(ids, 5):
                if number == 0 and self.left == 0:
                    raise KeyboardInterrupt
                self.left -= 1
                yield path, piece


def test_a_conversion_goes_on_where_it_was_broken_off(tmp_path):
    broken, path = Broken([big_file(tmp_path, 1_000)]), tmp_path / "train.tokens"
    broken.left = 2
    with pytest.raises(KeyboardInterrupt):
        write_token_file(path, broken, 64, "test")
    assert not path.exists()
    part = tmp_path / "train.tokens.part"
    assert part.stat().st_size == HEADER_SIZE + 2 * 400
    with part.open("r+b") as file:  # a mark that would be gone if it began anew, and half a token
        file.seek(HEADER_SIZE)
        file.write(b"\x3f\x00")
        file.seek(0, 2)
        file.write(b"\x07")
    write_token_file(path, FlatFiles([tmp_path / "train.bin"]), 64, "test")
    assert TokenFile(path).ids.tolist() == [63, *(np.arange(1_000) % 64)[1:]]
    TokenFile(path).check("test")


@pytest.mark.parametrize("change", ["source", "vocabulary"])
def test_what_was_begun_from_something_else_is_begun_anew(tmp_path, change):
    broken, path = Broken([big_file(tmp_path, 1_000)]), tmp_path / "train.tokens"
    broken.left = 2
    with pytest.raises(KeyboardInterrupt):
        write_token_file(path, broken, 64, "test")
    if change == "source":
        np.full(900, 5, "<u2").tofile(tmp_path / "train.bin")
    write_token_file(path, FlatFiles([tmp_path / "train.bin"]), 99 if change == "vocabulary" else 64, "test")
    expected = np.full(900, 5) if change == "source" else np.arange(1_000) % 64
    assert np.array_equal(TokenFile(path).ids, expected)


# Tiny data


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finewebedu")
    FineWebEduData(FINEWEBEDU_LM, folder).write_tiny()
    return folder


def test_tiny_data_are_in_the_format_of_the_benchmarks_preparation(tiny):
    folder = tiny / FOLDER
    assert json.loads((folder / "dataset_dict.json").read_text()) == {"splits": ["train", "val"]}
    shards = sorted(path.name for path in (folder / "train").glob("*.arrow"))
    assert shards == ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    rows = []
    for shard in shards:
        with pa.ipc.open_stream(str(folder / "train" / shard)) as reader:
            assert reader.schema.field("input_ids").type == pa.list_(pa.int32())
            rows += reader.read_all()["input_ids"].to_pylist()
    assert all(row[-1] == grammar.END and grammar.END not in row[:-1] for row in rows)
    assert TokenFile(folder / "train.tokens").ids.tolist() == list(chain(*rows))


def test_both_sizes_of_the_workload_read_the_tiny_data(tiny):
    for spec in (FINEWEBEDU_LM, FINEWEBEDU_LM.of(tiny=True)):
        data = FineWebEduData(spec, tiny)
        data.check()
        sizes = {split: len(data.open(split)) for split in spec.splits}
        if spec.is_tiny:
            assert sizes == spec.splits
        else:
            assert sizes["train"] > 200
        batch = next(iter(TrainingStream(data.open("train"), 4, seed=0)))
        assert batch["inputs"].shape == (4, spec.data["length"])
        assert batch["targets"].max() < 64


def test_documents_follow_the_grammar():
    random = np.random.RandomState(0)
    for _ in range(50):
        ids = grammar.document(random)
        assert ids.pop() == grammar.END == 63
        sentences = np.array(ids).reshape(-1, 6)
        assert (sentences[:, 5] == grammar.STOP).all()
        assert np.isin(sentences[:, [0, 3]], [0, 1]).all()
        assert len(np.unique(sentences[:, [1, 4]])) <= 3
        assert (sentences[:, 1] != sentences[:, 4]).all()
        assert ((sentences[:, 2] - grammar.FIRST_HABIT) % 2 == sentences[:, 0]).all()


def test_tiny_data_are_the_same_each_time(tiny, tmp_path):
    FineWebEduData(FINEWEBEDU_LM.of(tiny=True), tmp_path).write_tiny()
    for name in ("train.tokens", "val.tokens"):
        assert (tmp_path / FOLDER / name).read_bytes() == (tiny / FOLDER / name).read_bytes()
