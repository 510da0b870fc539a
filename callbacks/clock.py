"""The clock of a trial, and the plan of when to read it."""

from __future__ import annotations

import time
from collections.abc import Callable

CHECK_EVERY = 1.0
"""Seconds of submission time between two readings of the clock, at most (several ranks: at the speed last seen)."""


class SubmissionClock:
    """Seconds that count for the submission: runs, is paused, runs again.

    Args:
        source: A clock that never runs backwards, in seconds.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._banked = 0.0
        self._running_since: float | None = None

    @property
    def running(self) -> bool:
        """Whether time counts at present."""
        return self._running_since is not None

    @property
    def seconds(self) -> float:
        """Submission seconds so far."""
        if self._running_since is None:
            return self._banked
        return self._banked + self._source() - self._running_since

    def resume(self) -> None:
        """Let time count."""
        if self._running_since is None:
            self._running_since = self._source()

    def pause(self) -> None:
        """Let time stand still."""
        self._banked = self.seconds
        self._running_since = None

    def set(self, seconds: float) -> None:
        """Stand still at a given time, as every rank does at the first rank's."""
        self._banked = seconds
        self._running_since = None


STEPS_BETWEEN_READINGS = 10
"""Where steps are counted: the most between two readings of the clock, so that a signal is seen in time."""


class CheckPlan:
    """When to read the clock next: as seldom as it may be read without missing what is due.

    Reading it means waiting for the device and agreeing with the other ranks, so it is not done at every step, but at
    the next evaluation, at the end of the budget, or after :data:`CHECK_EVERY`, whichever comes first. A single process
    looks at its own time after every step, which costs nothing: :attr:`next_seconds`. Several must all read after the
    same step, so they look ahead by the speed of the steps since the last reading: :attr:`next_step`.
    """

    def __init__(self) -> None:
        self.next_step = 1
        self.next_seconds = 0.0
        self._begin = 0
        self._last = (0, 0.0)
        self._per_step = 0.0

    def used(self, step: int, seconds: float) -> float:
        """Return what of the budget is used: seconds."""
        return seconds

    def start(self, step: int, seconds: float) -> None:
        """Begin, or go on after a resume: nothing is known of the speed, so read at the next step."""
        self.next_step = step + 1
        self.next_seconds = seconds
        self._begin = step
        self._last = (step, seconds)

    def is_due(self, step: int, seconds: float | None) -> bool:
        """Return whether to read the clock after this step, by the time (one process) or the step (None: several)."""
        return step >= self.next_step if seconds is None else seconds >= self.next_seconds

    def skip(self, step: int, seconds: float) -> None:
        """Leave out the time around an evaluation, which is no step's."""
        self._last = (step, seconds)

    def measure(self, step: int, seconds: float) -> None:
        """Take the speed of the steps since the last reading."""
        last_step, last_seconds = self._last
        if step > last_step:
            self._per_step = (seconds - last_seconds) / (step - last_step)
        self._last = (step, seconds)

    def look_ahead(self, until_due: float) -> None:
        """Plan the next reading, ``until_due`` seconds before something is due."""
        step, seconds = self._last
        # At most as many steps ahead as were made: the first steps of a run tell little of the later ones.
        made = max(1, step - self._begin)
        ahead = max(0.0, min(until_due, CHECK_EVERY))
        fitting = int(ahead / self._per_step) if self._per_step > 0 else made
        self.next_step = step + max(1, min(fitting, made))
        self.next_seconds = seconds + ahead


class StepPlan(CheckPlan):
    """When to read the clock next, where steps are counted: by steps alone, so that a run is the same everywhere."""

    def used(self, step: int, seconds: float) -> float:
        """Return what of the budget is used: steps."""
        return float(step)

    def is_due(self, step: int, seconds: float | None) -> bool:
        """Return whether to read the clock after this step."""
        return step >= self.next_step

    def look_ahead(self, until_due: float) -> None:
        """Plan the next reading, ``until_due`` steps before something is due."""
        step, seconds = self._last
        self.next_step = step + max(1, min(int(until_due), STEPS_BETWEEN_READINGS))
        self.next_seconds = seconds
