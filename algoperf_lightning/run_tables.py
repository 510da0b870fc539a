"""Records of runs as one table, for pandas or Arrow."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import readers
from algoperf_lightning.scoring.runs import Trial

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import pyarrow as pa  # type: ignore[import-untyped]

Library = Literal["pandas", "pyarrow"]

_OF_EVALUATION = ("submission", "workload", "study", "trial", "step", "submission_seconds")
_OF_TRIAL = ("status", "unit", "budget", "validation_target", "seed", "hyperparameters", "source")


def read_runs(*places: str | Path, library: Library | None = None) -> pd.DataFrame | pa.Table:
    """Read all trials under some folders as one table with a row for each evaluation.

    Reads what ``algoperf score`` reads: run folders of this library, archives of them, official logs, and tables of
    evaluations.

    Args:
        *places: Files and folders, which are searched to any depth.
        library: Library of the table. Default: pandas if it is installed, otherwise pyarrow.

    Returns:
        A pandas DataFrame or an Arrow table with the columns ``submission``, ``workload``, ``study``, ``trial``,
        ``step``, ``submission_seconds``; one for each metric, as ``validation/accuracy``; and of the trial
        ``status``, ``unit``, ``budget``, ``validation_target``, ``seed``, ``hyperparameters`` (JSON) and ``source``.
        Unknown values are null. A trial without evaluations has no row.

    Raises:
        BadInputError: If a path does not exist or contains no runs, or the library is not installed.

    Example:
        >>> read_runs("runs/tiny", library="pandas").groupby("submission").step.max()  # doctest: +SKIP
    """
    chosen = library or next((name for name in ("pandas", "pyarrow") if find_spec(name)), "pandas")
    if chosen not in ("pandas", "pyarrow"):
        raise BadInputError(f"library must be 'pandas' or 'pyarrow', but got {chosen!r}.")
    if not find_spec(chosen):
        raise BadInputError(f"read_runs needs {chosen} for its table. Install it: pip install {chosen}")
    columns = _columns(readers.read_runs([str(place) for place in places]).trials)
    if chosen == "pandas":
        import pandas as pd

        return pd.DataFrame(columns)
    import pyarrow as pa

    return pa.table(columns)


def _columns(trials: list[Trial]) -> dict[str, list[Any]]:
    """Return the columns; all of one length, None where a trial has no such value."""
    metrics = sorted({name for trial in trials for name in trial.metrics})
    rows = [row for trial in trials for row in _rows(trial, metrics)]
    names = [*_OF_EVALUATION, *metrics, *_OF_TRIAL]
    return {name: [row[name] for row in rows] for name in names}


def _rows(trial: Trial, metrics: list[str]) -> list[dict[str, Any]]:
    hyperparameters = trial.record.get("hyperparameters")
    known = {
        "submission": trial.submission,
        "workload": trial.workload,
        "study": trial.study,
        "trial": trial.number,
        "status": _text(trial.record.get("status")),
        "unit": trial.unit,
        "budget": trial.record.get("budget"),
        "validation_target": trial.record.get("validation_target"),
        "seed": trial.record.get("seed"),
        "hyperparameters": None if hyperparameters is None else json.dumps(hyperparameters),
        "source": trial.source,
    }
    return [
        {
            **known,
            "step": _number(trial.steps[place]),
            "submission_seconds": float(trial.seconds[place]),
            **{name: float(trial.metrics[name][place]) if name in trial.metrics else None for name in metrics},
        }
        for place in range(len(trial.seconds))
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: float) -> int | None:
    """A step, or None where an official log has none."""
    return None if value != value else int(value)
