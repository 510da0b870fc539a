"""The clock as a checkpoint holds it, looked at before a run takes it back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from algoperf_lightning.record_checks import RecordError, check_at_least, check_fields
from algoperf_lightning.result import Evaluation, TrialResult, check_evaluations

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
    *(
        "step",
        "seconds",
        "wall_seconds",
        "last_evaluation",
        "nonfinite_loss_step",
        "preemptions",
        "evaluations",
        "rules",
    ),
)


def check_clock_state(state: Mapping[str, Any], result: TrialResult) -> None:
    """Raise unless a clock's state can be that of a run.

    Args:
        state: As :meth:`TimeBudget.state_dict` returns it.
        result: Of the run that wants to go on from it.

    Raises:
        RecordError: Naming what is missing or cannot be.
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
