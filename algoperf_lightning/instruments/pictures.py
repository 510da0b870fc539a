"""Pictures of what instruments measured: a panel for a run, or for two runs side by side, and maps by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from algoperf_lightning.instruments.panels import COLUMNS, Curves
from algoperf_lightning.records.instrument_rows import Row, series, unmeasurable
from algoperf_lightning.report.looks import GREY, TITLE_LINE, settings, styles_of, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_INSTRUMENT_OF = {
    "sharpness_to_limit": "stability",
    "hessian_trace": "hessian_trace",
    "gauss_newton_trace": "gauss_newton_trace",
    "tic_trace": "tic",
    "real_to_predicted": "predicted",
    "alpha": "alpha",
}
_LINES: tuple[Any, ...] = ("-", "--", ":")
_LAYERS = ("update_ratios", "gradient_norms", "weight_norms", "activation_rms", "dead_units", "stable_ranks")
_SHOWN_LAYERS = 40
_NARROW = 3
"""Ratio of the largest and the smallest number up to which a linear axis is easier to read than a logarithmic one."""


def panel(
    runs: Mapping[str, Sequence[Row]], evaluations: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None
) -> Figure:
    """Return three columns of curves against steps: step, gradients, curvature; below them the evaluations.

    Args:
        runs: Rows of one run or of several, by a name for the legend.
        evaluations: Steps and values of the target metric, by the same names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    looks = styles_of(list(runs))
    with settings():
        figure = Figure(figsize=(13.5, 12.0))
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(5, 3, hspace=0.52, wspace=0.24, left=0.055, right=0.985, top=0.925, bottom=0.05)
        for column, (heading, pictures) in enumerate(COLUMNS.items()):
            for row, curves in enumerate(pictures):
                axes = figure.add_subplot(grid[row, column])
                _curves(axes, runs, curves, {name: look.drawn for name, look in looks.items()})
                if not row:
                    axes.annotate(heading, (0, 1.22), xycoords="axes fraction", fontsize=13, weight="bold")
        axes = figure.add_subplot(grid[4, :])
        _base(axes, "Target metric at evaluations")
        for name, (steps, values) in (evaluations or {}).items():
            axes.plot(steps, values, color=looks[name].drawn, marker="o", markersize=4, label=name)
        axes.set_xlabel("step", fontsize=9)
        handles = [
            figure.add_subplot(grid[4, :], frameon=False, xticks=[], yticks=[]).plot([], [], color=looks[name].drawn)[0]
            for name in runs
        ]
        figure.legend(
            handles, [_short(name, 60) for name in runs], loc="upper right", ncol=len(runs), frameon=False, fontsize=11
        )
    return figure


def _curves(axes: Axes, runs: Mapping[str, Sequence[Row]], curves: Curves, colours: Mapping[str, str]) -> None:
    _base(axes, curves.title)
    drawn = False
    for run, rows in runs.items():
        for name, line in zip(curves.names, _LINES, strict=False):
            steps, values = series(rows, name)
            known = [
                (s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v) and (v > 0 or not curves.log)
            ]
            if not known:
                continue
            drawn = True
            x, y = zip(*known, strict=True)
            axes.plot(x, y, line, color=colours[run], linewidth=1.5, marker="o", markersize=3)
    if not drawn:
        _say_why(axes, runs, curves.names)
        return
    _scale(axes, curves)
    axes.set_xlim(*_steps(runs))
    axes.locator_params(axis="x", integer=True)
    if len(curves.names) > 1:
        _name_lines(axes, curves.names)


def _steps(runs: Mapping[str, Sequence[Row]]) -> tuple[float, float]:
    """Return limits of an axis of steps that has all measured ones."""
    steps = [row["step"] for rows in runs.values() for row in rows]
    margin = max(0.5, 0.04 * (max(steps) - min(steps)))
    return min(steps) - margin, max(steps) + margin


def _scale(axes: Axes, curves: Curves) -> None:
    import numpy as np

    for mark in curves.marks:
        axes.axhline(mark, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    drawn = [float(y) for line in axes.lines for y in np.atleast_1d(line.get_ydata())]
    if curves.log and max(drawn) > _NARROW * min(drawn):
        axes.set_yscale("log")
        _plain(axes.yaxis)
    low, high = axes.get_ylim()
    if curves.low is not None and curves.high is not None:
        axes.set_ylim(max(low, curves.low), min(high, curves.high))


def _plain(axis: Axis) -> None:
    """Write numbers of a logarithmic axis as they are; formulas are not drawn."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = axis.get_view_interval()
    narrow = high < 10 * low  # less than a decade: the numbers between are all there are
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:.2g}") if narrow else NullFormatter())


def _name_lines(axes: Axes, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=GREY, linestyle=line) for _, line in zip(names, _LINES, strict=False)]
    labels = [name.replace("_", " ") for name in names]
    axes.legend(handles, labels, fontsize=8.5, framealpha=0.85, edgecolor="none", loc="best", handlelength=1.8)


def _say_why(axes: Axes, runs: Mapping[str, Sequence[Row]], names: Sequence[str]) -> None:
    reasons = {reason for rows in runs.values() for name in names
               if (reason := unmeasurable(rows).get(_INSTRUMENT_OF.get(name, name)))}  # fmt: skip
    found = any(name in row for rows in runs.values() for row in rows for name in names)
    text = "\n".join(sorted(reasons)) or ("no finite value above 0" if found else "not measured")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=8, color=GREY, wrap=True)


def layers(rows: Sequence[Row], title: str = "") -> Figure:
    """Return maps of what was measured by layer: a row for each parameter or module, a column for each measured step.

    Args:
        rows: Of one run.
        title: Of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = [name for name in _LAYERS if any(isinstance(row.get(name), dict) and row[name] for row in rows)]
    with settings():
        figure = Figure(figsize=(13.5, 1.0))
        FigureCanvasAgg(figure)
        heading = figure.suptitle(title, x=0.01, ha="left", va="top", fontsize=12)
        above, below = 0.75 + TITLE_LINE * wrap(figure, heading, 13.2), 0.5  # inches
        height = above + below + max(1, math.ceil(len(found) / 2)) * 3.8
        figure.set_size_inches(13.5, height)
        heading.set_y(1 - 0.09 / height)
        sides = {"left": 0.13, "right": 0.98, "top": 1 - above / height, "bottom": below / height}
        figure.subplots_adjust(**sides, wspace=0.42, hspace=0.32)
        for place, name in enumerate(found):
            axes = figure.add_subplot(max(1, math.ceil(len(found) / 2)), 2, place + 1)
            _map(figure, axes, [row for row in rows if isinstance(row.get(name), dict)], name)
    return figure


def _map(figure: Figure, axes: Axes, rows: Sequence[Row], name: str) -> None:
    import numpy as np
    from matplotlib.colors import LogNorm

    names = list(dict.fromkeys(layer for row in rows for layer in row[name]))
    if len(names) > _SHOWN_LAYERS:
        names = [names[round(k * (len(names) - 1) / (_SHOWN_LAYERS - 1))] for k in range(_SHOWN_LAYERS)]
    values = np.array([[row[name].get(layer, math.nan) for row in rows] for layer in names], dtype=float)
    positive = values[np.isfinite(values) & (values > 0)]
    norm: Any = LogNorm(positive.min(), positive.max()) if name != "dead_units" and positive.size else None
    shown = np.where(values > 0, values, np.nan) if norm is not None else values
    limits: dict[str, Any] = {} if norm is not None else {"vmin": 0.0, "vmax": 1.0}
    image = axes.imshow(shown, aspect="auto", norm=norm, cmap="viridis", interpolation="nearest", **limits)
    axes.set_facecolor("#eeeeee")
    bar = figure.colorbar(image, ax=axes, pad=0.015)
    bar.ax.tick_params(which="both", labelsize=9)
    if norm is not None:
        _plain(bar.ax.yaxis)
    axes.set_yticks(range(len(names)), [_short(each) for each in names], fontsize=9 if len(names) < 20 else 6)
    every = max(1, math.ceil(len(rows) / 8))
    axes.set_xticks(range(0, len(rows), every), [str(row["step"]) for row in rows[::every]], fontsize=9)
    axes.set_title(name.replace("_", " "), loc="left", fontsize=11)
    axes.set_xlabel("step", fontsize=8)


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else "…" + name[1 - most :]


def _base(axes: Axes, title: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.tick_params(which="both", labelsize=9)
