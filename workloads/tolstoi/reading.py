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
"""Of the official file; 3,291,641 bytes."""

CUTS = ((1, 29), (5, 775), (63_850, 64_207))
"""Lines that are left out, first and last, counted from 1 in what the cut before has left: what the Gutenberg Project
writes in front, the table of contents, and the licence."""

TINY_CUTS = ((1, 3), (2, 5), (1_203, 1_207))
"""Of a tiny data set."""

CHARACTERS = 3_266_185
"""Characters that are left."""


def read_text(path: Path, *, official: bool) -> str:
    """Return the text without what is left out; lines end in CR LF, both of which are characters.

    Args:
        path: The file.
        official: Whether it must be the official file, by its SHA-256 sum.

    Raises:
        DamagedError: If it is not, or is no text.
    """
    content = path.read_bytes()
    if official and (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DamagedError(path, f"the edition of 2009 of War and Peace, with SHA-256 sum {SHA256}", f"it has {found}")
    try:
        return without(content, CUTS if official else TINY_CUTS).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError(path, "text in UTF-8", f"reading failed ({error})") from error


def without(content: bytes, cuts: Sequence[tuple[int, int]]) -> bytes:
    r"""Return a text without some of its lines, each cut made in what the one before has left.

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

    The more frequent one has the lower number; of two that are equally frequent, the one that comes first in the text.

    Example:
        >>> encode("abbc")
        (array([1, 0, 0, 2], dtype=uint8), ['b', 'a', 'c'])
    """
    counts = Counter(text)  # in the order of first appearance
    vocabulary = sorted(counts, key=lambda character: -counts[character])
    numbers = {character: number for number, character in enumerate(vocabulary)}
    return np.fromiter((numbers[character] for character in text), np.uint8, len(text)), vocabulary
