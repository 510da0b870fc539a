"""Data of finewebedu_lm as the benchmark's own preparation leaves them: tf.data snapshots, and documents unsplit."""

from __future__ import annotations

import base64
import struct
from itertools import chain

import numpy as np
import pytest
from test_finewebedu_data import SMALL, folder_with, save_folder, stream_of

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.workloads.finewebedu import documents
from algoperf_lightning.workloads.finewebedu.data import FineWebEduData
from algoperf_lightning.workloads.finewebedu.reading import DamagedError, TokenFile
from algoperf_lightning.workloads.finewebedu.snapshots import Snapshot
from algoperf_lightning.workloads.finewebedu.sources import TOKENIZED, find_tokens
from algoperf_lightning.workloads.finewebedu.spec import FOLDER

# Written by TensorFlow 2.19: Dataset.save of {"input_ids": int64 (None,)}, one of them empty.
DOCUMENTS = [[3, 50256], [50256], [], [70, 300, 40000, 50256]]
RUN = "11245744864210895289"
REAL_SHARD = (
    "GgAAAAAAAAASm9gtCAkSBBICCAIiEAMAAAAAAAAAUMQAAAAAAACmbC5YEgAAAAAAAAAkH2QlCAkSBBICCAEiCFDEAAAAAAAACNdFfAYAAAAAAAAAc2nV"
    "NwgJEgISAESCcKUqAAAAAAAAAK6NkfUICRIEEgIIBCIgRgAAAAAAAAAsAQAAAAAAAECcAAAAAAAAUMQAAAAAAAAIySax"
)
REAL_METADATA = "EhQxMTI0NTc0NDg2NDIxMDg5NTI4ORihvsaZq6iYAyACKgEJMATAPgE="


def real_snapshot(path):
    shard = path / RUN / "00000000.shard"
    shard.mkdir(parents=True)
    (shard / "00000000.snapshot").write_bytes(base64.b64decode(REAL_SHARD))
    (path / "snapshot.metadata").write_bytes(base64.b64decode(REAL_METADATA))
    return path


def varint(number):
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(ids, type_="<i8"):
    """A TFRecord of a TensorProto."""
    content = np.asarray(ids, type_).tobytes()
    dimension = b"\x08" + varint(len(ids)) if len(ids) else b""
    shape = b"\x12" + varint(len(dimension)) + dimension
    number = {"<i8": 9, "<i4": 3, "<f4": 1}[type_]
    message = b"\x08" + varint(number) + b"\x12" + varint(len(shape)) + shape
    if content:
        message += b"\x22" + varint(len(content)) + content
    length = struct.pack("<Q", len(message))
    return length + crc32c(length) + message + crc32c(message)


def metadata(elements, *, version=2, finalized=True, run="77"):
    fields = b"\x12" + varint(len(run)) + run.encode() + b"\x20" + varint(version) + b"\x30" + varint(elements)
    return fields + (varint(1000 << 3) + b"\x01" if finalized else b"")


def save_snapshot(path, rows, *, type_="<i8", pieces=1, **options):
    """What ``Dataset.save`` writes, by the formats' definitions."""
    shard = path / "77" / "00000000.shard"
    shard.mkdir(parents=True)
    for number, some in enumerate(np.array_split(np.arange(len(rows)), pieces)):
        (shard / f"{number:08}.snapshot").write_bytes(b"".join(record(rows[row], type_) for row in some))
    (path / "snapshot.metadata").write_bytes(metadata(len(rows), **options))
    return path


def rows_of(count, seed):
    random = np.random.RandomState(seed)
    return [[*random.randint(63, size=random.randint(8)).tolist(), 63] for _ in range(count)]


def test_a_snapshot_is_read_as_tensorflow_wrote_it(tmp_path):
    source = find_tokens(real_snapshot(tmp_path / "val").parent, "validation")
    assert isinstance(source, Snapshot)
    assert source.tokens == 7
    assert stream_of(source).tolist() == list(chain(*DOCUMENTS))


def test_the_tests_own_writer_writes_what_tensorflow_does():
    assert b"".join(map(record, DOCUMENTS)) == base64.b64decode(REAL_SHARD)


@pytest.mark.parametrize(("type_", "pieces"), [("<i8", 1), ("<i4", 3)])
def test_snapshots_of_the_benchmark_become_token_files(tmp_path, type_, pieces):
    rows = {"train": rows_of(2_000, 0), "val": rows_of(1_100, 1)}
    for name, documents_ in rows.items():
        save_snapshot(tmp_path / FOLDER / name, documents_, type_=type_, pieces=pieces)
    data = FineWebEduData(SMALL, tmp_path)
    data.prepare_data()
    data.check()
    for name, documents_ in rows.items():
        assert TokenFile(data.folder / f"{name}.tokens").ids.tolist() == list(chain(*documents_))


def no_download(*args, **kwargs):
    raise AssertionError("it went to the network beside data that are there")


@pytest.mark.parametrize("empty", [[], [None, []]], ids=["all have tokens", "some are empty"])
def test_the_documents_before_the_split_are_split_as_the_benchmark_counts(tmp_path, monkeypatch, empty):
    monkeypatch.setattr(documents, "download", no_download)
    rows = [[number % 63] * (1 + number % 5) + [63] for number in range(207)] + empty
    save_folder(tmp_path / FOLDER / TOKENIZED, rows)
    data = FineWebEduData(SMALL, tmp_path)
    data.prepare_data()
    data.check()
    found = {}
    for name in ("train", "val"):
        ids = TokenFile(data.folder / f"{name}.tokens").ids
        found[name] = [tuple(part) for part in np.split(ids, np.flatnonzero(ids == 63) + 1) if len(part)]
    every = sorted(tuple(row) for row in rows if row)
    assert sorted(found["train"] + found["val"]) == every, "each document once"
    assert 0.87 < len(found["train"]) / len(every) < 0.93
    assert found["train"] != [tuple(row) for row in rows if row][: len(found["train"])]
    if not empty:
        assert len(found["train"]) == int(0.9 * 207) == 186


def test_what_was_split_already_counts_before_what_was_not(tmp_path):
    data = folder_with(tmp_path, np.zeros(125), np.zeros(45))
    save_folder(data.folder / TOKENIZED, rows_of(300, 0))
    data.prepare_data()
    assert not TokenFile(data.folder / "train.tokens").ids.any()


# Damage


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the metadata of a tf.data snapshot, but reading failed"),
        (b"\x12\xff", "the metadata of a tf.data snapshot, but reading failed"),
        (metadata(5)[2:], "the metadata of a tf.data snapshot, but reading failed"),
        (metadata(5, version=1), "version 2, uncompressed, .* but it is of version 1"),
        (metadata(5, finalized=False), "a complete snapshot, but the run that wrote it did not end"),
        (metadata(6), "6 documents, as in snapshot.metadata, but its files contain 5"),
        (metadata(5, run="78"), "78: expected folders <number>.shard"),
    ],
    ids=["empty", "cut", "no run", "version", "unfinished", "count", "another run"],
)
def test_damaged_metadata_are_named(tmp_path, content, message):
    path = save_snapshot(tmp_path / "train", rows_of(5, 0))
    (path / "snapshot.metadata").write_bytes(content)
    with pytest.raises(DamagedError, match=message):
        find_tokens(tmp_path, "train")


@pytest.mark.parametrize("cut", [1, 5, 20, 37])
def test_a_snapshot_that_breaks_off_is_refused(tmp_path, cut):
    path = save_snapshot(tmp_path / "train", [[1, 2, 3]] * 4)
    shard = path / "77" / "00000000.shard" / "00000000.snapshot"
    shard.write_bytes(shard.read_bytes()[:-cut])
    with pytest.raises(DamagedError, match=r"00000000.snapshot: expected complete records, but one .* is truncated"):
        find_tokens(tmp_path, "train")


def test_a_snapshot_of_something_else_is_refused(tmp_path):
    save_snapshot(tmp_path / "train", [[1.0, 2.0]], type_="<f4")
    with pytest.raises(
        DamagedError, match="vectors of 32-bit or 64-bit integers, one a record, but the record at byte 0"
    ):
        find_tokens(tmp_path, "train")
    shard = next((tmp_path / "train").rglob("*.snapshot"))
    shard.write_bytes(b"\x04" + bytes(11) + b"\xff\xff\xff\xff" + bytes(4))
    with pytest.raises(DamagedError, match="vectors of 32-bit or 64-bit integers"):
        find_tokens(tmp_path, "train")


@pytest.mark.parametrize("name", ["train", TOKENIZED])
def test_a_folder_of_something_else_is_named_and_nothing_is_downloaded(tmp_path, monkeypatch, name):
    monkeypatch.setattr(documents, "download", no_download)
    folder = tmp_path / FOLDER / name
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("")
    with pytest.raises(DataNotFoundError, match=rf"{name}.* expected") as caught:
        FineWebEduData(SMALL, tmp_path).prepare_data()
    assert "algoperf data prepare finewebedu_lm" in str(caught.value)
