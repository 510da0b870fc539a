"""Pictures: performance profiles, and training curves by workload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring.benchmarks import ScoredWorkload
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.looks import GREY, add_legend, name_others, new_figure, styles
from algoperf_lightning.scoring.mathematics import first_success
from algoperf_lightning.scoring.measure import Measure
from algoperf_lightning.scoring.runs import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASH = 3.0
"""Length of the dashes of lines that coincide, in line widths."""
_MARKS = 12
"""Markers along a whole line."""


def profile_figure(board: Leaderboard, highlight: Sequence[str] = ()) -> Figure:
    """Draw the performance profile of each submission, with a legend in the order of the scores.

    Lines are at their values. Where several coincide, each is drawn as dashes in the gaps of the others.

    Args:
        board: The leaderboard.
        highlight: Submissions to show among the others, which are then grey; empty for all.

    Raises:
        BadInputError: If a name to highlight is unknown.
    """
    looks = styles(board, highlight)
    number = sum(look.front for look in looks.values()) + 1
    figure, axes = new_figure(4.8 + 0.2 * max(0, number - 8), number)
    limit, ratios = board.benchmark.limit, board.ratios
    front = [row for row in board.order if looks[board.submissions[row]].front]
    back = [row for row in board.order if row not in front]
    for row in back:
        look = looks[board.submissions[row]]
        x, y = _profile(ratios[row], limit)
        axes.plot(x, y, drawstyle="steps-post", color=look.colour, linewidth=look.width, zorder=2, label="_other")
    profiles = {row: _profile(ratios[row], limit) for row in front}
    for place, row in enumerate(front):
        look = looks[board.submissions[row]]
        for piece in _pieces(row, profiles):
            k, i = len(piece.rows), piece.rows.index(row)
            dashes = (_DASH * (k - i), (_DASH, _DASH * (k - 1))) if k > 1 else "solid"
            axes.plot(
                *(piece.x, piece.y),
                color=look.colour,
                linestyle=dashes,
                linewidth=look.width,
                dash_capstyle="butt",
                solid_capstyle="butt",
                solid_joinstyle="miter",
                zorder=10 - place * 0.01,
                label="_piece",
            )
        axes.plot(
            *_marks(profiles[row], place / len(front), limit),
            color=look.colour,
            marker=look.marker,
            markersize=5,
            linestyle="none",
            zorder=11,
            label="_marks",
        )
        label = f"{board.scores[row]:.4f}  {board.submissions[row]}"
        axes.plot([], [], color=look.colour, marker=look.marker, markersize=5, linewidth=look.width, label=label)
    name_others(axes, len(back))
    axes.set_xlim(1, limit)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"{board.measure.noun} to the target, as a multiple of the fastest submission's")
    axes.set_ylabel("share of workloads trained")
    axes.set_title(f"Performance profiles: {board.title}", loc="left", fontsize=11, wrap=True)
    add_legend(axes, "score")
    return figure


@dataclass(frozen=True)
class _Piece:
    """A stretch of one submission's profile, and the submissions whose profiles are the same there."""

    x: list[float]
    y: list[float]
    rows: list[int]


def _profile(ratios: NDArray[np.float64], limit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where a profile steps and the share from there on: at the ratios themselves, not at the grid."""
    finite = np.sort(ratios[ratios <= limit])
    x = np.unique(np.concatenate([[1.0], finite, [limit]]))
    return x, np.searchsorted(finite, x, side="right") / len(ratios)


def _pieces(row: int, profiles: Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Iterator[_Piece]:
    """Yield the stretches of a profile over which the same others coincide with it, and the steps between them."""
    knots = np.unique(np.concatenate([x for x, _ in profiles.values()]))
    values = {each: y[np.searchsorted(x, knots[:-1], side="right") - 1] for each, (x, y) in profiles.items()}
    own = values[row]
    piece: _Piece | None = None
    for place, value in enumerate(own.tolist()):
        same = [each for each, other in values.items() if other[place] == value]
        left, right = float(knots[place]), float(knots[place + 1])
        if piece is not None and piece.rows == same:
            piece.x.extend((left, right))
            piece.y.extend((value, value))
            continue
        if piece is not None:
            yield piece
            if piece.y[-1] != value:
                yield _Piece([left, left], [piece.y[-1], value], [row])
        piece = _Piece([left, right], [value, value], same)
    if piece is not None:
        yield piece


def _marks(
    profile: tuple[NDArray[np.float64], NDArray[np.float64]], phase: float, limit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points of a profile for its markers, each submission's at another phase of the same spacing."""
    x, y = profile
    at = 1 + (np.arange(_MARKS) + phase) * (limit - 1) / _MARKS
    return at, y[np.searchsorted(x, at, side="right") - 1]


def curves_figure(board: Leaderboard, workload: ScoredWorkload, highlight: Sequence[str] = ()) -> Figure:
    """Draw the target metric against submission time or steps: the best trial of each study, the deciding one bold.

    A study none of whose trials reached the target is drawn by the trial that came nearest. The picture ends where the
    last curve does.

    Args:
        board: The leaderboard.
        workload: One of its benchmark's.
        highlight: Submissions to show among the others, which are then grey; empty for all.

    Raises:
        BadInputError: If a name to highlight is unknown.
    """
    looks = styles(board, highlight)
    figure, axes = new_figure(4.4, sum(look.front for look in looks.values()) + 1)
    column = [each.name for each in board.benchmark.workloads].index(workload.name)
    shown: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    times: dict[str, float] = {}
    for place, row in enumerate(board.order):
        cell = board.cells[board.submissions[row], workload.name]
        look = looks[cell.submission]
        if look.front:
            label = f"{_label(cell.used, board.measure)}  {cell.submission}"
            times[label] = cell.used
            axes.plot([], [], color=look.colour, marker=look.marker, markersize=4, linewidth=look.width, label=label)
        chosen = [
            (study.winner or _nearest(_trials(board, row, column, k), workload), study.decides)
            for k, study in enumerate(cell.studies)
        ]
        bold = next((trial for trial, decides in chosen if decides), None)
        for trial in [*(trial for trial, _ in chosen if trial is not bold), *([bold] if bold else [])]:
            values = trial.metrics.get(f"validation/{workload.metric}") if trial else None
            if trial is None or values is None or not values.size:
                continue
            strong = trial is bold and look.front
            axes.plot(
                *(trial.used, values),
                color=look.colour,
                marker=look.marker if strong else "",
                markersize=4,
                markevery=(place % 5, max(1, len(values) // 8)),
                linewidth=look.width if strong else 0.6,
                alpha=1.0 if strong else 0.35,
                zorder=5 + strong if look.front else 3,
            )
            shown.append((trial.used, values))
            hit = first_success(values, workload.validation_target, workload.direction)
            if strong and hit is not None:
                axes.plot(trial.used[hit], values[hit], "D", color=look.colour, markersize=6, zorder=7)
    budget = board.benchmark.budget(workload)
    _limits(axes, workload, shown, budget)
    axes.axhline(workload.validation_target, color=GREY, linewidth=1, zorder=2)
    if budget <= axes.get_xlim()[1]:
        axes.axvline(budget, color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=2)
    sign = "≥" if workload.direction == "max" else "≤"
    target = f"{workload.metric} {sign} {workload.validation_target:g}"
    axes.set_title(f"{workload.name}: target {target}, budget {board.measure.text(budget)}", loc="left", fontsize=11)
    axes.set_xlabel(f"submission time in {board.measure.unit}" if board.measure.unit == "seconds" else "training steps")
    axes.set_ylabel(f"validation {workload.metric}")
    _name_lines(axes, budget, workload.validation_target)
    name_others(axes, len(board.submissions) - len(times))
    keys = [times.get(label, np.nan) for label in axes.get_legend_handles_labels()[1]]
    add_legend(axes, f"median {board.measure.noun} to target", keys)
    return figure


def _name_lines(axes: Axes, budget: float, target: float) -> None:
    axes.annotate("target", (0, target), (4, 3), textcoords="offset points", color=GREY, fontsize=8, zorder=8)
    if budget > axes.get_xlim()[1]:
        return
    axes.annotate(
        "budget", (budget, axes.get_ylim()[0]), (-3, 5), textcoords="offset points", color=GREY, fontsize=8,
        rotation=90, ha="right", zorder=8,
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


def _limits(
    axes: Axes,
    workload: ScoredWorkload,
    shown: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    budget: float,
) -> None:
    """Show all of the time, and of the metric what lies near the target: curves begin, and diverge, far from it."""
    target = workload.validation_target
    axes.set_xlim(0, 1.03 * max((float(used.max()) for used, _ in shown), default=budget))
    values = np.concatenate([each[np.isfinite(each)] for _, each in shown]) if shown else np.array([])
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
