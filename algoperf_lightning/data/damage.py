"""Damaged files: the error raised by readers, and its conversion to an error with instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

Damaged: TypeAlias = Callable[[Path, str, str], Exception]
"""Function that creates the error for a file from its path, the expected content, and the content found."""


class DamagedError(ValueError):
    """A file has unexpected content. Raised by readers, which do not know the workload of the file.

    Attributes:
        path: Path of the file or folder.
        expected: Expected content, such as ``lines of 40 fields``.
        found: Content found, as a clause, such as ``line 7 has 39``.
    """

    def __init__(self, path: Path, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, but {found}")
        self.path, self.expected, self.found = path, expected, found


@contextmanager
def naming_damage(damaged: Damaged) -> Iterator[None]:
    """Convert a :class:`DamagedError` raised in the block to the error created by ``damaged``."""
    try:
        yield
    except DamagedError as damage:
        raise damaged(damage.path, damage.expected, damage.found) from damage
