"""The recorded data of a trial, and derived values; :mod:`algoperf_lightning.result` reads and writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from algoperf_lightning.records.evaluations import Evaluation
from algoperf_lightning.spec import Direction, StopAt, Unit, is_better, meets_target

DEFAULT_CLOCK = "time.monotonic"

COARSE = 0.25
"""A time to a target is coarse if the interval since the previous evaluation is more than this share of it."""


class Status(StrEnum):
    """The status of a trial."""

    RUNNING = "running"
    """Started but not ended: it runs, or it was killed and can be resumed."""
    REACHED = "reached"
    """The target was reached."""
    BUDGET_SPENT = "budget_spent"
    """The budget was used up before the target was reached."""
    STOPPED = "stopped"
    """The submission, ``max_steps`` or another callback ended it before the target was reached."""
    PREEMPTED = "preempted"
    """SIGTERM or Ctrl-C ended it regularly; it can be resumed."""
    FAILED = "failed"
    """It ended with an error, which is in the message."""

    @property
    def final(self) -> bool:
        """Whether the trial has ended and cannot be resumed."""
        return self in (Status.REACHED, Status.BUDGET_SPENT, Status.STOPPED)


@dataclass(repr=False)
class Trial:
    """The measurements of one run."""

    workload: str
    """Full name, including the variant."""
    version: str
    """Version of the AlgoPerf rules."""
    ruleset: str
    submission: str
    hyperparameters: dict[str, Any]
    seed: int
    batch_size: int
    budget: float
    """In ``unit``."""
    eval_period: float
    """In ``unit``."""
    metric: str
    direction: Direction
    validation_target: float | None
    """None for a run without a target, which continues to the end of its budget."""
    test_target: float | None
    stop_at: StopAt
    """``validation``: the run ended at the validation target; ``both``: it continued to the test target; ``budget``:
    it continued to the end of its budget."""
    stop_diverged: bool = False
    """Whether a NaN or infinite loss ends the run."""
    unit: Unit = "seconds"
    """Unit of the budget, and of the score: submission seconds, steps or epochs."""
    steps_per_epoch: int | None = None
    """Steps in a pass over the training data; None in the records of older versions."""
    scale: float = 1.0
    """Factor on the workload's seconds, for a machine slower than the benchmark's; 1 for the benchmark's own."""
    metric_range: tuple[float | None, float | None] = (None, None)
    """The smallest and the largest possible value of the metric; None if there is no limit."""
    clock: str = DEFAULT_CLOCK
    """Name of the clock; seconds of other clocks than the default are not measurements."""
    tiny_data: bool = False
    """Whether it ran on a tiny data set, so it is not a result of the benchmark."""
    warnings: list[str] = field(default_factory=list)
    """Warnings of the automatic rule checks."""
    notes: list[str] = field(default_factory=list)
    """Notes on how the submission trains, which are not violations of the rules."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Versions, hardware, strategy, precision, source files; for a resumed run, those of its last environment."""
    environments: list[dict[str, Any]] = field(default_factory=list)
    """All environments of the run, in order, with ``from_step``, the steps made before; one unless it changed after a
    resume."""
    status: Status = Status.RUNNING
    message: str = ""
    """Explanation of the status, if necessary."""
    steps: int = 0
    submission_seconds: float = 0.0
    wall_seconds: float = 0.0
    processor_seconds: float | None = None
    """Processor time of the first rank's process in submission time; None if the clock was not real time."""
    load: float = 0.0
    """Highest one-minute load average of the machine at an evaluation; 0 if the system does not have it."""
    preemptions: int = 0
    """How often the run was resumed."""
    nonfinite_loss_step: int | None = None
    """The first step, of any rank, whose loss was NaN or infinite."""
    checksum: str = ""
    """Number of evaluations and the last link of the chain over them: :mod:`algoperf_lightning.records.checksum`."""
    evaluations: list[Evaluation] = field(default_factory=list)
    changed: str = ""
    """Difference between the record and the clock's checksum; empty for older records without a checksum.

    A trial with such a difference always counts as a missed target.
    """
    folder: Path | None = None
    """Folder of the record, if one was written."""
    rows_written: int = field(default=0, compare=False, repr=False)
    """Number of evaluations in ``evaluations.csv``; those that could not be written are not counted."""

    @property
    def used(self) -> float:
        """Used part of the budget, in ``unit``."""
        return self.submission_seconds if self.unit == "seconds" else self.steps / self.steps_per_unit

    @property
    def steps_per_unit(self) -> int:
        """Steps per unit of the budget: 1, or those of an epoch; 1 for seconds."""
        return (self.steps_per_epoch or 1) if self.unit == "epochs" else 1

    def used_before(self, evaluation: Evaluation) -> float:
        """Return the used part of the budget before an evaluation, in ``unit``."""
        return evaluation.submission_seconds if self.unit == "seconds" else evaluation.step / self.steps_per_unit

    @property
    def used_to_target(self) -> float:
        """Used part of the budget at the first evaluation that meets the validation target; infinite if none does."""
        hit = self.evaluation_at_target("validation")
        return math.inf if hit is None else self.used_before(hit)

    @property
    def time_to_target(self) -> float:
        """Submission seconds of the first evaluation that meets the validation target; infinite if none does."""
        hit = self.evaluation_at_target("validation")
        return math.inf if hit is None else hit.submission_seconds

    @property
    def resolution(self) -> float:
        """Resolution of ``used_to_target``: distance from the previous evaluation, in ``unit``.

        The target was met between the two evaluations. NaN if it was missed.
        """
        hit = self.evaluation_at_target("validation")
        if hit is None:
            return math.nan
        place = self.evaluations.index(hit)
        return self.used_before(hit) - (self.used_before(self.evaluations[place - 1]) if place else 0.0)

    @property
    def step_to_target(self) -> int | None:
        """Training steps before the first evaluation that meets the validation target; None if none does."""
        hit = self.evaluation_at_target("validation")
        return None if hit is None else hit.step

    @property
    def stops_at_budget(self) -> bool:
        """Whether the run has no target that ends it."""
        return self.stop_at == "budget" or self.validation_target is None

    @property
    def diverged(self) -> bool:
        """Whether a NaN or infinite loss ended the run."""
        return self.stop_diverged and self.status is Status.STOPPED and self.nonfinite_loss_step is not None

    @property
    def final(self) -> Evaluation | None:
        """The last evaluation, which measures the trained model at the end of the budget.

        For a run that diverged it is the first one: the model counts as untrained. None if the run has not ended, or
        if the record was changed.

        Reference: F. Schneider, L. Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, ICLR 2019,
        https://arxiv.org/abs/1903.05499.
        """
        if self.changed or not self.status.final or not self.evaluations:
            return None
        return self.evaluations[0 if self.diverged else -1]

    @property
    def best(self) -> float:
        """The best validation value of the target metric; NaN if there is none, or if the record was changed."""
        best = math.nan
        for evaluation in [] if self.changed else self.evaluations:
            value = evaluation.metrics.get(f"validation/{self.metric}", math.nan)
            best = value if is_better(value, best, self.direction) else best
        return best

    def target(self, split: str) -> float | None:
        """Return the target of ``validation`` or ``test``."""
        return self.validation_target if split == "validation" else self.test_target

    def evaluation_at_target(self, split: str) -> Evaluation | None:
        """Return the first evaluation that meets the target of ``validation`` or ``test``, None if none does.

        In a record that was changed after the clock had written it, none does, because it is not a measurement.
        """
        target = self.target(split)
        if target is None or self.changed:
            return None
        for evaluation in self.evaluations:
            if meets_target(evaluation.metrics.get(f"{split}/{self.metric}", math.nan), target, self.direction):
                return evaluation
        return None

    @property
    def is_reached(self) -> bool:
        """Whether every target that ends the run was reached."""
        ends: dict[StopAt, tuple[str, ...]] = {
            "validation": ("validation",),
            "both": ("validation", "test"),
            "budget": (),
        }
        splits = [split for split in ends[self.stop_at] if self.target(split) is not None]
        return bool(splits) and all(self.evaluation_at_target(split) is not None for split in splits)
