"""A thread that detects steps, evaluations and calls into the submission that hang."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Hashable

import lightning as L

from algoperf_lightning.training import calls as submission_calls
from algoperf_lightning.utilities.interruption import OutsideEnd, StepTimeoutError

GRACE = 60.0
"""Seconds that a step may take beyond the remaining budget."""
EVALUATION_GRACE = 3600.0
"""Seconds that an evaluation may take for one batch, or for the work after its last batch."""
LOOK_EVERY = 5.0
"""Seconds between two checks."""
PATIENCE = 10.0
"""Seconds after which a run that was asked to end must have ended."""


class Watchdog:
    """Calls a function when a run has made no progress for too long.

    The clock is read after steps, so a step that hangs would never spend the budget. The thread checks rarely, and only
    reads numbers that the run has anyway; it does not synchronise the device. Time in which the process was suspended
    does not count.

    Args:
        progress: A value that changes with each step, or each batch of an evaluation; None while nothing is watched.
        limit: Seconds that the current step or batch may take.
        expired: Called once, in the thread, with the watchdog.
    """

    def __init__(
        self, progress: Callable[[], Hashable], limit: Callable[[], float], expired: Callable[[Watchdog], None]
    ) -> None:
        self._progress, self._limit, self._expired = progress, limit, expired
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
        """Wait for :meth:`stop`; return whether it was called, that is, whether the run has ended by itself."""
        return self._over.wait(PATIENCE)

    def place(self) -> str:
        """Return the current position of the run: the innermost line of Python, and the submission's method."""
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return "an unknown place"
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        while frame is not None:
            if frame.f_code is submission_calls.SubmissionCalls.call.__code__:
                return f"{place}, in {frame.f_locals.get('where')}"
            frame = frame.f_back
        return place

    def _watch(self) -> None:
        seen: Hashable = None
        without_progress, last = 0.0, time.monotonic()
        while not self._over.wait(LOOK_EVERY):
            now, last_look = time.monotonic(), last
            last = now
            progress = self._progress()
            if progress is None or progress != seen:
                seen, without_progress = progress, 0.0
                continue
            without_progress += min(now - last_look, 2 * LOOK_EVERY)
            if without_progress > self._limit():
                self._expired(self)
                return


def end_by(
    error: StepTimeoutError,
    watchdog: Watchdog,
    trainer: L.Trainer,
    raise_in_main_thread: Callable[[OutsideEnd], bool],
    note: Callable[[BaseException], None],
) -> None:
    """End a run from the watchdog's thread: by an exception in the main thread or, failing that, by ending the process.

    Args:
        error: The reason.
        watchdog: The watchdog that expired.
        trainer: The Trainer of the run.
        raise_in_main_thread: Raises an exception in the main thread; returns whether that is possible.
        note: Stores the error in the trial's result, from any thread; callbacks that follow the clock write it.
    """
    print(f"algoperf: {error}", file=sys.stderr, flush=True)  # noqa: T201
    # After an exception in the main thread the process can continue, for example in a notebook. This does not work if
    # the step never returns to Python.
    if raise_in_main_thread(error) and watchdog.was_stopped():
        return
    try:
        note(error)
        for callback in trainer.callbacks:
            if getattr(callback, "follows_clock", False):
                callback.on_exception(trainer, trainer.lightning_module, error)
    finally:
        os._exit(error.code)


def time_allowed() -> str:
    """Return a description of the time limit of a step, or of a call before the first step."""
    return f"within the remaining budget plus {GRACE:g} seconds"
