"""Charts of what instruments measured in trials: curves, and bands for histograms and for numbers by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf_lightning.instruments.panels import GROUPS, HISTOGRAM_RANGE, LayerMap, Panel, maps_of
from algoperf_lightning.records.instrument_rows import Row, series
from algoperf_lightning.report.parts import Axis, Chart, Group, Rule, Series

_STEP = Axis("step")
_QUANTILES = (0.05, 0.5, 0.95)
_SPAN = 1e12
"""Maximum ratio of the ends of a logarithmic axis."""


@dataclass(frozen=True)
class Rows:
    """The rows of one trial."""

    submission: str
    name: str
    """Name of its lines on hover."""
    rows: Sequence[Row]


def charts(workload: str, trials: Sequence[Rows]) -> Group:
    """Return a chart for each quantity that was measured in some trials on one workload.

    Args:
        workload: Name of the workload.
        trials: Trials of any submissions.

    Returns:
        The charts of the main panels; the other charts are collapsed, by group.
    """
    main: list[Chart] = []
    folded: dict[str, list[Chart]] = {}
    for heading, panels in GROUPS.items():
        for panel in panels:
            lines = [line for each in trials for line in _LINES[panel.kind](panel, each)]
            if lines:
                (main if panel.main else folded.setdefault(heading, [])).append(_chart(panel, lines))
    for layers in maps_of([each.rows for each in trials]):
        lines = [line for each in trials if (line := _of_layers(layers, each))]
        if lines:
            folded.setdefault(f"By {layers.of}", []).append(_band(layers, lines))
    return Group(workload, main, folded)


def _band(layers: LayerMap, lines: Sequence[Series]) -> Chart:
    log = layers.scale == "log"
    # A layer that is nearly 0 at one step would compress the lines of the others.
    lowest = min(value for line in lines for value in (line.y if line.low is None else line.low))
    highest = max(value for line in lines for value in (line.y if line.high is None else line.high))
    floor = highest / _SPAN if log and lowest < highest / _SPAN else None
    plural = "classes" if layers.of == "class" else f"{layers.of}s"
    text = f"Median of the {plural}; the band is from the smallest to the largest."
    return Chart(layers.title, _STEP, Axis("", floor, log=log), lines, text=text)


def _chart(panel: Panel, lines: Sequence[Series]) -> Chart:
    if panel.kind == "counts":
        text = "Median; the band contains 90 % of the elements. In root mean squares of each step."
        return Chart(panel.title, _STEP, Axis("in rms of the step"), lines, text=text)
    if panel.kind == "pairs":
        text = "Root mean square of the gradients of the weights of each size."
        return Chart(panel.title, Axis("weight"), Axis("gradient", low=0.0), lines, text=text)
    axis = Axis("", panel.low, panel.high, log=panel.log)
    rules = [Rule(f"{mark:g}", y=mark) for mark in panel.marks]
    first, *others = (name.replace("_", " ") for name in panel.names)
    return Chart(panel.title, _STEP, axis, lines, rules, f"Bold: {first}; thin: {', '.join(others)}." if others else "")


def _curves(panel: Panel, trial: Rows) -> Iterator[Series]:
    for name in panel.names:
        steps, values = series(trial.rows, name)
        known = [v if math.isfinite(v) and (v > 0 or not panel.log) else math.nan for v in values]
        if not all(map(math.isnan, known)):
            said = f"{trial.name}, {name.replace('_', ' ')}"
            yield Series(steps, known, trial.submission, strong=name == panel.names[0], name=said)


def _counts(panel: Panel, trial: Rows) -> Iterator[Series]:
    (name,) = panel.names
    known = [row for row in trial.rows if sum(row.get(name) or ()) > 0]
    if known:
        found = [[_quantile(row[name], share) for row in known] for share in _QUANTILES]
        yield Series([row["step"] for row in known], found[1], trial.submission, found[0], found[2], name=trial.name)


def _quantile(counts: Sequence[int], share: float) -> float:
    """Return a quantile of a histogram from -4 to 4, between the edges of its bins."""
    below = np.concatenate([[0.0], np.cumsum(counts)])
    return float(np.interp(share * below[-1], below, np.linspace(-HISTOGRAM_RANGE, HISTOGRAM_RANGE, len(below))))


def _pairs(panel: Panel, trial: Rows) -> Iterator[Series]:
    (name,) = panel.names
    known = [row for row in trial.rows if np.sum(row.get(name) or ()) > 0]
    if known:
        table = np.array(known[-1][name], dtype=float)
        gradient, weight = (
            _centres(known[-1], f"{name}_gradient_limit", len(table)),
            _centres(known[-1], f"{name}_parameter_limit", table.shape[1]),
        )
        with np.errstate(invalid="ignore"):
            sizes = np.sqrt(gradient**2 @ table / table.sum(axis=0))
        yield Series(weight, sizes, trial.submission, name=f"{trial.name}, step {known[-1]['step']}")


def _centres(row: Row, limit: str, bins: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    edges = np.linspace(-row[limit], row[limit], bins + 1)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = (edges[1:] + edges[:-1]) / 2
    return found


def _of_layers(layers: LayerMap, trial: Rows) -> Series | None:
    found: dict[int, list[float]] = {}
    for row in trial.rows:
        values = [v for v in (row.get(layers.name) or {}).values() if math.isfinite(v)]
        known = [v for v in values if v > 0 or layers.scale != "log"]
        if known:
            found[row["step"]] = [min(known), float(np.median(known)), max(known)]
    if not found:
        return None
    low, middle, high = map(list, zip(*found.values(), strict=True))
    return Series(list(found), middle, trial.submission, low, high, name=trial.name)


_LINES: Mapping[str, Callable[[Panel, Rows], Iterator[Series]]] = {
    "curves": _curves,
    "counts": _counts,
    "pairs": _pairs,
}
"""Functions that make the series of a panel, by its kind."""
