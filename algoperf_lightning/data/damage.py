"""Damaged files: the error that readers raise, and its translation to one that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

Damaged: TypeAlias = Callable[[Path, str, str], Exception]
"""Creates the error for a file from its path, what was expected, and what was found."""


class DamagedError(ValueError):
    """A file is not what it should be. Readers raise it; they need not know which workload's file it is.

    Attributes:
        path: The file or folder.
        expected: What it should be: ``lines of 40 fields``.
        found: What it is, as a clause: ``line 7 has 39``.
    """

    def __init__(self, path: Path, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, but {found}")
        self.path, self.expected, self.found = path, expected, found


@contextmanager
def naming_damage(damaged: Damaged) -> Iterator[None]:
    """Turn a :class:`DamagedError` within the block into the error that ``damaged`` creates."""
    try:
        yield
    except DamagedError as damage:
        raise damaged(damage.path, damage.expected, damage.found) from damage
