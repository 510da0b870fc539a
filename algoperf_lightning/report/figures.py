"""Charts as pictures for papers, by matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.report.charts import curves_chart, profile_chart
from algoperf_lightning.report.looks import GREY, PALE, Style, arrange, legend_height, new_figure, settings, styles
from algoperf_lightning.report.parts import Axis, Chart, Rule, Series, Values
from algoperf_lightning.scoring.benchmarks import ScoredWorkload
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.runs import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis as AxisOfMatplotlib
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Line = tuple[Array, Array]

_DASH = 3.0
"""Length of the dashes of lines that coincide, in line widths."""
_MARKS = 12
"""Number of markers along a step line."""
_MOST_BANDS = 4
"""With more bands than this, which would hide each other, none is drawn."""
_MOST_LETTERS = 60
"""With more letters than this along the horizontal axis, names are slanted, because they would overlap."""
_NEUTRAL = Style(GREY)


def profile_figure(board: Leaderboard, highlight: Sequence[str] = ()) -> Figure:
    """Draw the performance profile of each submission, with a legend in the order of the scores.

    Lines are at their values. Where several coincide, each is drawn as dashes in the gaps of the others.

    Args:
        board: The leaderboard.
        highlight: Submissions to show among the others, which are then grey; empty for all.

    Raises:
        BadInputError: If a name to highlight is unknown.
    """
    return draw(profile_chart(board), styles(board, highlight))


def curves_figure(board: Leaderboard, workload: ScoredWorkload, highlight: Sequence[str] = ()) -> Figure:
    """Draw the training curves of a workload, as in ``charts.curves_chart``.

    Args:
        board: The leaderboard.
        workload: One of its benchmark's.
        highlight: Submissions to show among the others, which are then grey; empty for all.

    Raises:
        BadInputError: If a name to highlight is unknown.
    """
    return draw(curves_chart(board, workload), styles(board, highlight))


def draw(chart: Chart, looks: Mapping[str, Style]) -> Figure:
    """Draw a chart.

    Args:
        chart: The chart.
        looks: Styles of its submissions by name.
    """
    with settings():
        return _draw(chart, looks)


def _draw(chart: Chart, looks: Mapping[str, Style]) -> Figure:
    legend = _legend(chart, looks)
    height = 1.0 + max(3.8, legend_height(len(legend)), 0.26 * len(chart.y.names))
    figure, axes = new_figure(chart.title, height)
    _draw_steps(axes, chart, looks)
    banded = sum(each.low is not None and each.line != "none" for each in chart.series) <= _MOST_BANDS
    for series in chart.series:
        look = looks[series.submission] if series.submission else _NEUTRAL
        if series.line == "none":
            _draw_points(axes, series, look)
        elif series.line == "step" and not look.front:
            axes.plot(series.x, series.y, drawstyle="steps-post", color=look.drawn, linewidth=1, label="_other")
        if banded:
            _draw_band(axes, series, look)
    _draw_lines(axes, chart, looks)
    _set_axes(axes, chart.x, chart.y)
    for rule in chart.rules:
        _draw_rule(axes, rule)
    longest = max(map(len, chart.x.names), default=0)
    below = 0.0
    if longest * len(chart.x.names) > _MOST_LETTERS:
        axes.tick_params("x", labelrotation=60)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
        below = 0.05 * longest
    arrange(figure, axes, chart.y.names, chart.legend, legend, below)
    return figure


def _legend(chart: Chart, looks: Mapping[str, Style]) -> list[tuple[str, Style]]:
    """Return the lines of the legend; empty if an axis names the submissions."""
    named = list(dict.fromkeys([*chart.values, *(each.submission for each in chart.series if each.submission)]))
    if set(named) <= {*chart.x.names, *chart.y.names}:
        return []
    listed = [name for name in named if looks[name].named]
    lines = [(f"{chart.values[name]}  {name}" if name in chart.values else name, looks[name]) for name in listed]
    others = len(named) - len(listed)
    return [*lines, *([(counted(others, "other"), Style(PALE, front=False))] if others else [])]


def _draw_lines(axes: Axes, chart: Chart, looks: Mapping[str, Style]) -> None:
    """Draw the straight lines: strong ones separately, the others of one colour as a single line with gaps."""
    weak: dict[str, list[Line]] = {}
    for place, series in enumerate(each for each in chart.series if each.line == "straight"):
        look = looks[series.submission] if series.submission else _NEUTRAL
        x, y = np.asarray(series.x, dtype=float), np.asarray(series.y, dtype=float)
        if not (series.strong and look.front):
            weak.setdefault(look.drawn, []).append((x, y))
            continue
        every = (place % 5 if len(x) > 8 else 0, max(1, len(x) // 8))
        style: dict[str, Any] = {"color": look.drawn, "linewidth": look.width, "zorder": 6, "label": "_line"}
        axes.plot(x, y, marker=look.marker, markersize=4, markevery=every, **style)
        if series.marks:
            at = list(series.marks)
            axes.plot(x[at], y[at], "D", color=look.drawn, markersize=6, zorder=7, label="_marks")
    for colour, lines in weak.items():
        x, y = (np.concatenate([part for line in lines for part in (line[axis], [np.nan])]) for axis in (0, 1))
        behind = colour == PALE
        alpha, zorder = (1.0, 3) if behind else (0.35, 5)
        axes.plot(x, y, color=colour, linewidth=0.6, alpha=alpha, zorder=zorder, label="_line")


def _draw_points(axes: Axes, series: Series, look: Style) -> None:
    def sides(at: Values, low: Values | None, high: Values | None) -> list[Array] | None:
        if low is None or high is None:
            return None
        return [np.maximum(np.subtract(at, low), 0), np.maximum(np.subtract(high, at), 0)]

    axes.errorbar(
        *(series.x, series.y),
        yerr=sides(series.y, series.low, series.high),
        xerr=sides(series.x, series.x_low, series.x_high),
        fmt=look.marker or "o",
        color=look.drawn,
        markersize=5 if series.strong else 3,
        elinewidth=1.2,
        alpha=1.0 if series.strong else 0.5,
        zorder=5 if look.front else 3,
        label="_points",
    )


def _draw_band(axes: Axes, series: Series, look: Style) -> None:
    if series.line == "none" or series.low is None or series.high is None or not look.front:
        return
    step: Literal["post"] | None = "post" if series.line == "step" else None
    axes.fill_between(series.x, series.low, series.high, step=step, color=look.drawn, alpha=0.13, linewidth=0, zorder=2)


def _draw_steps(axes: Axes, chart: Chart, looks: Mapping[str, Style]) -> None:
    """Draw the step lines in front; where several coincide, each is drawn as dashes in the gaps of the others."""
    steps = [each for each in chart.series if each.line == "step"]
    front = [each for each in steps if each.submission is None or looks[each.submission].front]
    lines = {place: (np.asarray(each.x), np.asarray(each.y)) for place, each in enumerate(front)}
    for place, series in enumerate(front):
        look = looks[series.submission] if series.submission else _NEUTRAL
        for piece in _pieces(place, lines):
            k, i = len(piece.lines), piece.lines.index(place)
            axes.plot(
                *(piece.x, piece.y),
                color=look.drawn,
                linestyle=(_DASH * (k - i), (_DASH, _DASH * (k - 1))) if k > 1 else "solid",
                linewidth=look.width,
                dash_capstyle="butt",
                solid_capstyle="butt",
                solid_joinstyle="miter",
                zorder=10 - place * 0.01,
                label="_piece",
            )
        if look.marker:
            marks = _marks(lines[place], place / len(front))
            axes.plot(
                *marks, color=look.drawn, marker=look.marker, markersize=5, linestyle="none", zorder=11, label="_marks"
            )


@dataclass(frozen=True)
class _Piece:
    """A piece of a step line, and the lines that coincide with it there."""

    x: list[float]
    y: list[float]
    lines: list[int]


def _pieces(line: int, lines: Mapping[int, Line]) -> Iterator[_Piece]:
    """Yield the pieces of a line along which the same other lines coincide with it, and the steps between them."""
    knots = np.unique(np.concatenate([x for x, _ in lines.values()]))
    values = {each: _at(knots[:-1], *points) for each, points in lines.items()}
    piece: _Piece | None = None
    for place, value in enumerate(values[line].tolist()):
        same = [each for each, other in values.items() if other[place] == value]
        left, right = float(knots[place]), float(knots[place + 1])
        if piece is not None and piece.lines == same:
            piece.x.extend((left, right))
            piece.y.extend((value, value))
            continue
        if piece is not None:
            yield piece
            if piece.y[-1] != value and same:
                yield _Piece([left, left], [piece.y[-1], value], [line])
        piece = _Piece([left, right], [value, value], same) if same else None
    if piece is not None:
        yield piece


def _at(knots: Array, x: Array, y: Array) -> Array:
    """Return a line's values immediately to the right of knots; NaN before its first point and from its last one."""
    values = y[np.maximum(np.searchsorted(x, knots, side="right") - 1, 0)].astype(float)
    return np.where((knots < x[0]) | (knots >= x[-1]), np.nan, values)


def _marks(line: Line, phase: float) -> Line:
    """Return the points of a line's markers; all submissions have the same spacing with different phases."""
    x, y = line
    at = x[0] + (np.arange(_MARKS) + phase) * (x[-1] - x[0]) / _MARKS
    return at, y[np.searchsorted(x, at, side="right") - 1]


def _set_axes(axes: Axes, x: Axis, y: Axis) -> None:
    for side, axis, limits, scale in (
        (axes.xaxis, x, axes.set_xlim, axes.set_xscale),
        (axes.yaxis, y, axes.set_ylim, axes.set_yscale),
    ):
        side.set_label_text(axis.label)
        if axis.log:
            scale("log")
            _set_factors(side, *limits())
        if axis.names:
            side.set_ticks(range(len(axis.names)), labels=list(axis.names))
            limits((-0.5, len(axis.names) - 0.5) if axis is x else (len(axis.names) - 0.5, -0.5))
        elif axis.low is not None or axis.high is not None:
            limits(axis.low, axis.high)
        if axis.percent:
            side.set_major_formatter("{x:.0%}")
        elif axis.log:
            _set_log_ticks(side)
        elif (axis.high or 0) >= 10_000:
            side.set_major_formatter("{x:,.0f}")


def _set_log_ticks(side: AxisOfMatplotlib) -> None:
    """Write numbers as ``0.002`` and ``5`` instead of matplotlib's powers of 10."""
    from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter

    low, high = side.get_view_interval()
    side.set_major_locator(AutoLocator() if high / low < 10 else LogLocator(subs=(1, 2, 5)))
    side.set_major_formatter("{x:g}")
    side.set_minor_formatter(NullFormatter())


def _set_factors(side: XAxis | YAxis, low: float, high: float) -> None:
    """Give an axis of factors round ticks, written as decimal numbers instead of powers."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    side.set_major_locator(
        MaxNLocator(5) if high / low < 3 else LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,))
    )
    side.set_major_formatter("{x:,g}")
    side.set_minor_formatter(NullFormatter())


def _draw_rule(axes: Axes, rule: Rule) -> None:
    words: dict[str, Any] = {"textcoords": "offset points", "color": GREY, "fontsize": 8, "zorder": 8}
    if rule.y is not None:
        axes.axhline(rule.y, color=GREY, linewidth=1, zorder=2)
        axes.annotate(rule.name, (0, rule.y), (4, 3), xycoords=axes.get_yaxis_transform(), **words)
    if rule.x is not None:
        axes.axvline(rule.x, color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=2)
        axes.annotate(
            rule.name, (rule.x, 0), (-3, 5), xycoords=axes.get_xaxis_transform(), rotation=90, ha="right", **words
        )
