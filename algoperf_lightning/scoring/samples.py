"""The runs of two submissions on one workload as samples for a test, paired if possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.rank_tests import Sample
from algoperf_lightning.scoring.runs import Trial, some_of

Run = Literal["study", "trial"]
RUNS: tuple[Run, ...] = ("study", "trial")


@dataclass(frozen=True)
class Gathered:
    """The runs of two submissions on a workload."""

    workload: str
    sample: Sample
    unpaired: str
    """Reason why the runs are not pairs; empty if they are."""
    hours: float
    """Training hours of one run of both."""
    resolution: float
    """Time between two evaluations, as a share of the time; 0 if unknown."""


@dataclass(frozen=True)
class _OneRun:
    key: tuple[str, ...]
    """Study, or study and trial."""
    time: float
    seeds: tuple[tuple[str, str | None], ...]
    """Seeds of its trials by number; None if unknown."""
    hours: float


def gather(board: Leaderboard, names: tuple[str, str], workload: str, run: Run) -> Gathered | None:
    """Return the runs of two submissions on a workload, None if one has no run.

    Runs are pairs if both submissions have the same studies, in them the same trials, and these the same seeds.

    Args:
        board: The leaderboard with the runs; it defines how a study's best trial is chosen.
        names: The two submissions.
        workload: A workload of the benchmark.
        run: Unit of runs: a ``study``, with its best trial, or each ``trial``.
    """
    column = [each.name for each in board.benchmark.workloads].index(workload)
    rows = [board.submissions.index(name) for name in names]
    first, second = (_runs(board, row, column, run) for row in rows)
    if not first or not second:
        return None
    unpaired = _why_unpaired(first, second, names)
    times = [np.array([each.time for each in runs]) for runs in (first, second)]
    reached = np.concatenate(times)
    budget = board.benchmark.budget(board.benchmark.workloads[column])
    limit = max([budget, *reached[np.isfinite(reached)].tolist()])
    shares = board.table.resolutions[rows, column] / board.table.times[rows, column]
    known = shares[np.isfinite(shares)]
    return Gathered(
        workload=workload,
        sample=Sample(times[0], times[1], limit, paired=not unpaired),
        unpaired=unpaired,
        hours=sum(float(np.mean([each.hours for each in runs])) for runs in (first, second)),
        resolution=float(np.median(known)) if known.size else 0.0,
    )


def _runs(board: Leaderboard, row: int, column: int, run: Run) -> list[_OneRun]:
    """Return the runs of a submission on a workload, in the order of their names."""
    table, found = board.table, []
    for k, study in enumerate(table.studies.get((row, column), ())):
        places = np.flatnonzero(~np.isnan(table.times[row, column, k])).tolist()
        trials = [table.trials[row, column, k, t] for t in places]
        times = table.times[row, column, k]
        if run == "trial":
            found += [
                _one((study, trial.number), float(times[t]), [trial]) for t, trial in zip(places, trials, strict=True)
            ]
        elif trials:
            winner = table.winner(row, column, k, board.mode)
            found.append(_one((study,), math.inf if winner is None else float(times[winner]), trials))
    return sorted(found, key=lambda each: each.key)


def _one(key: tuple[str, ...], time: float, trials: Sequence[Trial]) -> _OneRun:
    seeds = [(trial.number, trial.record.get("seed")) for trial in trials]
    hours = sum(float(trial.seconds[-1]) / 3600 for trial in trials if trial.seconds.size)
    return _OneRun(key, time, tuple(sorted((n, None if seed is None else str(seed)) for n, seed in seeds)), hours)


def _why_unpaired(first: Sequence[_OneRun], second: Sequence[_OneRun], names: tuple[str, str]) -> str:
    runs = [{each.key: each for each in side} for side in (first, second)]
    for own, other, name in zip(runs, runs[::-1], names, strict=True):
        if alone := sorted(own.keys() - other.keys()):
            return f"only {name} has {_named(alone)}"
    for side, name in zip((first, second), names, strict=True):
        if unknown := [each.key for each in side if any(seed is None for _, seed in each.seeds)]:
            return (
                "the logs contain no seeds" if len(unknown) == len(side) else f"no seeds of {name}: {_named(unknown)}"
            )
    if different := [key for key in runs[0] if runs[0][key].seeds != runs[1][key].seeds]:
        return f"other seeds or trials in {_named(different)}"
    return ""


def _named(keys: Sequence[tuple[str, ...]]) -> str:
    return some_of(" ".join(f"{what} {name}" for what, name in zip(RUNS, key, strict=False)) for key in keys)
