"""One leaderboard in several units, to separate the contributions of algorithm and machine to a ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.cost import (
    Key,
    Split,
    StepCost,
    TrialCost,
    odd_steps,
    split_times,
    step_costs,
    unsteady,
)
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_times
from algoperf_lightning.scoring.mathematics import median_over_studies, ranks
from algoperf_lightning.scoring.runs import Runs, Trial
from algoperf_lightning.scoring.table import tabulate
from algoperf_lightning.scoring.units import by_clean_seconds, by_steps

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Views:
    """A leaderboard in measured seconds, and the same trials in other units. Rows are those of the leaderboard."""

    scores: Mapping[str, Array]
    """Scores by unit (``seconds``, ``steps``, ``clean seconds``), shape ``(S,)``; NaN for excluded submissions."""
    ranks: Mapping[str, NDArray[np.intp]]
    """Ranks by unit, shape ``(S,)``; 1 is best, and excluded submissions are last."""
    costs: Mapping[Key, StepCost]
    splits: Mapping[Key, Split]
    odd: Mapping[Key, float]
    """Submissions and workloads whose steps are of another kind, with the ratio of the cost of their steps to that of
    others. They are excluded from scores in steps."""
    noisy: Sequence[tuple[Key, TrialCost]]
    """Trials whose seconds per step are not steady, the worst first."""


def can_be_split(board: Leaderboard) -> bool:
    """Return whether a leaderboard is in measured seconds, with known steps of all trials."""
    return board.measure.measured and all(np.isfinite(trial.steps).all() for trial in board.table.trials.values())


def views_of(board: Leaderboard) -> Views:
    """Return the scores of a leaderboard in seconds, steps and seconds without noise.

    Raises:
        BadInputError: If it is not in measured seconds, or the steps of a trial are unknown.
    """
    if not board.measure.measured:
        raise BadInputError(
            f"Only measured seconds can be split into steps and their cost, but these runs count {board.measure.name}. "
            "Give runs in seconds. Runs in steps are scored in estimated seconds by `algoperf score --unit "
            "clean-seconds`."
        )
    trials = list(board.table.trials.values())
    scores = {"seconds": board.scores}
    counts: dict[str, Callable[[Runs], Runs]] = {"steps": by_steps, "clean seconds": by_clean_seconds}
    for name, count in counts.items():
        scores[name] = _scores(board, count(Runs(trials)).trials)
    costs = step_costs(trials)
    return Views(
        scores=scores,
        ranks={name: ranks(np.nan_to_num(each, nan=-1.0)) for name, each in scores.items()},
        costs=costs,
        splits=split_times(board.cells, costs),
        odd=dict(odd_steps(costs)),
        noisy=unsteady(costs),
    )


def _scores(board: Leaderboard, trials: list[Trial]) -> Array:
    """Return the scores of the same submissions, by the same rules; they do not depend on budgets."""
    table = tabulate(Runs(trials), board.benchmark, board.measure.interpolated)
    rows = [board.submissions.index(name) for name in table.submissions]
    reference = None if board.reference is None else board.reference[rows]
    scores = np.full(len(board.submissions), np.nan)
    scores[rows] = score_times(median_over_studies(table.study_times(board.mode)), board.benchmark, reference)[2]
    return scores


def cost_files(board: Leaderboard, views: Views) -> dict[str, Sequence[Sequence[Any]]]:
    """Return the CSV files: scores by what is counted, costs of steps with the splits, noisy trials."""
    names = list(views.scores)
    columns = [name.replace(" ", "_") for name in names]
    scores: list[Sequence[Any]] = [
        ("submission", *(f"{each}_{what}" for each in columns for what in ("score", "rank")), "left_out_in_steps")
    ]
    for row in board.order:
        name = board.submissions[row]
        fields = [each for view in names for each in (repr(float(views.scores[view][row])), views.ranks[view][row])]
        left_out = " ".join(workload for submission, workload in views.odd if submission == name)
        scores.append((name, *fields, left_out))
    costs: list[Sequence[Any]] = [
        ("submission", "workload", "seconds_per_step", "intervals", "seconds", "steps", "seconds_added")
    ]
    for (submission, workload), each in sorted(views.costs.items()):
        split = views.splits.get((submission, workload))
        rest = ("", "", "") if split is None else (split.seconds, split.steps, split.added)
        costs.append((submission, workload, each.seconds, each.intervals, *rest))
    noisy: list[Sequence[Any]] = [
        ("submission", "workload", "study", "trial", "lowest", "highest", "times_without_noise", "source")
    ]
    for (submission, workload), trial in views.noisy:
        where = (trial.trial.study, trial.trial.number)
        noisy.append((submission, workload, *where, trial.lowest, trial.highest, trial.times, trial.trial.source))
    return {"scores_by_unit.csv": scores, "step_costs.csv": costs, "unsteady_trials.csv": noisy}
