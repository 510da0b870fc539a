"""Reading of tolstoi: the text of War and Peace, and its characters as numbers."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError

SHA256 = "3ed0f41cfdf660846878943bad5b9d575bcae1e4a92ee9a7f43d3c9dba2af344"
"""Checksum of the official file, which has 3,291,641 bytes."""

CUTS = ((1, 29), (5, 775), (63_850, 64_207))
"""First and last lines of skipped parts, counted from 1 in the text without the previous parts: the Gutenberg Project's
header, the table of contents, and the licence."""

TINY_CUTS = ((1, 3), (2, 5), (1_203, 1_207))
"""The same for a tiny data set."""

CHARACTERS = 3_266_185
"""Number of remaining characters."""


def read_text(path: Path, *, official: bool) -> str:
    """Return the text without the skipped lines; lines end with CR LF, both of which are characters.

    Args:
        path: The file.
        official: Whether it must be the official file, by its SHA-256 sum.

    Raises:
        DamagedError: If it is another file, or not text.
    """
    content = path.read_bytes()
    if official and (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DamagedError(path, f"the edition of 2009 of War and Peace, with SHA-256 sum {SHA256}", f"it has {found}")
    try:
        return without(content, CUTS if official else TINY_CUTS).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError(path, "text in UTF-8", f"reading failed ({error})") from error


def without(content: bytes, cuts: Sequence[tuple[int, int]]) -> bytes:
    r"""Return a text without some ranges of lines, which are removed one after the other.

    Example:
        >>> without(b"a\r\nb\r\nc\r\nd", [(1, 1), (2, 2)])
        b'b\r\nd'
    """
    lines = content.split(b"\n")
    for first, last in cuts:
        del lines[first - 1 : last]
    return b"\n".join(lines)


def encode(text: str) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the number of each character, and the characters in the order of their numbers.

    More frequent characters have lower numbers; equally frequent ones are in the order of their first appearance.

    Example:
        >>> encode("abbc")
        (array([1, 0, 0, 2], dtype=uint8), ['b', 'a', 'c'])
    """
    counts = Counter(text)  # in the order of first appearance
    vocabulary = sorted(counts, key=lambda character: -counts[character])
    numbers = {character: number for number, character in enumerate(vocabulary)}
    return np.fromiter((numbers[character] for character in text), np.uint8, len(text)), vocabulary
