"""The life of a timed run as a state machine: plain numbers in, decisions out.

::

    WAITING --start--> TRAINING --read--> BEFORE_EVALUATION --prepared--> EVALUATING
       |                  ^                                                |    ^
       |                  +----------- resumed ---- AFTER_EVALUATION <-- evaluated
       +------------------------- start, if the untrained model is evaluated ---+

Every event on these arrows may end the run instead; its phase is then ``OVER``. This module does not use a Trainer, a
clock, a device or other ranks. Its inputs are the same on all ranks, so all ranks make the same decisions.
:class:`~.timed_run.TimedRun` makes these calls and carries out the returned actions.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Literal

from algoperf_lightning.result import Status


class Phase(StrEnum):
    """The phase of a run."""

    WAITING = "waiting"
    """Before the first step; a checkpoint may be loaded."""
    TRAINING = "training"
    BEFORE_EVALUATION = "before evaluation"
    """The submission's ``before_evaluation`` runs, on the clock."""
    EVALUATING = "evaluating"
    """The clock is stopped."""
    AFTER_EVALUATION = "after evaluation"
    """The evaluation is recorded, and the submission's ``after_evaluation`` runs, on the clock."""
    OVER = "over"


class Next(Enum):
    """The next action of a run that is not over."""

    TRAIN = "train"
    PREPARE = "prepare"
    """Call ``before_evaluation``, stop the clock, and report by :meth:`RunState.prepared`."""
    EVALUATE = "evaluate"
    """Evaluate, and report by :meth:`RunState.evaluated` and then :meth:`RunState.resumed`."""


@dataclass(frozen=True)
class End:
    """The run ends now, with this status and message in its record."""

    status: Status
    message: str = ""
    signum: int = 0
    """The signal that ended it, on any rank; 0 if none did."""


@dataclass(frozen=True)
class Limits:
    """Limits of a run, and its evaluation period."""

    unit: Literal["seconds", "steps"]
    budget: float
    """In ``unit``."""
    eval_period: float
    """Distance between evaluations, in ``unit``."""
    stop_diverged: bool = False
    """Whether a loss that is not finite ends the run."""
    max_steps: int = -1
    """Steps at which the Trainer ends the run; -1 for no limit."""
    untrained: bool = False
    """Whether the run is evaluated before its first step and after every whole period, instead of after step 1."""


@dataclass(frozen=True)
class Reading:
    """Result of a reading of the clock after a step, the same on all ranks."""

    seconds: float
    """Submission seconds."""
    stop_requested: bool = False
    """Whether the submission requested the end of the run, on any rank."""
    signum: int = 0
    """A signal that any rank received, 0 if none."""
    nonfinite_step: int | None = None
    """Step whose loss was not finite, if there was one since the last reading."""


class RunState:
    """The state machine of a run.

    Args:
        limits: The rules of the run.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.phase = Phase.WAITING
        self.step = 0
        """Steps made."""
        self.seconds = 0.0
        """Submission seconds at the last reading of the clock."""
        self._last_evaluation = -math.inf  # so that step 1 is followed by an evaluation
        self._final = False
        self._ended = ""

    # What is used, and what is due

    @property
    def used(self) -> float:
        """The used part of the budget, in the run's unit."""
        return float(self.step) if self.limits.unit == "steps" else self.seconds

    @property
    def spent(self) -> bool:
        """Whether the budget is spent."""
        return self.used >= self.limits.budget

    @property
    def until_evaluation(self) -> float:
        """Seconds or steps until the next evaluation; 0 or less if it is due."""
        return self._last_evaluation + self.limits.eval_period - self.used

    @property
    def until_due(self) -> float:
        """Seconds or steps until the next evaluation or the end of the budget, whichever comes first."""
        return min(self.until_evaluation, self.limits.budget - self.used)

    @property
    def at_max_steps(self) -> bool:
        """Whether ``max_steps`` steps were made."""
        return 0 <= self.limits.max_steps <= self.step

    def is_over(self, reached: bool) -> bool:
        """Return whether the run is complete; ``max_steps`` is ignored, because a resumed run may have a larger one.

        Args:
            reached: Whether the target is reached.
        """
        return bool(self._ended) or reached or self.spent

    # Events, in the order in which they happen

    def start(self, seconds: float, reached: bool) -> Next | End:
        """WAITING: the training loop starts, with time and target of the resumed run, if any."""
        self._expect(Phase.WAITING)
        self.seconds = seconds
        if self.is_over(reached):
            return self.conclude(reached)
        if self.limits.untrained and self._last_evaluation == -math.inf:
            self.phase = Phase.EVALUATING
            return Next.EVALUATE
        self.phase = Phase.TRAINING
        return Next.TRAIN

    def read(self, reading: Reading) -> Next | End:
        """TRAINING: the clock was read after a step.

        A spent budget of seconds ends the run without another evaluation. With a budget of steps, the run is always
        evaluated after the last step.
        """
        self._expect(Phase.TRAINING)
        self.seconds = reading.seconds
        last_step = self.limits.unit == "steps" and self.spent
        self._final = last_step or reading.stop_requested or self.at_max_steps
        if self.spent and not last_step:
            return self._end(Status.BUDGET_SPENT)
        if reading.nonfinite_step is not None and self.limits.stop_diverged:
            return self.end(f"The loss was not finite at step {reading.nonfinite_step:,}.")
        if reading.signum and not last_step:
            return self._end_by_signal(reading.signum)
        if self._final or self.until_evaluation <= 0:
            self.phase = Phase.BEFORE_EVALUATION
            return Next.PREPARE
        return Next.TRAIN

    def ask_for_evaluation(self) -> Next:
        """TRAINING: the run is ended by something other than the clock, and evaluated once more."""
        self._expect(Phase.TRAINING)
        self._final = True
        self.phase = Phase.BEFORE_EVALUATION
        return Next.PREPARE

    def prepared(self, seconds: float, signum: int = 0) -> Next | End:
        """BEFORE_EVALUATION: the clock was stopped after ``before_evaluation``, which may have spent the budget."""
        self._expect(Phase.BEFORE_EVALUATION)
        self.seconds = seconds
        if self.limits.unit == "seconds" and self.spent:
            return self._end(Status.BUDGET_SPENT)
        if signum:
            return self._end_by_signal(signum)
        self.phase = Phase.EVALUATING
        return Next.EVALUATE

    def evaluated(self) -> None:
        """EVALUATING: all splits were evaluated; the next period begins."""
        self._expect(Phase.EVALUATING)
        self._last_evaluation = self.used
        if self.limits.untrained:  # whole periods, also after an evaluation that was requested by something else
            self._last_evaluation -= self.used % self.limits.eval_period
        self.phase = Phase.AFTER_EVALUATION

    def resumed(self, reached: bool, stop_requested: bool) -> Next | End:
        """AFTER_EVALUATION: the clock runs again, and ``after_evaluation`` has returned.

        Args:
            reached: Whether the target is reached, on any rank.
            stop_requested: Whether the submission requested the end of the run.
        """
        self._expect(Phase.AFTER_EVALUATION)
        if reached or self.spent:
            return self.conclude(reached)
        if self._final:
            return self.end(self._why_stopped(stop_requested))
        self.phase = Phase.TRAINING
        return Next.TRAIN

    def go_on(self, seconds: float) -> float:
        """TRAINING: the clock was read again after the evaluation; return :attr:`until_due`."""
        self._expect(Phase.TRAINING)
        self.seconds = seconds
        return self.until_due

    def end(self, message: str) -> End:
        """Any phase: end the run before its target and its budget.

        A resumed trial remains ended, except that a run that ended at ``max_steps`` can be continued with a larger one.
        """
        if not self.at_max_steps:
            self._ended = message
        return self._end(Status.STOPPED, message)

    def conclude(self, reached: bool, stop_requested: bool = False) -> End:
        """Any phase: the Trainer has left its loop; return the first reason that applies.

        Reasons are the target, the budget, or whatever stopped the run.
        """
        if reached:
            return self._end(Status.REACHED)
        if self.spent:
            return self._end(Status.BUDGET_SPENT)
        return self._end(Status.STOPPED, self._ended or self._why_stopped(stop_requested))

    # Checkpoints

    def to_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, without the seconds, as plain types."""
        return {"step": self.step, "last_evaluation": self._last_evaluation, "ended": self._ended}

    def restore(self, saved: Mapping[str, Any], seconds: float) -> None:
        """WAITING: continue from :meth:`to_dict` of another run, at its submission seconds."""
        self._expect(Phase.WAITING)
        self.step, self.seconds = saved["step"], seconds
        self._last_evaluation, self._ended = saved["last_evaluation"], saved.get("ended", "")

    def _why_stopped(self, stop_requested: bool) -> str:
        if stop_requested:
            return "The submission ended the run."
        if self.at_max_steps:
            return f"max_steps={self.limits.max_steps} was reached."
        return "Another callback ended the run."

    def _end_by_signal(self, signum: int) -> End:
        return self._end(Status.PREEMPTED, f"Ended by {signal_name(signum)}; it can be resumed.", signum)

    def _end(self, status: Status, message: str = "", signum: int = 0) -> End:
        self.phase = Phase.OVER
        return End(status, message, signum)

    def _expect(self, phase: Phase) -> None:
        if self.phase is not phase:
            raise RuntimeError(f"An error of the clock: the run is {self.phase.value}, not {phase.value}.")


def signal_name(signum: int) -> str:
    """Return the name of a signal."""
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
