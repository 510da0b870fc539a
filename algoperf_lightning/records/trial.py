"""What is recorded of a trial, and what follows from it; :mod:`algoperf_lightning.result` reads and writes it."""

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
    """How a trial stands."""

    RUNNING = "running"
    """Started and not ended: it runs, or it was killed and can be resumed."""
    REACHED = "reached"
    """The target was reached."""
    BUDGET_SPENT = "budget_spent"
    """The budget was used up before the target was reached."""
    STOPPED = "stopped"
    """The submission, ``max_steps`` or another callback ended it before the target was reached."""
    PREEMPTED = "preempted"
    """SIGTERM or Ctrl-C ended it in order; it can be resumed."""
    FAILED = "failed"
    """An error ended it; the message says which."""

    @property
    def final(self) -> bool:
        """Whether the trial has ended and cannot be resumed."""
        return self in (Status.REACHED, Status.BUDGET_SPENT, Status.STOPPED)


@dataclass(repr=False)
class Trial:
    """What one run measured, as numbers."""

    workload: str
    """Full name, variant included."""
    version: str
    """AlgoPerf version whose rules hold."""
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
    """Whether a loss that is NaN or infinite was to end the run."""
    unit: Unit = "seconds"
    """What the budget counts, and so what is scored: submission seconds, steps or epochs."""
    steps_per_epoch: int | None = None
    """Steps in a pass over the training data; None in the records of older versions."""
    scale: float = 1.0
    """Factor on the workload's seconds, for a machine slower than the benchmark's; 1 for the benchmark's own."""
    metric_range: tuple[float | None, float | None] = (None, None)
    """The smallest and the largest value that the metric can have; None where it has no end."""
    clock: str = DEFAULT_CLOCK
    """Where seconds came from; those of another clock than the default are no measurement."""
    tiny_data: bool = False
    """Whether it ran on a small data set made to try the code: no result of the benchmark."""
    warnings: list[str] = field(default_factory=list)
    """What a machine could see of the rules being broken."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing of how the submission trains, and breaks no rule."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Versions, hardware, strategy, precision, source files; of a run that was resumed elsewhere, where it ran last."""
    environments: list[dict[str, Any]] = field(default_factory=list)
    """Every environment it ran in, in order, with ``from_step``, the steps made before; one unless a resume changed
    it."""
    status: Status = Status.RUNNING
    message: str = ""
    """What happened, in words, if it needs words."""
    steps: int = 0
    submission_seconds: float = 0.0
    wall_seconds: float = 0.0
    processor_seconds: float | None = None
    """Processor time that the first rank's process used in submission time; None if the clock was not real time."""
    load: float = 0.0
    """Highest one-minute load average of the machine at an evaluation; 0 where the system has none."""
    preemptions: int = 0
    """How often the run was resumed."""
    nonfinite_loss_step: int | None = None
    """The first step, of any rank, whose loss was NaN or infinite."""
    checksum: str = ""
    """Number of evaluations and the last link of the chain over them: :mod:`algoperf_lightning.records.checksum`."""
    evaluations: list[Evaluation] = field(default_factory=list)
    changed: str = ""
    """In what a record that was read is not as the clock recorded it; empty where older records cannot say.

    Such a trial counts as one that missed its target, everywhere.
    """
    folder: Path | None = None
    """Where the record lies, if one was written."""
    rows_written: int = field(default=0, compare=False, repr=False)
    """How many evaluations ``evaluations.csv`` holds; one that could not be written is not counted."""

    @property
    def used(self) -> float:
        """What was used of the budget, in ``unit``."""
        return self.submission_seconds if self.unit == "seconds" else self.steps / self.steps_per_unit

    @property
    def steps_per_unit(self) -> int:
        """Steps that one unit of the budget is: 1, or those of an epoch. Seconds have no such number, and give 1."""
        return (self.steps_per_epoch or 1) if self.unit == "epochs" else 1

    def used_before(self, evaluation: Evaluation) -> float:
        """Return what was used of the budget before an evaluation, in ``unit``."""
        return evaluation.submission_seconds if self.unit == "seconds" else evaluation.step / self.steps_per_unit

    @property
    def used_to_target(self) -> float:
        """What the first evaluation that meets the validation target had used, in ``unit``; infinite if none does."""
        hit = self.evaluation_at_target("validation")
        return math.inf if hit is None else self.used_before(hit)

    @property
    def time_to_target(self) -> float:
        """Submission seconds of the first evaluation that meets the validation target; infinite if none does."""
        hit = self.evaluation_at_target("validation")
        return math.inf if hit is None else hit.submission_seconds

    @property
    def resolution(self) -> float:
        """How exactly ``used_to_target`` is known: how much earlier the evaluation before was, in ``unit``.

        The target was met between the two. NaN if it was not.
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
        """Whether a loss that was not finite ended the run."""
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

        In a record that was changed after the clock had written it, none does: it is no measurement.
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
