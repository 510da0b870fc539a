"""A thread that detects steps that hang."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

GRACE = 60.0
"""Seconds that a step may take beyond the remaining budget."""
LOOK_EVERY = 5.0
"""Seconds between two checks."""
PATIENCE = 10.0
"""Seconds after which a run that was asked to end must have ended."""


class Watchdog:
    """Calls a function when a run has made no progress for too long.

    The clock is read after steps, so one that does not end would never spend the budget. The thread looks seldom, and
    only at numbers that the run has anyway; it synchronises nothing. Time in which the process was stopped is not held
    against it.

    Args:
        progress: What changes with each step; None while the submission's clock stands still, as in an evaluation.
        limit: Seconds that the present step may take; it gets :data:`GRACE` more.
        expired: Called in the thread, once, with the watchdog.
    """

    def __init__(
        self, progress: Callable[[], int | None], limit: Callable[[], float], expired: Callable[[Watchdog], None]
    ) -> None:
        self._progress, self._limit, self._expired = progress, limit, expired
        self.grace = GRACE
        self._over = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="algoperf-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def was_stopped(self) -> bool:
        """Wait for :meth:`stop`, and return whether it was called because the run has ended by itself."""
        return self._over.wait(PATIENCE)

    def place(self) -> str:
        """Return the current position of the run: the innermost line of Python."""
        frame = sys._current_frames().get(self._watched)
        return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"

    def _watch(self) -> None:
        seen: int | None = None
        without_progress, last = 0.0, time.monotonic()
        while not self._over.wait(LOOK_EVERY):
            now, last_look = time.monotonic(), last
            last = now
            progress = self._progress()
            if progress is None or progress != seen:
                seen, without_progress = progress, 0.0
                continue
            without_progress += min(now - last_look, 2 * LOOK_EVERY)
            if without_progress > self._limit() + self.grace:
                self._expired(self)
                return
