"""The charts of every board: performance profiles, and training curves by workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.report.parts import Axis, Chart, Rule, Series
from algoperf_lightning.scoring.benchmarks import ScoredWorkload
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.mathematics import first_success
from algoperf_lightning.scoring.measure import Measure
from algoperf_lightning.scoring.runs import Trial

Array = NDArray[np.float64]


def profile_chart(board: Leaderboard) -> Chart:
    """Return the performance profile of each submission, in the order of the scores. Lines are at their values."""
    limit, lines, values = board.benchmark.limit, [], {}
    for row in board.order:
        x, y = profile_points(board.ratios[row], limit)
        lines.append(Series(x.tolist(), y.tolist(), submission=board.submissions[row], line="step"))
        values[board.submissions[row]] = f"{board.scores[row]:.4f}"
    return Chart(
        title=f"Performance profiles: {board.title}",
        x=Axis(f"{board.measure.noun} to the target, as a multiple of the fastest submission's", 1, limit),
        y=Axis("share of workloads trained", -0.02, 1.02, percent=True),
        series=lines,
        picture="profile",
        values=values,
        legend="score",
    )


def profile_points(ratios: Array, limit: float) -> tuple[Array, Array]:
    """Return the positions of a profile's steps, and the shares after them: at the ratios, not at the grid."""
    finite = np.sort(ratios[ratios <= limit])
    x = np.unique(np.concatenate([[1.0], finite, [limit]]))
    return x, np.searchsorted(finite, x, side="right") / len(ratios)


def curves_chart(board: Leaderboard, workload: ScoredWorkload) -> Chart:
    """Return the target metric against time or steps: the best trial of each study, with the deciding one emphasised.

    A study without a trial that reached the target is represented by the nearest one. The chart ends with the last
    curve.

    Args:
        board: The leaderboard.
        workload: A workload of its benchmark.
    """
    curves = [curve for row in board.order for curve in _curves(board, workload, row)]
    budget, target, measure = board.benchmark.budget(workload), workload.validation_target, board.measure
    end = 1.03 * max((float(curve.x[-1]) for curve in curves), default=budget)
    low, high = _limits(workload, curves)
    sign = "≥" if workload.direction == "max" else "≤"
    used = {name: board.cells[name, workload.name].used for name in (board.submissions[row] for row in board.order)}
    ranked = sorted(used, key=lambda name: (np.isnan(used[name]), used[name]))
    return Chart(
        title=f"{workload.name}: target {workload.metric} {sign} {target:g}, budget {measure.text(budget)}",
        x=Axis("submission time in seconds" if measure.unit == "seconds" else "training steps", 0, end),
        y=Axis(f"validation {workload.metric}", low, high),
        series=curves,
        rules=[Rule("target", y=target), *([Rule("budget", x=budget)] if budget <= end else [])],
        picture=f"curves_{workload.name}",
        values={name: _used(used[name], measure) for name in ranked},
        legend=f"median {measure.noun} to target",
    )


def _curves(board: Leaderboard, workload: ScoredWorkload, row: int) -> Iterator[Series]:
    """Yield the curve of each study of a submission, the deciding one last."""
    column = [each.name for each in board.benchmark.workloads].index(workload.name)
    studies = board.cells[board.submissions[row], workload.name].studies
    chosen = [
        (study, study.winner or _nearest(_trials(board, row, column, k), workload)) for k, study in enumerate(studies)
    ]
    strong = next((study for study, trial in chosen if study.decides and trial), None)
    for study, trial in sorted(chosen, key=lambda pair: pair[0] is strong):
        values = trial.metrics.get(f"validation/{workload.metric}") if trial else None
        if trial is None or values is None or not values.size:
            continue
        hit = first_success(values, workload.validation_target, workload.direction)
        yield Series(
            x=trial.used.tolist(),
            y=values.tolist(),
            submission=board.submissions[row],
            strong=study is strong,
            name=f"study {study.study}, trial {trial.number}",
            marks=[] if hit is None or study is not strong else [hit],
        )


def _used(used: float, measure: Measure) -> str:
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


def _limits(workload: ScoredWorkload, curves: Sequence[Series]) -> tuple[float, float]:
    """Limit the metric to the region near the target: curves start, and diverge, far from it."""
    target = workload.validation_target
    values = np.concatenate([np.zeros(0), *(np.asarray(curve.y) for curve in curves)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 2 * target
    down = workload.direction == "min"
    good = float(min(values.min(), target) if down else max(values.max(), target))
    # Half of all evaluations, and at least as much room on the worse side as lies beyond the target.
    poor = float(np.quantile(values, 0.7 if down else 0.3))
    room = max(abs(poor - target), 2 * abs(good - target), 0.02 * abs(target))
    if down:
        return good - 0.12 * room, target + 1.1 * room
    return target - 1.1 * room, good + 0.12 * room
