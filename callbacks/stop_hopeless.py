"""StopHopeless: end a trial that can no longer be the fastest of its study."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from algoperf_lightning.result import RecordError, TrialResult

from .time_budget import TimeBudget
from .trainer_options import TrainerOptionError


class StopHopeless(L.Callback):
    """End a trial when another trial of its study has already reached the target faster.

    A study is scored by its fastest trial. A trial is therefore ended when another one has reached the target in less
    time (or fewer steps, if the budget counts steps) than this one has used, and with no more evaluations than this one
    has had (AlgoPerf's own scoring code chooses a study's trial by the number of the evaluation). The result of the
    study does not change, but the times of its slower trials remain unknown. A trial that has reached the target
    continues, to the test target. The callback checks after each evaluation, off the clock, and ignores trials that it
    cannot read.

    Args:
        study: The study's folder; every folder in it with a record is a trial.
    """

    follows_clock = True

    def __init__(self, study: str | Path) -> None:
        self._study = Path(study)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the other trials.

        Raises:
            TrainerOptionError: If the Trainer has no clock among its callbacks.
        """
        if trainer.should_stop or trainer.state.fn != "fit":
            return
        budget = _clock(trainer)
        with budget.untimed():
            message = self._look(budget.result) if trainer.is_global_zero else ""
            message = trainer.strategy.broadcast(message)
        if message:
            budget.end(trainer, message)

    def _look(self, mine: TrialResult) -> str:
        try:
            return self._faster_trial(mine)
        except Exception as error:
            # The other ranks wait for the answer, and an unreadable study must not end this trial.
            rank_zero_warn(f"StopHopeless cannot read the trials of {self._study}, so this one continues: {error!r}.")
            return ""

    def _faster_trial(self, mine: TrialResult) -> str:
        """Return a description of the trial that makes this one hopeless; empty if there is none."""
        if mine.evaluation_at_target("validation") is not None:
            return ""
        for folder in sorted(self._study.iterdir()):
            if mine.folder is not None and folder.name == mine.folder.name:
                continue
            try:
                other = TrialResult.read(folder)
            except (RecordError, OSError):  # it may be readable the next time
                continue
            hit = other.evaluation_at_target("validation")
            if hit is None or mine.used_before(hit) >= mine.used:
                continue
            if other.evaluations.index(hit) < len(mine.evaluations):
                needed = f"{hit.submission_seconds:.2f} s" if mine.unit == "seconds" else f"{hit.step:,} steps"
                return (
                    f"Stopped as hopeless: {folder.name} of the study reached the target after {needed}, "
                    f"at evaluation {other.evaluations.index(hit) + 1}."
                )
        return ""


def _clock(trainer: L.Trainer) -> TimeBudget:
    for callback in trainer.callbacks:
        if isinstance(callback, TimeBudget):
            return callback
    raise TrainerOptionError("StopHopeless needs TimeBudget. Add TimeBudget() to the callbacks.")
