"""Progress of long work: a bar on a terminal, or occasional lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 30.0


class Advance(Protocol):
    """Called with the amount of completed work."""

    def __call__(self, amount: int = 1) -> None:
        """Advance by ``amount`` units."""


@contextmanager
def progress(what: str, total: int | None, *, done: int = 0, bytes_: bool = False) -> Iterator[Advance]:
    """Show the progress of work on standard error: a bar on a terminal, otherwise a line every half minute.

    Only the first rank of a machine shows it.

    Args:
        what: Short description of the work: ``imagenet: unpacking``.
        total: Total amount of work; None if unknown.
        done: Amount that a previous run has already completed.
        bytes_: Whether the units are bytes.

    Example:
        >>> with progress("counting", 3) as advance:
        ...     for _ in range(3):
        ...         advance()
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        yield lambda amount=1: None
        return
    console = Console(stderr=True)
    if console.is_terminal:
        amount = DownloadColumn() if bytes_ else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        with RichProgress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=total, completed=done)
            yield lambda amount=1: bar.advance(task, amount)
        return
    yield _Lines(what, total, done, 1e-6 if bytes_ else 1, " MB" if bytes_ else "")


class _Lines:
    def __init__(self, what: str, total: int | None, done: int, scale: float, unit: str) -> None:
        self._what, self._total, self._done, self._scale, self._unit = what, total, done, scale, unit
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def __call__(self, amount: int = 1) -> None:
        self._done += amount
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_LINES
            of = "" if self._total is None else f" of {self._total * self._scale:,.0f}"
            print(f"{self._what}: {self._done * self._scale:,.0f}{of}{self._unit}", file=sys.stderr, flush=True)  # noqa: T201
