"""Pictures: performance profiles, and training curves by workload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring.benchmarks import ScoredWorkload
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.mathematics import first_success
from algoperf_lightning.scoring.measure import Measure
from algoperf_lightning.scoring.runs import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours for the colour-blind, without the yellow, too pale for lines; then the dash changes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.6), (1.4, 1.4), (6, 1.4, 1.4, 1.4))
_GREY = "#666666"
_DODGE, _DODGES = 0.0035, 0.045
"""Each profile is drawn this much lower than the one before, all together no more than that: lines that coincide stay
visible, and none is taken for one with a workload less."""


def style(place: int) -> tuple[str, tuple[float, ...]]:
    """Return colour and dashes of the line at a place of the ranking; 28 different ones."""
    return _COLOURS[place % len(_COLOURS)], _DASHES[place // len(_COLOURS) % len(_DASHES)]


def profile_figure(board: Leaderboard) -> Figure:
    """Draw the performance profile of each submission, with a legend in the order of the scores."""
    number = len(board.submissions)
    figure, axes = _figure(4.8 + 0.2 * max(0, number - 8), number)
    dodge = min(_DODGE, _DODGES / number)
    taus, ratios = board.benchmark.taus, board.ratios
    for place, row in enumerate(board.order):
        colour, dashes = style(place)
        # Steps at the ratios themselves, not at the grid: the picture is exact.
        finite = np.sort(ratios[row][ratios[row] <= taus[-1]])
        x = np.concatenate([[1.0], finite, [taus[-1]]])
        y = np.concatenate([[0.0], np.arange(1, len(finite) + 1), [len(finite)]]) / ratios.shape[1]
        axes.plot(
            *(x, y - place * dodge),
            drawstyle="steps-post",
            color=colour,
            dashes=dashes or (None, None),
            linewidth=2.2 if place < 3 else 1.6 if place < len(_COLOURS) else 1.2,
            label=f"{board.scores[row]:.4f}  {board.submissions[row]}",
            zorder=10 - place * 0.1,
        )
    axes.set_xlim(1, taus[-1])
    axes.set_ylim(-number * dodge - 0.01, 1.02)
    axes.set_xlabel(f"{board.measure.noun} to the target, as a multiple of the fastest submission's")
    axes.set_ylabel("share of workloads trained" + " (lines set apart)" * (number > 1))
    axes.set_title(f"Performance profiles: {board.title}", loc="left", fontsize=11, wrap=True)
    _legend(axes, "score")
    return figure


def curves_figure(board: Leaderboard, workload: ScoredWorkload) -> Figure:
    """Draw the target metric against submission time or steps: the best trial of each study, the deciding one bold.

    A study none of whose trials reached the target is drawn by the trial that came nearest.
    """
    figure, axes = _figure(4.4, len(board.submissions))
    column = [each.name for each in board.benchmark.workloads].index(workload.name)
    shown: list[NDArray[np.float64]] = []
    times: dict[str, float] = {}
    for place, row in enumerate(board.order):
        colour, dashes = style(place)
        cell = board.cells[board.submissions[row], workload.name]
        label = f"{_label(cell.used, board.measure)}  {cell.submission}"
        times[label] = cell.used
        chosen = [
            (study.winner or _nearest(_trials(board, row, column, k), workload), study.decides)
            for k, study in enumerate(cell.studies)
        ]
        bold = next((trial for trial, decides in chosen if decides), None)
        axes.plot([], [], color=colour, dashes=dashes or (None, None), linewidth=1.8, label=label)
        for trial in [*(trial for trial, _ in chosen if trial is not bold), *([bold] if bold else [])]:
            values = trial.metrics.get(f"validation/{workload.metric}") if trial else None
            if trial is None or values is None:
                continue
            strong = trial is bold
            axes.plot(
                *(trial.used, values),
                color=colour,
                dashes=dashes or (None, None),
                linewidth=1.8 if strong else 0.6,
                alpha=1.0 if strong else 0.35,
                zorder=5 + strong,
            )
            shown.append(values)
            hit = first_success(values, workload.validation_target, workload.direction)
            if strong and hit is not None:
                axes.plot(trial.used[hit], values[hit], "o", color=colour, markersize=5, zorder=7)
    budget = board.benchmark.budget(workload)
    axes.axhline(workload.validation_target, color=_GREY, linewidth=1, zorder=2)
    axes.axvline(budget, color=_GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=2)
    _limits(axes, workload, shown, budget)
    sign = "≥" if workload.direction == "max" else "≤"
    target = f"{workload.metric} {sign} {workload.validation_target:g}"
    axes.set_title(f"{workload.name}: target {target}, budget {board.measure.text(budget)}", loc="left", fontsize=11)
    axes.set_xlabel(f"submission time in {board.measure.name}" if board.measure.unit == "seconds" else "training steps")
    axes.set_ylabel(f"validation {workload.metric}")
    _name_lines(axes, budget, workload.validation_target)
    keys = [times[label] for label in axes.get_legend_handles_labels()[1]]
    _legend(axes, f"median {board.measure.noun} to target", keys)
    return figure


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure to each path, in the format its name ends with.

    Raises:
        OSError: If a file cannot be written.
    """
    import matplotlib as mpl

    # No date and no random names within, so that the same runs give the same file.
    with mpl.rc_context({"svg.hashsalt": "algoperf"}):
        for path in paths:
            figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)


def _figure(height: float, lines: int) -> tuple[Figure, Axes]:
    """Return a figure at least ``height`` inches high, higher if the legend of so many lines needs it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, max(height, 0.8 + 0.21 * lines)), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the default backend is
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _name_lines(axes: Axes, budget: float, target: float) -> None:
    axes.annotate("target", (0, target), (4, 3), textcoords="offset points", color=_GREY, fontsize=8, zorder=8)
    axes.annotate(
        "budget", (budget, axes.get_ylim()[0]), (-3, 5), textcoords="offset points", color=_GREY, fontsize=8,
        rotation=90, ha="right", zorder=8,
    )  # fmt: skip


def _legend(axes: Axes, title: str, keys: Sequence[float] | None = None) -> None:
    """Put a legend beside the axes, sorted by ``keys`` if given, NaN last."""
    handles, labels = axes.get_legend_handles_labels()
    order = range(len(labels)) if keys is None else np.argsort(np.array(keys), kind="stable").tolist()
    axes.legend(
        [handles[place] for place in order], [labels[place] for place in order],
        title=title, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, alignment="left",
        handlelength=2.8, borderaxespad=0.0,
    )  # fmt: skip


def _label(used: float, measure: Measure) -> str:
    if np.isnan(used):
        return "no log"
    return "missed" if np.isinf(used) else measure.text(used)


def _trials(board: Leaderboard, row: int, column: int, study: int) -> list[Trial]:
    places = ((row, column, study, t) for t in range(board.table.times.shape[3]))
    return [board.table.trials[place] for place in places if place in board.table.trials]


def _nearest(trials: Sequence[Trial], workload: ScoredWorkload) -> Trial | None:
    best: tuple[float, Trial] | None = None
    for trial in trials:
        values = trial.metrics.get(f"validation/{workload.metric}")
        finite = values[np.isfinite(values)] if values is not None else np.array([])
        if finite.size:
            value = float(finite.max() if workload.direction == "max" else -finite.min())
            if best is None or value > best[0]:
                best = (value, trial)
    return best[1] if best else None


def _limits(axes: Axes, workload: ScoredWorkload, shown: Sequence[NDArray[np.float64]], budget: float) -> None:
    """Show what lies near the target: curves begin, and diverge, far from it."""
    target = workload.validation_target
    axes.set_xlim(0, budget * 1.03)
    values = np.concatenate([each[np.isfinite(each)] for each in shown]) if shown else np.array([])
    if not values.size:
        axes.set_ylim(0, 2 * target)
        return
    down = workload.direction == "min"
    good = float(min(values.min(), target) if down else max(values.max(), target))
    # Half of all evaluations, and at least as much room on the worse side as lies beyond the target.
    poor = float(np.quantile(values, 0.7 if down else 0.3))
    room = max(abs(poor - target), 2 * abs(good - target), 0.02 * abs(target))
    ends = (good - 0.12 * room, target + 1.1 * room) if down else (target - 1.1 * room, good + 0.12 * room)
    axes.set_ylim(*ends)
