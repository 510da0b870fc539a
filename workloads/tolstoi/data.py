"""Data of tolstoi_char_rnn: War and Peace."""

from __future__ import annotations

from functools import cached_property
from math import ceil
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DownloadError, Examples, FileData, download
from algoperf_lightning.files import write_atomic

from .batches import Blocks
from .reading import SHA256, TINY_CUTS, encode, read_text
from .spec import FILE, FOLDER

URL = "https://raw.githubusercontent.com/AllenDowney/fluent-python-notebooks/master/attic/sequences/war-and-peace.txt"
"""A copy of the Gutenberg Project's edition of 2009; the current one starts with other lines."""

TINY_LINES = 1_202
"""Lines of text in a tiny data set."""


class TolstoiData(FileData):
    """War and Peace, translated by L. and A. Maude: 3,266,185 characters, 83 different ones, in the public domain.

    Splits, by character: the first 653,237 are ``validation``, the next 1,959,711 ``train`` and the last 653,237
    ``test``, as in DeepOBS. Each is arranged in 50 rows, in which blocks of 50 characters follow one another.
    ``eval_train`` is the first 261 blocks of each row of ``train``.

    Source: L. Tolstoy, War and Peace, Project Gutenberg no. 2600, https://www.gutenberg.org/ebooks/2600.
    """

    folder_name: ClassVar[str] = FOLDER

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If the file is missing, or is neither official (by checksum) nor from a tiny data set.
        """
        rows, length = self.spec.data["rows"], self.spec.data["length"]
        parts = self._parts
        if split != "eval_train":
            return Blocks(parts[split], rows, length)
        return Blocks(parts["train"], rows, length, Blocks(parts["validation"], rows, length).blocks)

    @cached_property
    def _parts(self) -> dict[str, NDArray[np.uint8]]:
        """Return the numbers of the characters of each split."""
        self.require_files()
        with self.naming_damage():
            numbers, _ = encode(read_text(self.folder / FILE, official=not self.is_tiny))
        first = ceil(0.8 * len(numbers))  # for training and validation
        held_out = len(numbers) - first
        return {"validation": numbers[:held_out], "train": numbers[held_out:first], "test": numbers[first:]}

    def fetch(self, missing: list[Path]) -> None:
        """Download the text."""
        path = self.folder / FILE
        try:
            download(URL, path, sha256=SHA256)
        except DownloadError as error:
            by_hand = f"copy the file, {URL} (SHA-256 sum {SHA256}), to {path}"
            raise self.unavailable(path, error, by_hand) from error

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write 1,202 lines of forty artificial words, with lines before and after them that are skipped."""
        letters = list("etaonihsrdlucmwf")
        words = ["".join(random.choice(letters, random.randint(2, 7))) for _ in range(40)]
        lines = [" ".join(random.choice(words, 10)).capitalize() + "." for _ in range(TINY_LINES)]
        (_, in_front), (place, contents), (_, behind) = TINY_CUTS
        lines[place - 1 : place - 1] = ["CHAPTER"] * (contents - place + 1)
        lines = [*["Produced by nobody"] * in_front, *lines, *["License"] * (behind - TINY_LINES)]
        write_atomic(self.folder / FILE, "\r\n".join(lines).encode())
