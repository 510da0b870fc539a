"""Data of criteo1tb: 24 days of click logs, converted once to memory-mapped rows."""

from __future__ import annotations

import errno
import gzip
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.data.examples import Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import write_atomic
from algoperf_lightning.rng import frozen_generator
from algoperf_lightning.utilities.progress import progress

from .batches import EvenlySpaced, RowFiles
from .conversion import convert, sources_of
from .parsing import ROW
from .reading import Part, checksum, map_rows, read_index
from .small import ClickLog
from .spec import CONVERTED, DAYS, FOLDER
from .tiny import ClickModel

ROWS_PER_PART = 5_000_000
"""Rows of a converted file, the same as in a shard of the benchmark's own preparation."""

TEST_PARTS = 19
"""Number of parts of the last day in ``test``; the rest of it is ``validation``."""

TINY_ROWS_PER_PART = 200
TINY_ROWS_PER_DAY = (1_000,) * (DAYS - 1) + (35 * TINY_ROWS_PER_PART + 130,)

SMALL_ROWS_PER_PART = 100
SMALL_ROWS_PER_DAY = (12_600,) * (DAYS - 1) + (6_000,)

PAGE = "https://huggingface.co/datasets/criteo/CriteoClickLogs"


class Criteo1TBData(FileData):
    """4.4 billion rows of Criteo's click logs, 494 GB when converted.

    Splits: ``train`` is the first 23 days, ``test`` the first 95,000,000 rows of the last day, ``validation`` the rest
    of it. ``eval_train`` is a fixed part of ``train``: 10,166 blocks of 8,192 rows, evenly spaced over all days. (The
    benchmark draws 17 files again for each evaluation.)

    Training reads one file after the other, in a new random order for each pass, and the rows of a file in order: rows
    are not shuffled, and a batch is a contiguous part of one day.

    The text files (``day_0.gz`` or ``day_0`` or the shards ``day_0_00``, ``day_0_01`` ... of the benchmark's
    preparation) are downloaded by hand. :mod:`.parsing` converts them; they are not needed afterwards.

    Source: Criteo AI Lab, Criteo 1TB Click Logs, https://huggingface.co/datasets/criteo/CriteoClickLogs.
    """

    # The main process only pins and copies batches that other processes have read.
    workers = 1

    folder_name: ClassVar[str] = FOLDER

    @property
    def converted(self) -> Path:
        """Folder of the converted files."""
        return self.data_dir / CONVERTED

    def missing_files(self) -> list[Path]:
        """Return the missing indices of days, and the missing files named in existing ones."""
        missing = super().missing_files()
        for day in range(DAYS):
            if self._index(day) not in missing:
                paths = [self.converted / part.file for part in self._parts(day)]
                missing += [path for path in paths if not path.exists()]
        return missing

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing or does not match its index, or if the number of rows is wrong.
        """
        self.require_files()
        if split == "eval_train":
            train = self.open("train")
            return EvenlySpaced(train, len(train) * self.spec.splits["eval_train"] // self.spec.splits["train"])
        last = self._parts(DAYS - 1)
        if split == "train":
            parts = [part for day in range(DAYS - 1) for part in self._parts(day)]
        else:
            parts = {"test": last[:TEST_PARTS], "validation": last[TEST_PARTS:]}[split]
        for part in parts:
            self._check_size(part)
        rows = sum(part.rows for part in parts)
        if (rows != self.spec.splits[split] and not self.is_tiny) or not rows:
            raise DataNotFoundError(
                f"{self.spec.name}: the files of {split} in {self.converted} contain {rows:,} rows, but expected "
                f"{self.spec.splits[split]:,}. Is one of the text files, or the last shard of a day, incomplete? The "
                f"day_*.json files contain the number of rows of each day. Delete those of the days to convert again, "
                f"provide the complete text files, and run `{self.command('prepare')}`."
            )
        return RowFiles([(self.converted / part.file, part.rows) for part in parts])

    def check(self) -> None:
        """Verify the checksums of all converted files.

        Raises:
            DataNotFoundError: If one is missing or damaged.
        """
        super().check()
        parts = [part for day in range(DAYS) for part in self._parts(day)]
        total = sum(part.rows for part in parts) * ROW.itemsize
        title = f"{self.spec.name}: verifying"
        with progress(title, total, bytes_=True) as advance, ThreadPoolExecutor() as pool:
            # map() returns results in order, so the first damaged file is reported.
            for part, found in zip(parts, pool.map(self._checksum, parts), strict=True):
                if found != part.crc32:
                    raise self.damaged(self.converted / part.file, f"checksum {part.crc32}", f"it has {found}")
                advance(part.rows * ROW.itemsize)

    def _checksum(self, part: Part) -> str:
        return checksum(map_rows(self.converted / part.file))

    def _check_size(self, part: Part) -> None:
        path = self.converted / part.file
        try:
            rows = len(map_rows(path))
        except (OSError, ValueError, EOFError) as error:
            raise self.damaged(
                path, f"{part.rows:,} rows of {ROW.itemsize} bytes", f"reading failed ({error})"
            ) from error
        if rows != part.rows:
            raise self.damaged(path, f"{part.rows:,} rows", f"it has {rows:,}")

    def _index(self, day: int) -> Path:
        return self.converted / f"day_{day}.json"

    def _parts(self, day: int) -> list[Part]:
        try:
            return read_index(self._index(day))
        except ValueError as error:
            raise self.damaged(self._index(day), "the index of a day", f"reading failed ({error})") from error

    def fetch(self, missing: list[Path]) -> None:
        """Convert incomplete days from their text files."""
        by_hand = (
            f"download Criteo's 1TB Click Logs (342 GB; {PAGE}), copy day_0.gz to day_{DAYS - 1}.gz into {self.folder}"
        )
        sources = {}
        for path in missing:
            day = int(re.findall(r"\d+", path.stem)[0])
            try:
                sources[day] = sources_of(self.folder, day)
            except FileNotFoundError as error:
                raise self.unavailable(path, error, by_hand) from error
        self._convert(sources, ROWS_PER_PART)

    def _convert(self, sources: dict[int, list[Path]], rows_per_part: int) -> None:
        try:
            with self.naming_damage():
                convert(dict(sorted(sources.items())), self.converted, rows_per_part, f"{self.spec.name}: converting")
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise BadInputError(
                f"{self.spec.name}: the disk of {self.converted} is full. All days take 494 GB converted. "
                f"Converted files are kept; run `{self.command('prepare')}` again to continue."
            ) from error

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write and convert ``day_0.gz`` ...: 24 days of synthetic clicks, 1,000 rows each and 7,130 on the last."""
        model = ClickModel(random)
        self._write_days((model.rows(rows) for rows in TINY_ROWS_PER_DAY), TINY_ROWS_PER_PART)

    def write_small_files(self) -> None:
        """Write and convert 24 days of a synthetic log: 12,600 rows a day, 6,000 on the last."""
        log = ClickLog(frozen_generator(0, "small", self.spec.name))
        self._write_days((log.day(*day) for day in enumerate(SMALL_ROWS_PER_DAY)), SMALL_ROWS_PER_PART)

    def _write_days(self, days: Iterable[bytes], rows_per_part: int) -> None:
        shutil.rmtree(self.converted, ignore_errors=True)
        sources = {}
        for day, content in enumerate(days):
            path = self.folder / f"day_{day}.gz"
            write_atomic(path, gzip.compress(content, compresslevel=1, mtime=0))
            sources[day] = [path]
        self._convert(sources, rows_per_part)
