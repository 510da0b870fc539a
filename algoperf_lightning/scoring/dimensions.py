"""One hyperparameter among the trials of a tuning: the values tried, their results and the basin of good ones."""

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
"""Different values that a width can be read from."""


@dataclass(frozen=True)
class TriedPoint:
    """Hyperparameters that were tried, and the medians of what their trials came to."""

    hyperparameters: dict[str, Any]
    result: float
    best: float
    resolution: float
    trials: int


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter of a submission on a workload: every point that was tried, and what it came to."""

    name: str
    scale: Scale
    planned: bool
    """Whether scale and range are those of the plan's search space; else they follow from the values tried."""
    low: float
    """Lower end of its range."""
    high: float
    alone: bool
    """Whether nothing else varied."""
    values: Array
    """Of each point, ascending, shape ``(P,)``; different if nothing else varied."""
    results: Array
    """Median of each point, shape ``(P,)``; ``inf`` missed."""
    best_values: Array
    """Best validation value of each point, its median, shape ``(P,)``; NaN for none."""
    trials: NDArray[np.intp]
    """Of each point, shape ``(P,)``."""
    basin: Basin | None
    """None where nobody reached the target, or there are too few values."""
    edge: str
    """``lower`` or ``upper`` if the best point lies at that end of the range; else empty."""

    @property
    def width(self) -> tuple[float, float]:
        """Least and greatest width of the basin: octaves, or the difference of values; NaN if there is none."""
        return (np.nan, np.nan) if self.basin is None else self.basin.width(self.scale)

    @property
    def unit(self) -> str:
        """What the width is in."""
        return "octaves" if self.scale == "log" else f"units of {self.name}"


def dimension_of(name: str, points: Sequence[TriedPoint], alone: bool, plan: Study | None, within: float) -> Dimension:
    """Return what the points say about one of their hyperparameters; ``alone`` if nothing else varied."""
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
    """Return at which end of its range the best value lies; empty if at none.

    No point of a drawn sample lies exactly at the end of its range; else the range is what was tried. Where several
    hyperparameters varied, the best point lies somewhere along each: it is at the edge only of those whose good values
    are not spread over half of the range.
    """
    low, high = (float(values.min()), float(values.max())) if drawn is None else drawn[1:]
    spread = basins.distance(shape.low, shape.high, scale) > 0.5 * basins.distance(low, high, scale)
    if spread and not alone:
        return ""
    return basins.edge_of(shape.best, low, high, scale, 0.0 if drawn is None else basins.EDGE)


def _range(name: str, plan: Study | None) -> tuple[Scale, float, float] | None:
    """Return scale and ends of a range in the plan's search space; None if it has none of that name."""
    space = plan.search_space if plan is not None else None
    entry = space.get(name) if isinstance(space, Mapping) else None
    if not isinstance(entry, Mapping) or "scaling" not in entry:
        return None
    return ("log" if entry["scaling"] == "log" else "linear"), float(entry["min"]), float(entry["max"])


def at_edge(dimension: Dimension, points: int) -> str:
    """Return the note that the best of so many points lies at the edge of a dimension."""
    side = {"lower": "below", "upper": "above"}[dimension.edge]
    where = "range" if dimension.planned else "values tried"
    best = "" if dimension.basin is None else f", {dimension.basin.best:g},"
    return (
        f"{dimension.name}: the best of {counted(points, 'point')}{best} lies at the {dimension.edge} edge of the "
        f"{where}; better ones may lie {side} it. Widen the search space there."
    )
