"""Existing tokens: those of the benchmark's preparation, folders of the library ``datasets``, and flat files of ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.files import is_left_by_system

from .conversion import Source
from .documents import Part, ShuffledDocuments
from .snapshots import METADATA, Snapshot

TOKENIZED = "fwedu_10B_tokenized"
"""Folder in which the benchmark's preparation stores all documents, before it shuffles and splits them."""

COLUMN = "input_ids"
"""Column of the ids in a folder of ``datasets``, with one row per document."""

NAMES = {"train": ("train",), "validation": ("val", "validation")}
"""Names of the splits in names of files and folders."""

_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_LLM_C_MAGIC, _LLM_C_HEADER = 20_240_520, 1_024
_BLOCK = 1 << 22


def find_tokens(folder: Path, split: str) -> Source | None:
    """Return the tokens of a split in a folder, if they have one of the known forms, otherwise None.

    The forms are tried in this order: a folder ``train`` (``val``) saved by TensorFlow or by ``datasets``; flat files
    ``train.bin`` or ``train.npy``, or several files with ``_train_`` in their names, sorted by name; all documents in
    ``fwedu_10B_tokenized``, saved by ``datasets``.

    Args:
        folder: The folder.
        split: ``train`` or ``validation``.

    Raises:
        DamagedError: If they are damaged, or a folder has other content.
    """
    for name in NAMES[split]:
        if (folder / name).exists():
            return _saved_folder(folder / name)
    for name in NAMES[split]:
        for suffix in ("bin", "npy"):
            found = [*folder.glob(f"{name}.{suffix}"), *folder.glob(f"*_{name}_*.{suffix}")]
            files = [path for path in found if not is_left_by_system(path.name)]
            if files:
                return FlatFiles(sorted(files))
    if (folder / TOKENIZED).exists():
        whole = ArrowFolder(folder / TOKENIZED)
        return ShuffledDocuments(whole.path, whole.size, whole.parts(), split)
    return None


def _saved_folder(path: Path) -> Source:
    if (path / METADATA).exists():
        return Snapshot(path)
    if (path / "state.json").exists() or not path.is_dir():
        return ArrowFolder(path)
    inside = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
    expected = f"documents saved by TensorFlow ({METADATA}) or by the library datasets (state.json)"
    raise DamagedError(path, expected, f"it contains {inside}")


class ArrowFolder:
    """A folder that ``Dataset.save_to_disk`` has written: Arrow streams, and ``state.json`` with their names.

    Args:
        path: The folder.

    Raises:
        DamagedError: If a file is missing, truncated, or has no column ``input_ids`` of lists of integers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        state = path / "state.json"
        expected = "the names of Arrow files under `_data_files`"
        try:
            content = json.loads(state.read_text())
            self.files = [path / str(entry["filename"]) for entry in content["_data_files"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(state, expected, f"reading failed ({error!r})") from error
        if content.get("_indices_data_files"):
            found = "its rows are picked by another table; save it again by a newer version of `datasets`"
            raise DamagedError(state, "all rows of the Arrow files in their order", found)
        for file in self.files:
            _check_stream(file)
        self.size = sum(file.stat().st_size for file in self.files)
        self.tokens = sum(len(block) for _, block in self.blocks())

    def blocks(self) -> Iterator[tuple[Path, NDArray[np.integer]]]:
        """Yield the ids ``(N,)`` of each record batch: views of mapped memory, which are read on access."""
        for file, column in self._columns():
            yield file, _ids(file, column)

    def parts(self) -> list[Part]:
        """Return the documents of each record batch."""
        ends = (np.cumsum(column.value_lengths().fill_null(0), dtype=np.int64) for _, column in self._columns())
        return [Part(ids, end) for (_, ids), end in zip(self.blocks(), ends, strict=True)]

    def _columns(self) -> Iterator[tuple[Path, Any]]:
        """Yield the lists of ids of each record batch."""
        import pyarrow as pa  # type: ignore[import-untyped]

        for file in self.files:
            try:
                with pa.memory_map(str(file)) as mapped:
                    for batch in pa.ipc.open_stream(mapped):
                        yield file, _lists(file, batch)
            except (pa.ArrowInvalid, OSError) as error:
                raise DamagedError(file, "a complete Arrow stream", f"reading failed ({error})") from error


def _check_stream(file: Path) -> None:
    """Raise unless the file exists and ends like a complete stream: readers accept a truncated one as a short one."""
    if not file.exists():
        raise DamagedError(file, "a file that state.json names", "it is missing")
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - len(_STREAM_END)))
        end = content.read()
    if end != _STREAM_END:
        raise DamagedError(file, "a complete Arrow stream", f"it is truncated: it ends with {end!r}")


def _lists(file: Path, batch: Any) -> Any:
    """Return the column of ids of a record batch."""
    import pyarrow as pa

    if COLUMN not in batch.schema.names:
        raise DamagedError(file, f"a column {COLUMN!r}", f"its columns are {batch.schema.names}")
    column = batch.column(COLUMN)
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not lists or not pa.types.is_integer(column.type.value_type):
        raise DamagedError(file, f"lists of integers in {COLUMN!r}", f"they are {column.type}")
    return column


def _ids(file: Path, column: Any) -> NDArray[np.integer]:
    """Return the concatenated ids of all rows of a record batch."""
    values = column.flatten()  # respects offsets and null rows, unlike its `values`
    if values.null_count:
        raise DamagedError(file, f"integers in {COLUMN!r}", "some are null")
    ids: NDArray[np.integer] = values.to_numpy()
    return ids


class FlatFiles:
    """Flat files of ids: plain uint16 (``.bin``), the same with the header of llm.c, or arrays (``.npy``).

    Args:
        files: The files, in order.

    Raises:
        DamagedError: If one is empty, truncated, or does not contain integers.
    """

    def __init__(self, files: list[Path]) -> None:
        self.path = files[0]
        self._arrays = [(file, _load(file)) for file in files]
        self.size = sum(file.stat().st_size for file in files)
        self.tokens = sum(len(ids) for _, ids in self._arrays)

    def blocks(self) -> Iterator[tuple[Path, NDArray[np.integer]]]:
        """Yield a few million ids ``(N,)`` at a time, mapped into memory."""
        for file, ids in self._arrays:
            for begin in range(0, len(ids), _BLOCK):
                yield file, ids[begin : begin + _BLOCK]


def _load(file: Path) -> NDArray[np.integer]:
    size = file.stat().st_size
    if not size:
        raise DamagedError(file, "tokens", "it is empty")
    if file.suffix == ".npy":
        try:
            array = np.load(file, mmap_mode="r")
        except (ValueError, OSError, EOFError) as error:
            raise DamagedError(file, "an array of integers", f"reading failed ({error})") from error
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            found = f"it is {array.dtype} with shape {array.shape}"
            raise DamagedError(file, "an array of integers with one axis (uint16, best)", found)
        return np.asarray(array)
    if size % 2:
        raise DamagedError(file, "two bytes for each token", f"it has {size:,} bytes")
    with file.open("rb") as content:
        head = np.frombuffer(content.read(12), "<i4")
    if len(head) == 3 and head[0] == _LLM_C_MAGIC and head[1] == 1:
        if size != _LLM_C_HEADER + 2 * int(head[2]):
            expected = f"{_LLM_C_HEADER + 2 * int(head[2]):,} bytes for {head[2]:,} tokens"
            raise DamagedError(file, expected, f"it has {size:,}")
        return np.asarray(np.memmap(file, "<u2", "r", _LLM_C_HEADER))
    return np.asarray(np.memmap(file, "<u2", "r"))
