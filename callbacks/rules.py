"""The timing rules of a trial: the workload's, or those set by the user."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.checkpoints import CheckpointMismatchError
from algoperf_lightning.records.environment import FIXED, describe_environment
from algoperf_lightning.records.source import describe_change
from algoperf_lightning.registry import name_of
from algoperf_lightning.result import DEFAULT_CLOCK, TrialResult
from algoperf_lightning.spec import UNITS, Ruleset, StopAt, Unit, WorkloadSpec
from algoperf_lightning.utilities.inputs import check_positive, nearest_or_raise
from algoperf_lightning.workload import Workload

_COMPARED = (
    "ruleset",
    "unit",
    "scale",
    "budget",
    "eval_period",
    "validation_target",
    "test_target",
    "stop_at",
    "stop_diverged",
    "clock",
)


@dataclass(frozen=True)
class Rules:
    """Rules of a trial; None selects the workload's own.

    Raises:
        BadInputError: If a number is not positive (in steps or epochs: not a positive integer), or a choice is unknown.
    """

    ruleset: Ruleset
    unit: Unit
    scale: float
    budget: float | None
    """In ``unit``."""
    eval_period: float | None
    """In ``unit``."""
    target: float | None
    stop_at: StopAt
    stop_diverged: bool
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        nearest_or_raise("ruleset", self.ruleset, {"external": None, "self-tuning": None})
        nearest_or_raise("unit", self.unit, dict.fromkeys(UNITS))
        nearest_or_raise("stop_at", self.stop_at, dict.fromkeys(get_args(StopAt)))
        for name in ("scale", "budget", "eval_period", "target"):
            if (value := getattr(self, name)) is not None:
                check_positive(f"TimeBudget: {name}", value)
                if self.unit != "seconds" and name in ("budget", "eval_period") and value != int(value):
                    raise BadInputError(f"TimeBudget: {name} must be a whole number of {self.unit}, but got {value!r}.")
        if self.scale != 1.0 and (self.unit != "seconds" or self.budget is not None or self.eval_period is not None):
            raise BadInputError(
                f"TimeBudget: scale is {self.scale!r}, a factor on the workload's own seconds; it cannot be combined "
                "with a unit other than seconds, with budget or with eval_period. Leave one of them out."
            )

    def longest_step(self, result: TrialResult, workload: Workload) -> float:
        """Return the seconds that the next step may take: the rest of the budget.

        If the budget is not in seconds, it is the workload's in seconds. A step that takes longer counts as hung.
        """
        if self.unit == "seconds":
            return max(0.0, result.budget - result.used)
        return workload.spec.allowance(self.ruleset)[0]

    def _budget(self, spec: WorkloadSpec) -> tuple[float, float]:
        """Return budget and evaluation period, in ``unit``."""
        if self.unit == "epochs" and self.budget is not None:  # which the workload need not define
            return self.budget, self.eval_period or 1.0
        budget, eval_period = spec.allowance(self.ruleset, self.unit, self.scale)
        return self.budget or budget, self.eval_period or eval_period

    def begin(self, trainer: L.Trainer, workload: Workload) -> TrialResult:
        """Return the empty result of a trial under these rules."""
        spec = workload.spec
        budget, eval_period = self._budget(spec)
        environment = describe_environment(trainer, workload)
        return TrialResult(
            workload=spec.full_name,
            version=spec.version,
            ruleset=self.ruleset,
            submission=name_of(type(workload.submission)),
            hyperparameters=workload.identity()["hyperparameters"],
            seed=workload.seed,
            batch_size=workload.batch_size,
            budget=budget,
            eval_period=eval_period,
            metric=spec.metric,
            direction=spec.direction,
            metric_range=spec.metric_range,
            validation_target=self.target or spec.validation_target,
            test_target=spec.test_target,
            stop_at=self.stop_at,
            stop_diverged=self.stop_diverged,
            unit=self.unit,
            steps_per_epoch=workload.view.steps_per_epoch,
            scale=self.scale,
            tiny_data=workload.data.is_tiny,
            clock=name_of_clock(self.clock),
            environment=environment,
            environments=[{"from_step": 0, **environment}],
        )


def timed_workload(module: L.LightningModule) -> Workload:
    """Return the workload that ``Trainer.fit`` was given.

    Raises:
        TypeError: If it is not a workload.
    """
    if not isinstance(module, Workload):
        raise TypeError(
            f"TimeBudget times workloads, but Trainer.fit got {type(module).__name__}. "
            "Pass a Workload: trainer.fit(get_workload('digits')(submission))."
        )
    return module


def rules_of(result: TrialResult) -> dict[str, Any]:
    """Return the rules of a trial in the form of a checkpoint."""
    return {name: getattr(result, name) for name in _COMPARED}


def check_rules(result: TrialResult, saved: Mapping[str, Any]) -> None:
    """Raise unless a resumed trial was started with the same rules.

    Raises:
        CheckpointMismatchError: Naming every rule that differs.
    """
    ours = rules_of(result)
    if differing := [name for name in _COMPARED if ours[name] != saved.get(name, ours[name])]:
        lines = "; ".join(f"{name} was {saved[name]!r} and is now {ours[name]!r}" for name in differing)
        raise CheckpointMismatchError(f"The run was timed with other rules: {lines}. Resume it with the same rules.")


def name_of_clock(clock: Callable[[], float]) -> str:
    """Return the name of the clock for the record: ``time.monotonic``, or the import path of another one."""
    if clock is time.monotonic:
        return DEFAULT_CLOCK
    named = clock if hasattr(clock, "__qualname__") else type(clock)
    name = f"{named.__module__}.{named.__qualname__}"
    return f"{name} (another)" if name == DEFAULT_CLOCK else name


def go_on_in(result: TrialResult, environments: Sequence[Mapping[str, Any]], step: int | None) -> None:
    """Keep the previous environments of a resumed run, and add the current one if it differs.

    Args:
        result: The record of the run, in its current environment.
        environments: The previous environments.
        step: Steps made in them; None if the run is complete, and nothing will run here.

    Raises:
        CheckpointMismatchError: If something differs that must not change when a run is resumed.
    """
    if not environments:
        return
    now, before = result.environment, environments[-1]
    result.environments = [dict(each) for each in environments]
    if step is None:
        result.environment = {name: value for name, value in before.items() if name != "from_step"}
        return
    changed = {name: (before[name], value) for name, value in now.items() if before.get(name, value) != value}
    lines = "; ".join(describe_change(name, old, new) for name, (old, new) in changed.items())
    if fixed := [name for name in changed if name in FIXED]:
        raise CheckpointMismatchError(
            f"Conditions differ from those at the start of the run: {lines}. Resume it with the same "
            f"{' and '.join(fixed)}, or start a new trial in another folder."
        )
    if changed:
        rank_zero_warn(f"This run continues in another environment, which its record contains: {lines}.")
        result.environments.append({"from_step": step, **now})
