"""Anytime performance as files: ``anytime.csv``, ``anytime_scores.csv``, ``anytime_ranks.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from algoperf_lightning.scoring.anytime import Anytime
from algoperf_lightning.scoring.measure import Measure
from algoperf_lightning.scoring.outputs import number
from algoperf_lightning.scoring.way import undecided

_EVERY = 5
"""Step between written points of the grid of times: one for each twentieth of the budget."""


def anytime_files(found: Anytime, measure: Measure) -> dict[str, Sequence[Sequence[Any]]]:
    """Return the rows of the files, by name.

    ``anytime.csv`` has a row for each workload, share of the way and submission: the time, its rank among all, and
    ``tied_with``, the submissions that are indistinguishable at the resolution of evaluations. ``anytime_scores.csv``
    has the scores with these shares of the way as targets, and ``anytime_ranks.csv`` the ranks over time.
    """
    return {
        "anytime.csv": list(_times(found, measure)),
        "anytime_scores.csv": list(_scores(found)),
        "anytime_ranks.csv": list(_ranks(found)),
    }


def tied_with(found: Anytime, level: int, column: int) -> list[list[str]]:
    """Return for each submission those that evaluations do not distinguish from it at a share of a workload's way.

    Two submissions that both missed the target are equal, but not listed.
    """
    times = found.times[level, :, column]
    pairs = undecided(times, found.resolutions[level, :, column]) & np.isfinite(times)[:, None]
    np.fill_diagonal(pairs, val=False)
    return [[found.submissions[other] for other in np.flatnonzero(row)] for row in pairs]


def _times(found: Anytime, measure: Measure) -> Iterable[Sequence[Any]]:
    yield ("workload", "share_of_way", "value", "submission", measure.column, "resolution", "rank", "tied_with")
    for column, workload in enumerate(found.benchmark.workloads):
        ranks = found.workload_ranks(column)
        for level, share in enumerate(found.levels.tolist()):
            ties = tied_with(found, level, column)
            for row, submission in enumerate(found.submissions):
                yield (
                    *(workload.name, share, number(found.values[level, column]), submission),
                    *(number(each[level, row, column]) for each in (found.times, found.resolutions)),
                    number(ranks[level, row]),
                    " ; ".join(ties[row]),
                )


def _scores(found: Anytime) -> Iterable[Sequence[Any]]:
    yield ("share_of_way", "submission", "score", "rank")
    ranks = found.score_ranks
    for level, share in enumerate(found.levels.tolist()):
        for row, submission in enumerate(found.submissions):
            yield (share, submission, number(found.scores[level, row]), int(ranks[level, row]))


def _ranks(found: Anytime) -> Iterable[Sequence[Any]]:
    yield ("workload", "share_of_budget", "submission", "share_of_way", "rank")
    columns = [
        (workload.name, found.progress[:, c], found.time_ranks[:, c])
        for c, workload in enumerate(found.benchmark.workloads)
    ]
    mean = np.full_like(found.mean_ranks, np.nan)
    for name, progress, ranks in [*columns, ("mean of base workloads", mean, found.mean_ranks)]:
        for place in range(0, len(found.grid), _EVERY):
            for row, submission in enumerate(found.submissions):
                share = number(round(float(found.grid[place]), 9))
                yield (name, share, submission, number(progress[row, place]), number(ranks[row, place]))
