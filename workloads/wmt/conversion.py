"""Conversion for wmt: writes sentence pairs to a token file, once, resumable after a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from algoperf_lightning.data import DamagedError
from algoperf_lightning.data.headers import crc32_of_rest, write_header_last
from algoperf_lightning.files import sync
from algoperf_lightning.utilities.progress import progress

from .reading import BYTES_A_PAIR, HEADER_SIZE, Header

_CHUNK = 10_000
"""Pairs that are tokenised at a time; a killed run loses at most these."""


class Encoder(Protocol):
    """Encodes sentences as ids."""

    size: int
    """Number of ids."""
    fingerprint: bytes
    """32 bytes that identify the encoder."""

    def encode(self, sentences: list[str]) -> list[list[int]]:
        """Return the ids of each sentence, with the end token."""
        ...


def write_token_file(
    path: Path,
    pairs: Callable[[], Iterator[tuple[str, str]]],
    count: int,
    text_size: int,
    encoder: Encoder,
    what: str,
) -> None:
    """Tokenise sentence pairs; a killed run is resumed from ``<name>.part``.

    Args:
        path: The token file; it is created when it is complete.
        pairs: Source and target sentences, from the first one.
        count: Number of pairs.
        text_size: Bytes of their text; used to detect that the text has changed.
        encoder: Encodes sentences as ids.
        what: Description for the progress display.
    """
    part = path.with_name(path.name + ".part")
    header = Header(count, text_size, encoder.size, encoder.fingerprint)
    done = _resume(part, header)
    with part.open("r+b") as file, progress(what, count, done=done) as advance:
        tables = _Tables(file, count)
        remaining = islice(pairs(), done, None)
        while chunk := list(islice(remaining, _CHUNK)):
            tables.append(done, encoder.encode([sentence for pair in chunk for sentence in pair]))
            done += len(chunk)
            advance(len(chunk))
        tables.flush()
        file.seek(HEADER_SIZE)
        write_header_last(file, replace(header, checksum=crc32_of_rest(file)).pack())
    part.replace(path)


class _Tables:
    """The tables of a token file that is being written, and the ids after them.

    Args:
        file: The file, with space for the tables.
        pairs: Number of pairs.
    """

    def __init__(self, file: IO[bytes], pairs: int) -> None:
        self._file = file
        self._first_id = HEADER_SIZE + pairs * BYTES_A_PAIR
        self._ends = np.memmap(file, "<i8", "r+", HEADER_SIZE, (pairs, 2))
        self._known = np.memmap(file, "<u4", "r+", HEADER_SIZE + pairs * 16, (pairs, 2))

    def append(self, done: int, encoded: list[list[int]]) -> None:
        """Write the ids of some sentences, alternating source and target, after those of the first ``done`` pairs."""
        total = int(self._ends[done - 1, 1]) if done else 0
        lengths = np.fromiter((len(ids) for ids in encoded), np.int64, len(encoded))
        ids = np.fromiter((token for tokens in encoded for token in tokens), "<u2", int(lengths.sum()))
        self._file.seek(self._first_id + 2 * total)
        self._file.write(ids.tobytes())
        sync(self._file)
        rows = slice(done, done + len(encoded) // 2)
        limits = np.cumsum(lengths)
        filled = np.append(0, np.cumsum(ids != 0))
        self._known[rows] = np.diff(filled[np.append(0, limits)]).reshape(-1, 2)
        self._ends[rows] = (total + limits).reshape(-1, 2)  # last: they define how many pairs are done

    def flush(self) -> None:
        """Write the tables to the file."""
        self._ends.flush()
        self._known.flush()


def _resume(part: Path, header: Header) -> int:
    """Return the number of pairs in an incomplete file; create one if there is none for this text and tokenizer."""
    tables = HEADER_SIZE + header.pairs * BYTES_A_PAIR
    try:
        if replace(Header.read(part), checksum=0) == header and part.stat().st_size >= tables:
            ends = np.memmap(part, "<i8", "r", HEADER_SIZE, (header.pairs, 2))
            done = int(np.count_nonzero(ends[:, 1]))  # each target has at least an end token, so none ends at 0
            size = tables + 2 * (int(ends[done - 1, 1]) if done else 0)
            if part.stat().st_size >= size:
                os.truncate(part, size)
                return done
    except (DamagedError, FileNotFoundError):
        pass
    with part.open("wb") as file:
        file.write(header.pack())
        file.truncate(tables)
    return 0
