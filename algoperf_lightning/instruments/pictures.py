"""Pictures of measurements: panels of one run or of two runs side by side, and maps by layer."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from algoperf_lightning.instruments.drawings import DRAWINGS, Pens, Runs, base, has, layer_map, norm_of, plain, short
from algoperf_lightning.instruments.panels import GROUPS, LayerMap, maps_of
from algoperf_lightning.records.instrument_rows import unmeasurable
from algoperf_lightning.report.looks import DARK, LIGHT, TITLE_LINE, settings, styles_of, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec, SubplotSpec
    from matplotlib.text import Text

_WIDTH, _SIDE = 16.5, 0.55
"""Width of a picture and of its margins, in inches."""
_COLUMNS = 5
_FRAME, _GAP, _HEADING, _REASON = 1.75, 0.62, 0.34, 0.17
"""Heights in inches: a panel, the space below it, a heading with the space to its panels, a line at the end."""

Evaluations = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Steps and values of the target metric, by the names of runs."""


def panel(
    runs: Runs, evaluations: Evaluations | None = None, *, targets: Collection[float] = (), dark: bool = False
) -> Figure:
    """Return a picture with a panel for each measured quantity, by groups: run, step, gradients, curvature, network.

    Quantities that were not measured are left out; known reasons are listed at the end.

    Args:
        runs: Rows of one or two runs, by a name for the legend.
        evaluations: Steps and values of the target metric, by the same names.
        targets: Values of the metric that are marked by a line.
        dark: Whether to use a dark background.
    """
    pens = _pens(runs, dark)
    groups = {heading: [each for each in panels if has(each, runs)] for heading, panels in GROUPS.items()}
    evaluated = any(len(steps) for steps, _ in (evaluations or {}).values())
    counts = {heading: len(found) + (evaluated and heading == "Run") for heading, found in groups.items()}
    lines = {heading: math.ceil(count / _COLUMNS) for heading, count in counts.items() if count}
    reasons = _reasons(runs)
    above, below = 0.6, 0.2 + _REASON * len(reasons)
    height = above + below + sum(_HEADING + count * (_FRAME + _GAP) for count in lines.values())
    with settings(pens.page):
        figure, title = _page("" if len(runs) > 1 else short(next(iter(runs), ""), 120))
        figure.set_size_inches(_WIDTH, height)
        title.set_y(1 - 0.1 / height)
        _name_runs(figure, pens, height)
        top = height - above
        for heading, count in lines.items():
            figure.text(_SIDE / _WIDTH, top / height, heading, fontsize=14, weight="bold", va="center")
            grid = _grid(figure, top - _HEADING, count, height)
            places = [grid[place // _COLUMNS, place % _COLUMNS] for place in range(counts[heading])]
            if evaluated and heading == "Run":
                _evaluations(figure.add_subplot(places.pop(0)), evaluations or {}, targets, pens)
            for place, each in zip(places, groups[heading], strict=True):
                DRAWINGS[each.kind](figure, place, each, runs, pens)
            top -= _HEADING + count * (_FRAME + _GAP)
        for number, reason in enumerate(reasons):
            spot = (_SIDE / _WIDTH, (below - 0.1 - _REASON * number) / height)
            figure.text(*spot, reason, fontsize=8.5, color=pens.page.muted, va="top")
    return figure


def layers(runs: Runs, *, dark: bool = False) -> Figure:
    """Return maps of the quantities by layer: a row for each parameter or module, a column for each measured step.

    Two runs are side by side, with the same colours for the same numbers.

    Args:
        runs: Rows of one or two runs, by name.
        dark: Whether to use a dark background.
    """
    pens = _pens(runs, dark)
    found = maps_of(list(runs.values()))
    lines = max(1, len(found) if len(runs) > 1 else math.ceil(len(found) / 2))
    with settings(pens.page):
        figure, title = _page("" if len(runs) > 1 else next(iter(runs), ""))
        above, below = 0.8 + TITLE_LINE * wrap(figure, title, _WIDTH - 2 * _SIDE), 0.5  # inches
        height = above + below + lines * 3.6
        figure.set_size_inches(_WIDTH, height)
        title.set_y(1 - 0.1 / height)
        sides = {"left": 2.0 / _WIDTH, "right": 1 - 0.3 / _WIDTH, "top": 1 - above / height, "bottom": below / height}
        grid = figure.add_gridspec(lines, 2, **sides, wspace=0.36, hspace=0.34)
        for number, each in enumerate(found):
            if len(runs) > 1:
                places = {name: grid[number, column] for column, name in enumerate(runs)}
            else:
                places = dict.fromkeys(runs, grid[number // 2, number % 2])
            _maps(figure, places, runs, each, pens)
    return figure


def _pens(runs: Runs, dark: bool) -> Pens:
    page = DARK if dark else LIGHT
    return Pens(page, {name: look.on(page) for name, look in styles_of(list(runs)).items()})


def _page(title: str) -> tuple[Figure, Text]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 1.0))
    FigureCanvasAgg(figure)  # no window, whatever the default backend is
    return figure, figure.suptitle(title, x=_SIDE / _WIDTH, ha="left", va="top", fontsize=12)


def _name_runs(figure: Figure, pens: Pens, height: float) -> None:
    """Write the legend of several runs at the top."""
    from matplotlib.lines import Line2D

    if len(pens.colours) < 2:
        return
    figure.legend(
        [Line2D([], [], color=colour, linewidth=2.5) for colour in pens.colours.values()],
        [short(name, 60) for name in pens.colours],
        ncol=len(pens.colours),
        frameon=False,
        fontsize=12,
        loc="upper left",
        bbox_to_anchor=((_SIDE - 0.1) / _WIDTH, 1 - 0.02 / height),
    )


def _grid(figure: Figure, top: float, lines: int, height: float) -> GridSpec:
    bottom = top - lines * (_FRAME + _GAP) + _GAP
    sides = {"left": _SIDE / _WIDTH, "right": 1 - 0.2 / _WIDTH, "top": top / height, "bottom": bottom / height}
    return figure.add_gridspec(lines, _COLUMNS, **sides, hspace=_GAP / _FRAME, wspace=0.24)


def _evaluations(axes: Axes, evaluations: Evaluations, targets: Collection[float], pens: Pens) -> None:
    base(axes, "Target metric at evaluations")
    for name, (steps, values) in evaluations.items():
        axes.plot(steps, values, color=pens.colours[name], marker="o", markersize=4)
    for target in targets:
        axes.axhline(target, color=pens.page.muted, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate("target", (1, target), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.set_xlabel("step", loc="right", fontsize=8, labelpad=0)


def _reasons(runs: Runs) -> list[str]:
    found: dict[str, list[str]] = {}
    for rows in runs.values():
        for name, reason in unmeasurable(rows).items():
            found.setdefault(reason, []).append(name)
    return [f"Not measured: {', '.join(dict.fromkeys(names))} ({reason})." for reason, names in found.items()]


def _maps(figure: Figure, places: Mapping[str, SubplotSpec], runs: Runs, each: LayerMap, pens: Pens) -> None:
    """Draw a map of each run."""
    norm = norm_of(each, runs)
    for name, place in places.items():
        if not any(row.get(each.name) for row in runs[name]):
            continue
        axes = figure.add_subplot(place)
        layer_map(axes, runs[name], each, norm, pens)
        axes.set_title(f"{each.title}, by {each.of}", loc="left", fontsize=11, y=1.0)
        if len(runs) > 1:
            axes.set_title(short(name, 30), loc="right", fontsize=10, y=1.0, color=pens.colours[name])
        bar = figure.colorbar(axes.get_images()[0], ax=axes, pad=0.015)
        bar.ax.tick_params(which="both", labelsize=9)
        if each.scale == "log":
            plain(bar.ax.yaxis)
        elif each.scale == "signed":
            bar.ax.minorticks_off()
            bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
