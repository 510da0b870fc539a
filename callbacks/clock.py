"""The clock of a trial, and the plan of when to read it."""

from __future__ import annotations

import time
from collections.abc import Callable

CHECK_EVERY = 1.0
"""Maximum submission seconds between two readings of the clock (several ranks: at the last measured speed)."""


class SubmissionClock:
    """A stopwatch of submission seconds that can be paused and resumed.

    Args:
        source: A clock that never runs backwards, in seconds.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._banked = 0.0
        self._running_since: float | None = None

    @property
    def running(self) -> bool:
        """Whether the clock is running."""
        return self._running_since is not None

    @property
    def seconds(self) -> float:
        """Submission seconds so far."""
        if self._running_since is None:
            return self._banked
        return self._banked + self._source() - self._running_since

    def resume(self) -> None:
        """Start the clock."""
        if self._running_since is None:
            self._running_since = self._source()

    def pause(self) -> None:
        """Stop the clock."""
        self._banked = self.seconds
        self._running_since = None

    def set(self, seconds: float) -> None:
        """Stop at a given time: every rank stops at that of the first rank."""
        self._banked = seconds
        self._running_since = None


STEPS_BETWEEN_READINGS = 10
"""Maximum steps between two readings of the clock if steps are counted, so that a signal is noticed in time."""


class CheckPlan:
    """Decides when to read the clock next: as rarely as possible without missing an event that is due.

    A reading waits for the device and synchronises with the other ranks. It is therefore not done at every step, but at
    the next evaluation, at the end of the budget, or after :data:`CHECK_EVERY`, whichever comes first. A single process
    compares its own time after every step, which is cheap: :attr:`next_seconds`. Several processes must read after the
    same step, so they extrapolate from the speed of the steps since the last reading: :attr:`next_step`.
    """

    def __init__(self) -> None:
        self.next_step = 1
        self.next_seconds = 0.0
        self._begin = 0
        self._last = (0, 0.0)
        self._per_step = 0.0

    def start(self, step: int, seconds: float) -> None:
        """Start or resume; the speed is unknown, so the clock is read at the next step."""
        self.next_step = step + 1
        self.next_seconds = seconds
        self._begin = step
        self._last = (step, seconds)

    def is_due(self, step: int, seconds: float | None) -> bool:
        """Return whether to read the clock after this step: by time, or by step if time is None (several ranks)."""
        return step >= self.next_step if seconds is None else seconds >= self.next_seconds

    def skip(self, step: int, seconds: float) -> None:
        """Exclude the time around an evaluation from the measured speed."""
        self._last = (step, seconds)

    def measure(self, step: int, seconds: float) -> None:
        """Measure the speed of the steps since the last reading."""
        last_step, last_seconds = self._last
        if step > last_step:
            self._per_step = (seconds - last_seconds) / (step - last_step)
        self._last = (step, seconds)

    def look_ahead(self, until_due: float) -> None:
        """Plan the next reading, ``until_due`` seconds before something is due."""
        step, seconds = self._last
        # At most as many steps ahead as were made: the first steps of a run say little about the speed of later ones.
        made = max(1, step - self._begin)
        ahead = max(0.0, min(until_due, CHECK_EVERY))
        fitting = int(ahead / self._per_step) if self._per_step > 0 else made
        self.next_step = step + max(1, min(fitting, made))
        self.next_seconds = seconds + ahead


class StepPlan(CheckPlan):
    """Decides when to read the clock next if steps are counted: by steps only, so that all machines do the same."""

    def is_due(self, step: int, seconds: float | None) -> bool:
        """Return whether to read the clock after this step."""
        return step >= self.next_step

    def look_ahead(self, until_due: float) -> None:
        """Plan the next reading, ``until_due`` steps before something is due."""
        step, seconds = self._last
        self.next_step = step + max(1, min(int(until_due), STEPS_BETWEEN_READINGS))
        self.next_seconds = seconds
