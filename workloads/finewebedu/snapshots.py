"""Documents that were saved by TensorFlow's ``tf.data.Dataset.save``, as in the benchmark's preparation.

A folder has ``snapshot.metadata`` and, in ``<run>/<number>.shard/<number>.snapshot``, one TFRecord per document.
Metadata and records are protocol buffers (``SnapshotMetadataRecord``, ``TensorProto``); only a few fields are read.

Reference: TensorFlow 2.19, tensorflow/core/protobuf/snapshot.proto, core/framework/tensor.proto,
core/lib/io/record_writer.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.utilities.progress import progress

METADATA = "snapshot.metadata"

# Field numbers of SnapshotMetadataRecord.
_RUN, _VERSION, _ELEMENTS, _FINALIZED = 2, 4, 6, 1000
_RECORDS = 2
"""Version of the files in which documents are records; version 1 packed and compressed them."""

# Field numbers of TensorProto, and its types of integers.
_TYPE, _CONTENT = 1, 4
_TYPES: dict[int, np.dtype[Any]] = {3: np.dtype("<i4"), 9: np.dtype("<i8"), 17: np.dtype("<u2")}

# A record is its length (8 bytes), a checksum of that (4), the message, and a checksum of it (4).
_HEAD, _TAIL = 12, 4
_DOCUMENTS = 1_024
"""Documents that are concatenated at a time."""


class Snapshot:
    """A folder of documents that ``tf.data.Dataset.save`` has written, one tensor of ids for each.

    Shards are read one after the other; the benchmark's preparation writes one. The checksums of records are not
    verified.

    Args:
        path: The folder.

    Raises:
        DamagedError: If a file is missing, truncated, compressed, or contains anything but vectors of integers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        metadata = path / METADATA
        try:
            fields = dict(_fields(memoryview(metadata.read_bytes())))
            run = bytes(fields[_RUN]).decode()
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DamagedError(metadata, "the metadata of a tf.data snapshot", f"reading failed ({error!r})") from error
        if fields.get(_VERSION) != _RECORDS:
            expected = f"a snapshot of version {_RECORDS}, uncompressed, as Dataset.save writes it"
            raise DamagedError(metadata, expected, f"it is of version {fields.get(_VERSION)}")
        if not fields.get(_FINALIZED):
            raise DamagedError(metadata, "a complete snapshot", "the run that wrote it did not end; prepare it again")
        files = (path / run).glob("*.shard/*.snapshot")
        self.files = sorted(file for file in files if not is_left_by_system(file.name))
        if not self.files:
            raise DamagedError(path / run, "folders <number>.shard with files <number>.snapshot", "there are none")
        self.size = sum(file.stat().st_size for file in self.files)
        documents = self.tokens = 0
        with progress(f"{path.name}: counting tokens", self.size, bytes_=True) as advance:
            for file in self.files:
                for ids in _documents(file):
                    documents += 1
                    self.tokens += len(ids)
                advance(file.stat().st_size)
        if documents != fields.get(_ELEMENTS):
            found = f"its files contain {documents:,}"
            raise DamagedError(path, f"{fields.get(_ELEMENTS):,} documents, as in {METADATA}", found)

    def blocks(self) -> Iterator[tuple[Path, NDArray[np.integer]]]:
        """Yield the ids of some documents at a time, ``(N,)``."""
        for file in self.files:
            some: list[NDArray[np.integer]] = []
            for ids in _documents(file):
                some.append(ids)
                if len(some) == _DOCUMENTS:
                    yield file, np.concatenate(some)
                    some = []
            if some:
                yield file, np.concatenate(some)


def _documents(file: Path) -> Iterator[NDArray[np.integer]]:
    """Yield the ids of each document of a file: views of mapped memory."""
    size = file.stat().st_size
    content: Any = memoryview(np.memmap(file, np.uint8, "r")) if size else b""  # type: ignore[arg-type]
    begin = 0
    while begin < size:
        length = int.from_bytes(content[begin : begin + 8], "little")
        first = begin + _HEAD
        begin = first + length + _TAIL
        if begin > size:
            raise DamagedError(file, "complete records", f"one at byte {first - _HEAD:,} is truncated or invalid")
        try:
            fields = dict(_fields(content[first : first + length]))
            yield np.frombuffer(fields.get(_CONTENT, b""), _TYPES[fields[_TYPE]])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            expected = "vectors of 32-bit or 64-bit integers, one a record"
            raise DamagedError(
                file, expected, f"the record at byte {first - _HEAD:,} is invalid ({error!r})"
            ) from error


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a protocol buffer; raise IndexError or ValueError for other data."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        length, at = {1: (8, at), 5: (4, at)}.get(kind) or (_varint(message, at) if kind == 2 else (-1, at))
        if not 0 <= length <= len(message) - at:
            raise ValueError(f"no protocol buffer: field {key >> 3} of {length} bytes")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a varint (seven bits per byte, lowest first), and its end."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
