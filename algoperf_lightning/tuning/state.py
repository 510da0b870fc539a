"""The state of a planned trial, read from its folder."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from algoperf_lightning.records.repair import is_trial
from algoperf_lightning.result import (
    CHECKPOINT_FILE,
    TRIAL_FILE,
    RecordError,
    Status,
    TrialResult,
    read_failures,
    read_heartbeat,
)
from algoperf_lightning.tuning.plan import PlannedTrial
from algoperf_lightning.utilities.locks import is_locked


class State(StrEnum):
    """The state of a planned trial."""

    WAITING = "waiting"
    """Not started."""
    RUNNING = "running"
    """A process is running it."""
    INTERRUPTED = "interrupted"
    """It was started, and its process was killed or asked to stop. It resumes from its checkpoint."""
    FAILED = "failed"
    """It ended with an error."""
    REACHED = "reached"
    """Finished: the target was reached."""
    BUDGET_SPENT = "budget spent"
    """Finished: the budget was spent before the target was reached."""
    STOPPED = "stopped"
    """Finished: the submission or a callback ended it before the target was reached."""

    @property
    def over(self) -> bool:
        """Whether the trial is finished."""
        return self in (State.REACHED, State.BUDGET_SPENT, State.STOPPED)


_FINAL = {
    Status.REACHED: State.REACHED,
    Status.BUDGET_SPENT: State.BUDGET_SPENT,
    Status.STOPPED: State.STOPPED,
}


@dataclass(frozen=True)
class TrialState:
    """A planned trial, and its state."""

    trial: PlannedTrial
    state: State
    result: TrialResult | None = None
    """Its record, if it has one."""
    message: str = ""
    """Description of its problem, if any."""

    @property
    def used(self) -> float:
        """Used part of the budget, in the study's unit; seconds of a running trial are accurate to about a second."""
        if self.result is None:
            return 0.0
        used = self.result.used
        if self.result.unit != "seconds":
            return used
        return used if self.state.over else max(used, min(read_heartbeat(self.trial.folder), self.budget))

    @property
    def budget(self) -> float:
        """Its budget, in the study's unit."""
        return self.trial.study.budget if self.result is None else self.result.budget

    @property
    def left(self) -> float:
        """Maximum remaining part of the budget, in the study's unit."""
        return 0.0 if self.state.over else max(0.0, self.budget - self.used)

    @property
    def best(self) -> float:
        """The best validation value of the target metric so far; NaN if there is none."""
        return math.nan if self.result is None else self.result.best


def look(trial: PlannedTrial) -> TrialState:
    """Return the current state of a trial."""
    running = is_locked(trial.folder)
    message = " | ".join(read_failures(trial.folder))
    try:
        result = TrialResult.read(trial.folder)
    except RecordError as error:
        if running:
            return TrialState(trial, State.RUNNING)
        if os.path.lexists(trial.folder / TRIAL_FILE):
            return TrialState(trial, State.FAILED, message=str(error))
        if not message and os.path.lexists(trial.folder / CHECKPOINT_FILE):
            return TrialState(trial, State.INTERRUPTED)  # its record can be restored from the checkpoint
        if not message and is_trial(trial.folder):
            return TrialState(trial, State.FAILED, message=str(error))
        return TrialState(trial, State.FAILED if message else State.WAITING, message=message)
    if result.status.final:
        return TrialState(trial, _FINAL[result.status], result)
    if running:
        return TrialState(trial, State.RUNNING, result)
    if result.status is Status.FAILED:
        return TrialState(trial, State.FAILED, result, result.message)
    return TrialState(trial, State.INTERRUPTED, result)


class Watch:
    """Repeatedly reads the states of trials while they run; unchanged files are not read again.

    Args:
        trials: The trials.
    """

    def __init__(self, trials: Sequence[PlannedTrial]) -> None:
        self._trials = trials
        self._known: dict[Path, tuple[TrialState, int]] = {}

    def look(self) -> list[TrialState]:
        """Return the current states of the trials."""
        return [self._look(trial) for trial in self._trials]

    def _look(self, trial: PlannedTrial) -> TrialState:
        folder = trial.folder
        known, changed = self._known.get(folder, (None, 0))
        if known is not None and (known.state.over or (known.state is State.WAITING and changed == _changed(folder))):
            return known
        changed = _changed(folder)  # before reading, so that changes in the meantime are detected next time
        state = look(trial)
        self._known[folder] = state, changed
        return state


def _changed(folder: Path) -> int:
    """Return when a file was last created or replaced in a trial's folder, which happens when a trial starts."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def count(states: Iterable[TrialState]) -> dict[State, int]:
    """Return the number of trials in each state, for the states that occur."""
    found = Counter(state.state for state in states)
    return {state: found[state] for state in State if found[state]}
