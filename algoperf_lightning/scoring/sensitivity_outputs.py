"""Sensitivities as tables on the terminal, as rows of CSV files, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from algoperf_lightning.scoring.dimensions import Dimension
from algoperf_lightning.scoring.measure import Measure
from algoperf_lightning.scoring.outputs import number
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.scoring.sensitivity import Sensitivity

Rows = Iterable[Sequence[Any]]


def caption(found: Sensitivity) -> str:
    """Return a sentence with the number of points, and the share of them that reached the target.

    The interval is that of a random draw; quasi-random points are spread more evenly, so it tends to be too wide.
    """
    share, low, high = found.share
    interval = f" ({low:.0%} to {high:.0%})" if found.sample else ""
    repeats = f" in {counted(found.trials, 'trial')}" if found.trials > found.points else ""
    return (
        f"{found.reached} of {counted(found.points, 'point')}{repeats} reached the target: {share:.0%}{interval} of "
        f"the {found.drawn_from}."
    )


def width_in_words(dimension: Dimension) -> str:
    """Return a basin's width, as precisely as the trials determine it: ``2 to 4 octaves``, ``at least 1 octave``."""
    least, most = dimension.width
    if math.isnan(least):
        return "unknown"
    unit = "octave" if dimension.scale == "log" and most == 1 else dimension.unit
    if math.isinf(most):
        unit = "octave" if dimension.scale == "log" and least == 1 else dimension.unit
        return f"at least {least:.3g} {unit}" if least else "unknown: one value, at the end of those tried"
    return f"{least:.3g} to {most:.3g} {unit}" if least else f"less than {most:.3g} {unit}"


def sensitivity_table(found: Sensitivity, measure: Measure, within: float) -> list[RenderableType]:
    """Return a table with one row per hyperparameter, its caption, and its notes."""
    table = Table(title=escape(found.label), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("hyperparameter", "values", "best", measure.noun, f"within {within:g} times the best", "width"):
        table.add_column(name, justify="left" if name in ("hyperparameter", "width") else "right", overflow="fold")
    for each in found.dimensions:
        basin = each.basin
        best, used, ends = ("–", "–", "–") if basin is None else (
            f"{basin.best:.4g}", measure.text(basin.result), f"{basin.low:.4g} to {basin.high:.4g}"
        )  # fmt: skip
        tried = f"{len(set(each.values.tolist()))} of {each.values.min():.4g} to {each.values.max():.4g}"
        table.add_row(escape(each.name), f"{tried} ({each.scale})", best, used, ends, escape(width_in_words(each)))
    lines = [caption(found)]
    if len(found.dimensions) > 1:
        lines.append(
            "Several hyperparameters varied together: widths are from the first to the last value with a good trial, "
            "regardless of the values between. For the basin of one, sweep it: `algoperf tune --sweep NAME`."
        )
    return [table, Text(" ".join(lines), style="dim"), *(Text(f"note: {note}", style="yellow") for note in found.notes)]


def dimension_rows(found: Sequence[Sensitivity], measure: Measure) -> Rows:
    """Return ``sensitivity.csv``: one row per hyperparameter."""
    yield (
        *(
            "submission",
            "workload",
            "hyperparameter",
            "scale",
            "range_low",
            "range_high",
            "range_from",
            "only_one_varied",
        ),
        *("points", "trials", "points_reached", "share_reached", "share_low", "share_high", "share_of"),
        *("best", measure.column, "basin_low", "basin_high", "tried_below", "tried_above"),
        *("width_at_least", "width_at_most", "width_unit", "edge"),
    )
    for each in found:
        for axis in each.dimensions:
            basin = axis.basin
            shape = [math.nan] * 6
            if basin is not None:
                shape = [basin.best, basin.result, basin.low, basin.high, basin.below, basin.above]
            yield (
                *(each.submission, each.workload.name, axis.name, axis.scale, number(axis.low), number(axis.high)),
                *("plan" if axis.planned else "values", int(axis.alone), each.points, each.trials, each.reached),
                *(*map(number, each.share), each.drawn_from),
                *map(number, shape),
                *(*map(number, axis.width), axis.unit, axis.edge),
            )


def point_rows(found: Sequence[Sensitivity], measure: Measure) -> Rows:
    """Return ``sensitivity_points.csv``: one row per hyperparameter and point."""
    yield ("submission", "workload", "hyperparameter", "value", measure.column, "best_value", "trials")
    for each in found:
        for axis in each.dimensions:
            columns = (axis.values, axis.results, axis.best_values, axis.trials)
            for value, result, best, trials in zip(*(column.tolist() for column in columns), strict=True):
                yield (each.submission, each.workload.name, axis.name, *map(number, (value, result, best)), trials)


def as_json(found: Sequence[Sensitivity], unsaid: Sequence[str], measure: Measure, within: float) -> dict[str, Any]:
    """Return plain types; unknown, missed and infinite values are None."""
    return {
        "within": within,
        "unit": measure.column,
        "sensitivities": [_one_as_json(each) for each in found],
        "not_known": list(unsaid),
    }


def _one_as_json(found: Sensitivity) -> dict[str, Any]:
    share, low, high = found.share
    return {
        "submission": found.submission,
        "workload": found.workload.name,
        "trials": found.trials,
        "points": found.points,
        "points_reached": found.reached,
        "share_reached": {"share": share, "low": low, "high": high, "of": found.drawn_from},
        "hyperparameters": [_dimension_as_json(each) for each in found.dimensions],
        "notes": list(found.notes),
    }


def _dimension_as_json(axis: Dimension) -> dict[str, Any]:
    basin, (least, most) = axis.basin, axis.width
    shape = {} if basin is None else {
        "best": basin.best, "result": basin.result, "low": basin.low, "high": basin.high,
        "tried_below": _known(basin.below), "tried_above": _known(basin.above),
        "width_at_least": _known(least), "width_at_most": _known(most), "width_unit": axis.unit,
    }  # fmt: skip
    return {
        "name": axis.name,
        "scale": axis.scale,
        "range": {"low": axis.low, "high": axis.high, "from": "plan" if axis.planned else "values"},
        "only_one_varied": axis.alone,
        "basin": shape or None,
        "edge": axis.edge or None,
        "points": [
            {"value": value, "result": _known(result), "best_value": _known(best), "trials": trials}
            for value, result, best, trials in zip(
                *(each.tolist() for each in (axis.values, axis.results, axis.best_values, axis.trials)), strict=True
            )
        ],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
