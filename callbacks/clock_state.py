"""The state of the clock in a checkpoint: what is saved, how it is checked, and how it is restored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from algoperf_lightning.records.checks import RecordError, check_at_least, check_fields
from algoperf_lightning.result import Evaluation, TrialResult, check_evaluations

from .run_clock import RunClock

_WHERE = "The clock's state in the checkpoint"
_FIELDS = {
    "step": int,
    "seconds": float,
    "wall_seconds": float,
    "nonfinite_loss_step": int | None,
    "preemptions": int,
    "evaluations": list[dict[str, Any]],
    "environments": list[dict[str, Any]],
    "processor_seconds": float | None,
    "load": float,
    "ended": str,
    "checksum": str,
    "rules": dict[str, Any],
}
_REQUIRED = (
    "step",
    "seconds",
    "wall_seconds",
    "last_evaluation",
    "nonfinite_loss_step",
    "preemptions",
    "evaluations",
    "rules",
)


def clock_state(clock: RunClock, result: TrialResult) -> dict[str, Any]:
    """Return the times of a run and its recorded evaluations, as plain types."""
    return {
        "seconds": clock.now,
        "wall_seconds": clock.wall_seconds,
        "processor_seconds": clock.processor_seconds,
        "load": result.load,
        "nonfinite_loss_step": result.nonfinite_loss_step,
        "preemptions": result.preemptions,
        "evaluations": [evaluation.to_row() for evaluation in result.evaluations],
        "checksum": result.checksum,
        "environments": result.environments,
    }


def restore_clock(clock: RunClock, result: TrialResult, state: Mapping[str, Any]) -> None:
    """Set the clock and the result to the saved state; evaluations are not changed."""
    clock.set(state["seconds"], state["wall_seconds"], state.get("processor_seconds") or 0.0)
    result.steps, result.submission_seconds = state["step"], clock.seconds
    result.wall_seconds = state["wall_seconds"]
    result.processor_seconds, result.load = clock.processor_seconds, state.get("load", 0.0)
    result.nonfinite_loss_step = state["nonfinite_loss_step"]
    result.preemptions = state["preemptions"]


def check_is_timed(checkpoint: Mapping[str, Any], key: str, path: object) -> None:
    """Raise unless a checkpoint contains the state of a clock.

    Raises:
        RecordError: If it does not.
    """
    if not checkpoint["callbacks"].get(key):
        raise RecordError(
            f"{path} has no state of the clock, so its used time is unknown. Start a new trial without it."
        )


def check_clock_state(state: Mapping[str, Any], result: TrialResult) -> None:
    """Raise unless the state of a clock is complete and valid.

    Args:
        state: As returned by :meth:`TimeBudget.state_dict`.
        result: The record of the run that is to be resumed.

    Raises:
        RecordError: Naming what is missing or invalid.
    """
    check_fields(state, _FIELDS, _REQUIRED, _WHERE)
    check_at_least(state, ("step", "seconds", "wall_seconds", "nonfinite_loss_step", "preemptions"), 0, _WHERE)
    last = state["last_evaluation"]
    if not isinstance(last, (int, float)) or math.isnan(last) or last == math.inf:  # -inf before the first one
        raise RecordError(f"{_WHERE}: last_evaluation must be a number, but is {last!r}.")
    try:
        evaluations = [Evaluation.from_row(row) for row in state["evaluations"]]
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise RecordError(f"{_WHERE} has a damaged evaluation: {error!r}.") from error
    check_evaluations(evaluations, result.metric, result.metric_range, _WHERE)
    if evaluations and (evaluations[-1].step > state["step"] or evaluations[-1].submission_seconds > state["seconds"]):
        raise RecordError(f"{_WHERE} is behind its last evaluation, at step {evaluations[-1].step}.")
