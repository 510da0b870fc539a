"""Drawing of single panels: curves, one- and two-dimensional histograms, maps by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from algoperf_lightning.instruments.panels import HISTOGRAM_RANGE, LayerMap, Panel
from algoperf_lightning.records.instrument_rows import Row, series
from algoperf_lightning.report.looks import Page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

Runs = Mapping[str, Sequence[Row]]
"""Rows of each run by its name."""

_LINES: tuple[Any, ...] = ("-", "--", ":")
_SHOWN_LAYERS, _NAMED_LAYERS = 40, 20
_NARROW = 3
"""Up to this ratio of the largest to the smallest number, a linear axis is easier to read than a logarithmic one."""
_SMALL = 1e-3
"""Share of the largest number below which a scale for both signs is linear."""


@dataclass(frozen=True)
class Pens:
    """Colours of a drawing."""

    page: Page
    colours: Mapping[str, str]
    """Colour of each run by its name."""


def has(panel: Panel, runs: Runs) -> bool:
    """Return whether a panel has anything to draw."""
    if panel.kind == "curves":
        return any(_known(panel, rows, name)[0] for rows in runs.values() for name in panel.names)
    return any(_counted(rows, panel) for rows in runs.values())


def curves(figure: Figure, place: SubplotSpec, panel: Panel, runs: Runs, pens: Pens) -> None:
    """Draw numbers against steps: a colour for each run, a dash for each number, a band for its standard error."""
    axes = figure.add_subplot(place)
    base(axes, panel.title)
    drawn = set()
    for run, rows in runs.items():
        for name, line in zip(panel.names, _LINES, strict=False):
            steps, values = _known(panel, rows, name)
            if not steps:
                continue
            drawn.add(name)
            colour = pens.colours[run]
            axes.plot(steps, values, line, color=colour, linewidth=1.5, marker="o", markersize=3)
            errors = dict(zip(*series(rows, f"{name}_error"), strict=True))
            if errors:
                low = [value - errors.get(step, 0.0) for step, value in zip(steps, values, strict=True)]
                high = [2 * value - below for value, below in zip(values, low, strict=True)]
                axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    _scale(axes, panel, pens)
    _steps(axes, runs)
    if drawn != {panel.names[0]}:
        _name_lines(axes, [name for name in panel.names if name in drawn], panel.names, pens)
    if panel.counted is not None:
        _say_shares(axes, panel, runs, pens)


def counts(figure: Figure, place: SubplotSpec, panel: Panel, runs: Runs, pens: Pens) -> None:
    """Draw the histograms of all steps as a map of steps and root mean squares, with runs side by side."""
    (name,) = panel.names
    for column, (axes, run, known) in enumerate(_side_by_side(figure, place, panel, runs, pens)):
        table = np.array([row[name] for row in known], dtype=float).T
        shares = table / np.maximum(table.sum(axis=0), 1.0)
        steps = np.array([row["step"] for row in known], dtype=float)
        between = (steps[1:] + steps[:-1]) / 2
        edges = np.concatenate([[steps[0] - 0.5], between, [steps[-1] + max(0.5, steps[-1] - between[-1:].sum())]])
        bins = np.linspace(-HISTOGRAM_RANGE, HISTOGRAM_RANGE, len(table) + 1)
        axes.pcolormesh(edges, bins, _seen(shares), cmap="viridis", norm=_log(shares), rasterized=True)
        axes.axhline(0, color=pens.page.muted, linewidth=0.6)
        _steps(axes, {run: runs[run]}, most=6 if len(runs) == 1 else 3)
        axes.set_ylabel("" if column else "in rms of the step", fontsize=8, labelpad=1)


def pairs(figure: Figure, place: SubplotSpec, panel: Panel, runs: Runs, pens: Pens) -> None:
    """Draw the last two-dimensional histogram, with gradients on the vertical axis, and runs side by side."""
    (name,) = panel.names
    for column, (axes, _, known) in enumerate(_side_by_side(figure, place, panel, runs, pens)):
        last = known[-1]
        table = np.array(last[name], dtype=float)
        gradient, parameter = last[f"{name}_gradient_limit"], last[f"{name}_parameter_limit"]
        sides = np.linspace(-parameter, parameter, table.shape[1] + 1), np.linspace(-gradient, gradient, len(table) + 1)
        axes.pcolormesh(*sides, _seen(table), cmap="viridis", norm=_log(table), rasterized=True)
        axes.axhline(0, color=pens.page.muted, linewidth=0.6)
        axes.axvline(0, color=pens.page.muted, linewidth=0.6)
        axes.set_xlabel("weight", loc="right", fontsize=8, labelpad=0)
        axes.set_ylabel("" if column else "gradient", fontsize=8, labelpad=1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:.2g}")
        axes.locator_params(nbins=5 if len(runs) == 1 else 3)


DRAWINGS: Mapping[str, Callable[[Figure, SubplotSpec, Panel, Runs, Pens], None]] = {
    "curves": curves,
    "counts": counts,
    "pairs": pairs,
}
"""Drawing functions by the kind of a panel."""


def layer_map(axes: Axes, rows: Sequence[Row], each: LayerMap, norm: Normalize, pens: Pens) -> None:
    """Draw a map of one run: a row for each layer, a column for each measured step.

    Args:
        axes: Axes to draw on.
        rows: Rows of the run.
        each: The map.
        norm: Scale of the colours, as returned by :func:`norm_of`.
        pens: Colours of the drawing.
    """
    rows = [row for row in rows if isinstance(row.get(each.name), dict)]
    names = list(dict.fromkeys(layer for row in rows for layer in row[each.name]))
    if len(names) > _SHOWN_LAYERS:
        names = [names[round(k * (len(names) - 1) / (_SHOWN_LAYERS - 1))] for k in range(_SHOWN_LAYERS)]
    values = np.array([[row[each.name].get(layer, math.nan) for row in rows] for layer in names], dtype=float)
    shown = np.where(values > 0, values, np.nan) if each.scale == "log" else values
    axes.set_facecolor(pens.page.grid)
    axes.imshow(shown.reshape(len(names), len(rows)), aspect="auto", norm=norm, cmap="viridis", interpolation="nearest")
    apart = math.ceil(len(names) / _NAMED_LAYERS)
    axes.set_yticks(range(0, len(names), apart), [short(name) for name in names[::apart]], fontsize=8.5)
    every = max(1, math.ceil(len(rows) / 8))
    axes.set_xticks(range(0, len(rows), every), [str(row["step"]) for row in rows[::every]], fontsize=9)
    axes.set_xlabel("step", fontsize=8)


def norm_of(each: LayerMap, runs: Runs) -> Normalize:
    """Return the colour scale of a map, which is the same for all runs."""
    from matplotlib.colors import LogNorm, Normalize, SymLogNorm

    dicts = [row[each.name] for rows in runs.values() for row in rows if isinstance(row.get(each.name), dict)]
    found = np.array([value for values in dicts for value in values.values()], dtype=float)
    found = found[np.isfinite(found)]
    if each.scale == "share":
        return Normalize(0.0, 1.0)
    if each.scale == "log":
        found = found[found > 0]
    if not found.size:
        return Normalize(0.0, 1.0)
    low, high = float(found.min()), float(found.max())
    if each.scale == "signed":
        largest = max(abs(low), abs(high)) or 1.0
        return SymLogNorm(_SMALL * largest, vmin=min(low, -_SMALL * largest), vmax=max(high, _SMALL * largest))
    return (LogNorm if each.scale == "log" else Normalize)(low, high if high > low else low + abs(low or 1.0))


def base(axes: Axes, title: str) -> None:
    """Set the style and the title of axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=10.5, y=1.0)  # automatic positioning takes three times as long
    axes.tick_params(which="both", labelsize=9)


def plain(axis: Axis) -> None:
    """Write numbers of a logarithmic axis in plain notation instead of formulas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    narrow = high < 10 * low  # less than a decade: most labels are at minor ticks
    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}") if narrow else NullFormatter())


def short(name: str, most: int = 26) -> str:
    """Return a name, shortened to its end if it is too long."""
    return name if len(name) <= most else "…" + name[1 - most :]


def _known(panel: Panel, rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    """Return steps and values that can be drawn."""
    steps, values = series(rows, name)
    known = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v) and (v > 0 or not panel.log)]
    return [step for step, _ in known], [value for _, value in known]


def _counted(rows: Sequence[Row], panel: Panel) -> list[Row]:
    """Return the rows with a histogram that is not empty."""
    return [row for row in rows if isinstance(row.get(panel.names[0]), list) and np.sum(row[panel.names[0]]) > 0]


def _scale(axes: Axes, panel: Panel, pens: Pens) -> None:
    for mark in panel.marks:
        axes.axhline(mark, color=pens.page.muted, linewidth=0.8, linestyle=(0, (4, 3)))
    drawn = [float(y) for line in axes.lines for y in np.atleast_1d(line.get_ydata())]
    if panel.log and max(drawn) > _NARROW * min(drawn):
        axes.set_yscale("log")
        plain(axes.yaxis)
    low, high = axes.get_ylim()
    if panel.low is not None and max(drawn) > panel.low > low:
        axes.set_ylim(bottom=panel.low)
    if panel.high is not None and min(drawn) < panel.high < high:
        axes.set_ylim(top=panel.high)


def _steps(axes: Axes, runs: Runs, most: int = 6) -> None:
    """Set the limits of the step axis so that all measured steps are visible."""
    steps = [row["step"] for rows in runs.values() for row in rows]
    margin = max(0.5, 0.04 * (max(steps) - min(steps)))
    axes.set_xlim(min(steps) - margin, max(steps) + margin)
    axes.locator_params(axis="x", integer=True, nbins=most)
    axes.set_xlabel("step", loc="right", fontsize=8, labelpad=0)


def _name_lines(axes: Axes, names: Sequence[str], all_names: Sequence[str], pens: Pens) -> None:
    from matplotlib.lines import Line2D

    lines = dict(zip(all_names, _LINES, strict=False))
    handles = [Line2D([], [], color=pens.page.muted, linestyle=lines[name]) for name in names]
    labels = [name.replace("_", " ") for name in names]
    axes.legend(handles, labels, fontsize=8, framealpha=0.7, edgecolor="none", loc="best", handlelength=1.8)


def _say_shares(axes: Axes, panel: Panel, runs: Runs, pens: Pens) -> None:
    assert panel.counted is not None
    for place, (run, rows) in enumerate(runs.items()):
        _, values = series(rows, panel.names[0])
        if values:
            share = sum(value > panel.counted for value in values) / len(values)
            text = f"{'' if place else f'above {panel.counted:g}: '}{share:.0%} of steps"
            _say_below(axes, text, 0.55 * place, pens.colours[run])


def _say_below(axes: Axes, text: str, place: float, colour: str) -> None:
    """Write a note below the numbers of the horizontal axis, at a fraction of its length."""
    offset: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(text, (place, 0), (0, -17), va="top", fontsize=8, color=colour, **offset)


def _side_by_side(
    figure: Figure, place: SubplotSpec, panel: Panel, runs: Runs, pens: Pens
) -> Iterator[tuple[Axes, str, Sequence[Row]]]:
    """Yield axes for each run that has something to draw, with the relevant rows."""
    known = {run: found for run, rows in runs.items() if (found := _counted(rows, panel))}
    grid = place.subgridspec(1, len(known), wspace=0.55)
    for column, (run, rows) in enumerate(known.items()):
        axes = figure.add_subplot(grid[0, column])
        base(axes, "" if column else panel.title)
        axes.grid(visible=False)
        if len(runs) > 1:
            _say_below(axes, short(run, 14), 0.0, pens.colours[run])
        yield axes, run, rows


def _seen(table: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(table > 0, table, np.nan)


def _log(table: np.ndarray[Any, Any]) -> Normalize:
    from matplotlib.colors import LogNorm

    positive = table[table > 0]
    low, high = float(positive.min()), float(positive.max())
    return LogNorm(low, high if high > low else 2 * low)
