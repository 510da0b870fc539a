"""Documents as text in parquet files: downloaded, tokenised file by file, shuffled and split.

Each parquet file is converted to a file of documents: a header of 40 bytes, the ids of all documents (uint16), and the
end of each document (int64), all little-endian. A killed run loses at most the file that it was writing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError, download
from algoperf_lightning.data.headers import read_header
from algoperf_lightning.files import is_left_by_system, written_aside
from algoperf_lightning.utilities.progress import progress

from .tokenizer import Tokenizer

SAMPLE = "sample/10BT"
SAMPLE_FILES = tuple(f"{number:03}_00000.parquet" for number in range(14))
SAMPLE_URL = "https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu/resolve/main/sample/10BT"
"""Fourteen files, 28.5 GB."""

MERGES = ("vocab.bpe", "merges.txt")
MERGES_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe"
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"

COLUMN = "text"
SPLIT_SEED = 42
_MAGIC = b"fwe-doc1"
_HEADER = struct.Struct("<8sQQQII")
_BATCH = 1_024
"""Documents that are tokenised, or concatenated, at a time."""


def fetch_parquet(folder: Path) -> list[Path]:
    """Return the parquet files directly in a folder, sorted; if there are none, those of the sample.

    The sample is in subfolders as on Hugging Face. Missing files of the sample are downloaded.

    Raises:
        OSError: If they cannot be downloaded.
    """
    brought = sorted(path for path in folder.glob("*.parquet") if not is_left_by_system(path.name))
    return brought or [download(f"{SAMPLE_URL}/{name}", folder / SAMPLE / name) for name in SAMPLE_FILES]


def fetch_merges(folder: Path) -> Path:
    """Return the tokenizer's file, which is downloaded if it is missing.

    Raises:
        OSError: If it cannot be downloaded.
    """
    for name in MERGES:
        if (folder / name).exists():
            return folder / name
    return download(MERGES_URL, folder / MERGES[0], sha256=MERGES_SHA256)


class Documents:
    """The documents of a file that :func:`tokenise` has written, mapped into memory.

    Raises:
        DamagedError: If it is not such a file, or truncated.
    """

    def __init__(self, path: Path) -> None:
        count, tokens, self.source_size, self.vocabulary, _ = read_header(path, _HEADER, _MAGIC, "a file of documents")
        size = _HEADER.size + 2 * tokens + 8 * count
        if path.stat().st_size != size:
            raise DamagedError(path, f"{size:,} bytes for {count:,} documents", f"it has {path.stat().st_size:,}")
        # Plain arrays: millions of slices of a memmap would take minutes.
        self.ids: NDArray[np.uint16] = np.asarray(np.memmap(path, "<u2", "r", _HEADER.size, (tokens,)))
        self.ends = np.fromfile(path, "<i8", count, offset=_HEADER.size + 2 * tokens)


def tokenise(parquet: Path, path: Path, tokenizer: Tokenizer) -> Documents:
    """Write the documents of a parquet file, unless they exist already, and return them.

    Raises:
        DamagedError: If the parquet file is damaged, or has no column ``text`` of strings.
        OSError: If the documents cannot be written.
    """
    vocabulary, source_size = tokenizer.end + 1, parquet.stat().st_size
    if path.exists():
        documents = Documents(path)
        if (documents.source_size, documents.vocabulary) == (source_size, vocabulary):
            return documents
    path.parent.mkdir(parents=True, exist_ok=True)
    threads = os.cpu_count() or 1
    with (
        _open(parquet) as source,
        written_aside(path) as file,
        progress(f"{parquet.name}: tokenising", source.metadata.num_rows) as advance,
    ):
        file.seek(_HEADER.size)
        lengths: list[int] = []
        for texts in _texts(parquet, source):
            encoded = tokenizer.encode(texts, threads)
            # Not tofile(), whose error message does not mention that the disk is full.
            file.write(np.concatenate(encoded).astype("<u2").tobytes())
            lengths += map(len, encoded)
            advance(len(encoded))
        ends = np.cumsum(lengths, dtype="<i8")
        file.write(ends.tobytes())
        tokens = int(ends[-1]) if lengths else 0
        file.seek(0)
        file.write(_HEADER.pack(_MAGIC, len(ends), tokens, source_size, vocabulary, 0))
    return Documents(path)


def _open(path: Path) -> Any:
    """Return a ``pyarrow.parquet.ParquetFile`` with the required column."""
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet as pq

    try:
        source = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    schema = source.schema_arrow
    kind = schema.field(COLUMN).type if COLUMN in schema.names else None
    if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        source.close()
        raise DamagedError(path, f"a column {COLUMN!r} of strings", f"its columns are {schema.names}")
    return source


def _texts(path: Path, source: Any) -> Iterator[list[str]]:
    """Yield the texts of some rows at a time. Errors of the caller while it writes are not caught here."""
    import pyarrow as pa

    try:
        for batch in source.iter_batches(_BATCH, columns=[COLUMN]):
            yield [text or "" for text in batch.column(0).to_pylist()]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DamagedError:
    return DamagedError(path, "a parquet file", f"reading failed ({error})")


class Part(NamedTuple):
    """Some documents, concatenated."""

    ids: NDArray[np.integer]
    """Ids of all documents, ``(N,)``."""
    ends: NDArray[np.int64]
    """End of each document in the ids, ``(documents,)``."""


class ShuffledDocuments:
    """One split of documents: all of them are shuffled, then the first nine tenths are ``train``.

    Args:
        path: Path for error messages.
        size: Bytes of the source files.
        parts: All documents.
        split: ``train`` or ``validation``.
    """

    def __init__(self, path: Path, size: int, parts: Sequence[Part], split: str) -> None:
        self.path = path
        self.size = size
        self._ids = [part.ids for part in parts]
        ends = [part.ends for part in parts]
        begins = [np.concatenate(([0], end[:-1])) if len(end) else end for end in ends]
        count = sum(map(len, ends))
        # The legacy generator, because its numbers never change: the split must not depend on the version of NumPy.
        order = np.random.RandomState(SPLIT_SEED).permutation(count)
        train = int(0.9 * count)  # as the benchmark's preparation counts
        chosen = order[:train] if split == "train" else order[train:]
        self._part = np.repeat(np.arange(len(parts), dtype=np.int32), [len(end) for end in ends])[chosen]
        self._begin, self._end = (np.concatenate(limits)[chosen] if parts else chosen for limits in (begins, ends))
        self.tokens = int((self._end - self._begin).sum())

    def blocks(self) -> Iterator[tuple[Path, NDArray[np.integer]]]:
        """Yield the ids of some documents at a time, ``(N,)``."""
        for first in range(0, len(self._part), _BATCH):
            rows = slice(first, first + _BATCH)
            limits = zip(self._part[rows].tolist(), self._begin[rows].tolist(), self._end[rows].tolist(), strict=True)
            yield self.path, np.concatenate([self._ids[part][begin:end] for part, begin, end in limits])
