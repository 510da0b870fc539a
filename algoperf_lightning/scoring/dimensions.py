"""One hyperparameter in the trials of a tuning run: the tried values, their results and the basin of good ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring import basins
from algoperf_lightning.scoring.basins import Basin, Scale
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.tuning.plan import SWEEP, Study

Array = NDArray[np.float64]

FEWEST = 3
"""Minimum number of different values for a width."""


@dataclass(frozen=True)
class TriedPoint:
    """Tried points, with the median results of their trials."""

    hyperparameters: dict[str, Any]
    result: float
    best: float
    resolution: float
    trials: int


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter of a submission on a workload: all tried points, and their results."""

    name: str
    scale: Scale
    planned: bool
    """Whether scale and range are those of the plan's search space; otherwise they follow from the tried values."""
    low: float
    """Lower end of its range."""
    high: float
    alone: bool
    """Whether nothing else varied."""
    values: Array
    """Value of each point, ascending, shape ``(P,)``; all different if nothing else varied."""
    results: Array
    """Median result of each point, shape ``(P,)``; ``inf`` missed."""
    best_values: Array
    """Best validation value of each point, its median, shape ``(P,)``; NaN for none."""
    trials: NDArray[np.intp]
    """Number of trials of each point, shape ``(P,)``."""
    basin: Basin | None
    """None if no trial reached the target, or there are too few values."""
    edge: str
    """``lower`` or ``upper`` if the best point is at that end of the range; otherwise empty."""

    @property
    def width(self) -> tuple[float, float]:
        """Least and greatest width of the basin: octaves, or the difference of values; NaN if there is none."""
        return (np.nan, np.nan) if self.basin is None else self.basin.width(self.scale)

    @property
    def unit(self) -> str:
        """Unit of the width."""
        return "octaves" if self.scale == "log" else f"units of {self.name}"


def dimension_of(name: str, points: Sequence[TriedPoint], alone: bool, plan: Study | None, within: float) -> Dimension:
    """Return the sensitivity to one hyperparameter of the points; ``alone`` if nothing else varied."""
    ordered = sorted(points, key=lambda point: float(point.hyperparameters[name]))
    values = np.array([float(point.hyperparameters[name]) for point in ordered])
    results = np.array([point.result for point in ordered])
    planned = _range(name, plan)
    scale, low, high = planned or (basins.guess_scale(values), float(values.min()), float(values.max()))
    enough = np.unique(values).size >= FEWEST
    shape = (basins.basin if alone else basins.span)(values, results, within) if enough else None
    edge = "" if shape is None else _edge(shape, values, scale, planned if _drawn_at_random(plan) else None, alone)
    return Dimension(
        name=name,
        scale=scale,
        planned=planned is not None,
        low=low,
        high=high,
        alone=alone,
        values=values,
        results=results,
        best_values=np.array([point.best for point in ordered]),
        trials=np.array([point.trials for point in ordered]),
        basin=shape,
        edge=edge,
    )


def _drawn_at_random(plan: Study | None) -> bool:
    return plan is not None and plan.method != SWEEP


def _edge(shape: Basin, values: Array, scale: Scale, drawn: tuple[Scale, float, float] | None, alone: bool) -> str:
    """Return the end of its range at which the best value is; empty if it is at none.

    Random points are never exactly at the end of their range; without a search space, the range is that of the tried
    values. If several hyperparameters varied, the best point only counts as being at the edge for hyperparameters whose
    good values extend over less than half of the range.
    """
    low, high = (float(values.min()), float(values.max())) if drawn is None else drawn[1:]
    spread = basins.distance(shape.low, shape.high, scale) > 0.5 * basins.distance(low, high, scale)
    if spread and not alone:
        return ""
    return basins.edge_of(shape.best, low, high, scale, 0.0 if drawn is None else basins.EDGE)


def _range(name: str, plan: Study | None) -> tuple[Scale, float, float] | None:
    """Return scale and ends of a range in the plan's search space; None if it does not contain the name."""
    space = plan.search_space if plan is not None else None
    entry = space.get(name) if isinstance(space, Mapping) else None
    if not isinstance(entry, Mapping) or "scaling" not in entry:
        return None
    return ("log" if entry["scaling"] == "log" else "linear"), float(entry["min"]), float(entry["max"])


def at_edge(dimension: Dimension, points: int) -> str:
    """Return the note that the best of a number of points is at the edge of a dimension."""
    side = {"lower": "below", "upper": "above"}[dimension.edge]
    where = "range" if dimension.planned else "values tried"
    best = "" if dimension.basin is None else f", {dimension.basin.best:g},"
    return (
        f"{dimension.name}: the best of {counted(points, 'point')}{best} is at the {dimension.edge} edge of the "
        f"{where}; better ones may be {side} it. Widen the search space there."
    )
