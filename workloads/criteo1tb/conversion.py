"""Conversion for criteo1tb: writes text files to files of rows for memory mapping, once, in threads, resumable.

It uses threads instead of processes, because nearly all time is spent in NumPy and zlib, which release the GIL.
"""

from __future__ import annotations

import gzip
import os
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import ARCHIVE_ERRORS, DamagedError
from algoperf_lightning.utilities.progress import Advance, progress

from .parsing import BadRowError, parse
from .parts import FinishedParts, PartWriter, write_index
from .reading import Part

_BLOCK = 1 << 20  # bytes of text parsed at a time, about 4,000 lines: intermediate results stay in the cache
_LONGEST_LINE = 1 << 16


def sources_of(folder: Path, day: int) -> list[Path]:
    """Return the text files of a day: shards (``day_3_00`` ...), or the whole (``day_3``); any of them may be ``.gz``.

    Raises:
        FileNotFoundError: If there are none, or one of the shards is missing.
    """
    shards: dict[int, Path] = {}
    for path in sorted(folder.glob(f"day_{day}_*")):
        if match := re.fullmatch(rf"day_{day}_(\d\d+)(\.gz)?", path.name):
            shards.setdefault(int(match[1]), path)
    if shards:
        if absent := set(range(max(shards) + 1)) - set(shards):
            raise FileNotFoundError(f"among the shards of day {day} there is no day_{day}_{min(absent):02}")
        return [shards[number] for number in sorted(shards)]
    for name in (f"day_{day}", f"day_{day}.gz"):
        if (folder / name).exists():
            return [folder / name]
    raise FileNotFoundError(f"there is no day_{day}.gz, day_{day} or day_{day}_00 in {folder}")


def convert(sources: Mapping[int, list[Path]], folder: Path, rows_per_part: int, title: str) -> None:
    """Convert days, one per thread. Existing undamaged parts are kept.

    Args:
        sources: Text files by day.
        folder: Output folder.
        rows_per_part: Rows of every part, and lines of every shard, except the last one of a day.
        title: Title of the progress display.

    Raises:
        DamagedError: If a text file is damaged. Parts that were converted before are kept.
        OSError: If a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(path.stat().st_size for paths in sources.values() for path in paths)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    stop = threading.Event()
    lock = threading.Lock()
    with progress(title, total, bytes_=True) as advance, ThreadPoolExecutor(threads) as pool:

        def report(amount: int = 1) -> None:
            if stop.is_set():
                raise InterruptedError("Another thread has failed.")
            with lock:
                advance(amount)

        try:
            done, _ = wait(
                [
                    pool.submit(_convert_day, day, paths, folder, rows_per_part, report)
                    for day, paths in sources.items()
                ],
                return_when=FIRST_EXCEPTION,
            )
        finally:  # also after Ctrl-C, which only this thread receives
            stop.set()
            pool.shutdown(cancel_futures=True)
    for future in done:
        future.result()


def _convert_day(day: int, paths: list[Path], folder: Path, rows_per_part: int, report: Advance) -> None:
    parts: list[Part] = []
    finished = FinishedParts(folder, day)
    whole = paths[0].name.removesuffix(".gz") == f"day_{day}"
    for number, path in enumerate(paths):
        file = _File(path, folder, day, finished, 0 if whole else number, rows_per_part, single=not whole)
        new = file.convert(report)
        if not whole and (len(new) > 1 or (number < len(paths) - 1 and new[0].rows < rows_per_part)):
            rows = sum(part.rows for part in new)
            raise DamagedError(
                path, f"{rows_per_part:,} lines, as in every shard but the last of a day", f"it has {rows:,}"
            )
        parts += new
    write_index(folder, day, parts, paths)
    finished.discard()
    for left in folder.glob(f".day_{day}_*.npy.*"):  # of a run that was killed
        left.unlink(missing_ok=True)


class _File:
    """The conversion of a text file to parts, the first of which has number ``first``."""

    def __init__(
        self, path: Path, folder: Path, day: int, finished: FinishedParts, first: int, rows_per_part: int, single: bool
    ) -> None:
        self.path, self.folder, self.day, self.first, self.rows_per_part = path, folder, day, first, rows_per_part
        self.finished = finished
        self.single = single  # a shard is one part; additional lines would be mistaken for those of the next shard
        self.line = 0
        self.parts: dict[int, Part] = {}
        self.writer: PartWriter | None = None

    def convert(self, report: Advance) -> list[Part]:
        """Return the parts, including existing ones."""
        try:
            blocks = iter(_blocks(self.path, report))
            for text in blocks:
                lines = text.count(b"\n")
                if self.single and self.line + lines > self.rows_per_part:
                    expected = f"{self.rows_per_part:,} lines, as in every shard but the last of a day"
                    rows = self.line + lines + sum(more.count(b"\n") for more in blocks)
                    raise DamagedError(self.path, expected, f"it has {rows:,}")
                if all(self._is_there(number) for number in range(self._part(0), self._part(lines - 1) + 1)):
                    self.line += lines
                else:
                    self._write(self._parse(text))
            if not self.line:
                raise DamagedError(self.path, "lines of 40 fields", "it is empty")
            self._finish()
        finally:
            if self.writer is not None:
                self.writer.discard()
        return [self.parts[number] for number in range(self.first, self._part(-1) + 1)]

    def _part(self, ahead: int) -> int:
        """Return the number of the part of the line at this distance ahead."""
        return self.first + (self.line + ahead) // self.rows_per_part

    def _is_there(self, number: int) -> bool:
        """Return whether a complete part was written before this run; the last, short one of a day is written again."""
        if number not in self.parts and (self.writer is None or self.writer.number != number):
            part = self.finished.find(self._path(number).name, self.rows_per_part)
            if part is None:
                return False
            self.parts[number] = part
        return number in self.parts

    def _parse(self, text: bytes) -> NDArray[np.void]:
        try:
            return parse(text)
        except BadRowError as error:
            raise DamagedError(
                self.path, error.expected, f"line {self.line + error.line + 1:,} {error.found}"
            ) from error

    def _write(self, rows: NDArray[np.void]) -> None:
        while len(rows):
            number = self._part(0)
            piece = rows[: self.rows_per_part - self.line % self.rows_per_part]
            if not self._is_there(number):
                if self.writer is None:
                    self.writer = PartWriter(self._path(number), number)
                self.writer.write(piece)
            self.line += len(piece)
            rows = rows[len(piece) :]
            if self.line % self.rows_per_part == 0:
                self._finish()

    def _finish(self) -> None:
        if self.writer is not None:
            part = self.parts[self.writer.number] = self.writer.finish()
            self.finished.add(part)
            self.writer = None

    def _path(self, number: int) -> Path:
        return self.folder / f"day_{self.day}_{number:02}.npy"


def _blocks(path: Path, report: Advance) -> Iterator[bytes]:
    """Yield a file's text in pieces of complete lines."""
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        rest, told = b"", 0
        while chunk := _read(path, file):
            report(raw.tell() - told)
            told = raw.tell()
            cut = chunk.rfind(b"\n") + 1
            if cut:
                yield rest + chunk[:cut]
                rest = b""
            rest += chunk[cut:]
            if len(rest) > _LONGEST_LINE:
                raise DamagedError(
                    path, "lines of 40 fields", f"one begins {rest[:40].decode('latin1')!r} and does not end"
                )
    if rest:
        yield rest + b"\n"


def _read(path: Path, file: gzip.GzipFile | IO[bytes]) -> bytes:
    try:
        return file.read(_BLOCK)
    except ARCHIVE_ERRORS as error:
        raise DamagedError(path, "a complete gzip file", f"unpacking failed ({error})") from error
