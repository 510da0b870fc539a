"""By which rules a trial is timed: the workload's, and what a user sets in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import lightning as L

from algoperf_lightning.environment import describe_environment
from algoperf_lightning.registry import name_of
from algoperf_lightning.result import TrialResult
from algoperf_lightning.spec import BENCHMARK_VERSIONS, Ruleset, check_positive, nearest_or_raise
from algoperf_lightning.workload import CheckpointMismatchError, Workload

_COMPARED = ("ruleset", "budget", "eval_period", "validation_target", "test_target", "stop_at")


@dataclass(frozen=True)
class Rules:
    """Rules of a trial; None leaves the workload's own.

    Raises:
        BadInputError: If a number is not positive, or a word is unknown.
    """

    ruleset: Ruleset
    budget: float | None
    """Seconds."""
    eval_period: float | None
    """Seconds."""
    target: float | None
    stop_at: Literal["validation", "both"]

    def __post_init__(self) -> None:
        nearest_or_raise("ruleset", self.ruleset, {"external": None, "self-tuning": None})
        nearest_or_raise("stop_at", self.stop_at, {"validation": None, "both": None})
        for name in ("budget", "eval_period", "target"):
            if getattr(self, name) is not None:
                check_positive(f"TimeBudget: {name}", getattr(self, name))

    def begin(self, trainer: L.Trainer, workload: Workload) -> TrialResult:
        """Return the empty result of a trial under these rules."""
        spec = workload.spec
        factor = BENCHMARK_VERSIONS[spec.version].budget_factor(self.ruleset)
        return TrialResult(
            workload=spec.full_name,
            version=spec.version,
            ruleset=self.ruleset,
            submission=name_of(type(workload.submission)),
            hyperparameters=workload.identity()["hyperparameters"],
            seed=workload.seed,
            batch_size=workload.batch_size,
            budget=self.budget or spec.budget * factor,
            eval_period=self.eval_period or spec.eval_period,
            metric=spec.metric,
            direction=spec.direction,
            validation_target=self.target or spec.validation_target,
            test_target=spec.test_target,
            stop_at=self.stop_at,
            tiny_data=workload.data.is_tiny,
            environment=describe_environment(trainer, workload),
        )


def rules_of(result: TrialResult) -> dict[str, Any]:
    """Return the rules a trial is timed by, as a checkpoint holds them."""
    return {name: getattr(result, name) for name in _COMPARED}


def check_rules(result: TrialResult, saved: Mapping[str, Any]) -> None:
    """Raise unless a trial that is resumed was begun by the same rules.

    Raises:
        CheckpointMismatchError: Naming every rule that differs.
    """
    ours = rules_of(result)
    if differing := [name for name in _COMPARED if ours[name] != saved[name]]:
        lines = "; ".join(f"{name} was {saved[name]!r} and is now {ours[name]!r}" for name in differing)
        raise CheckpointMismatchError(f"The run was timed by other rules: {lines}. Resume it by the same rules.")
