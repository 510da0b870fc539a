"""Trials as arrays of submissions x workloads x studies x trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import Benchmark, ScoredWorkload
from algoperf_lightning.scoring.mathematics import Mode, best_of_study, crossing, first_success
from algoperf_lightning.scoring.runs import Runs, Trial, natural

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrialTable:
    """Times at which trials reached their targets. ``inf`` means missed, NaN means no such trial.

    Axes: ``S`` submissions, ``W`` workloads (base, then held-out), ``K`` studies, ``T`` trials. The studies of a cell
    occupy its first positions.
    """

    submissions: tuple[str, ...]
    benchmark: Benchmark
    indices: Array
    """Evaluation index, shape ``(S, W, K, T)``."""
    times: Array
    """Seconds or steps, shape ``(S, W, K, T)``."""
    resolutions: Array
    """Time since the previous evaluation in seconds or steps, shape ``(S, W, K, T)``; NaN if missed."""
    trials: dict[tuple[int, int, int, int], Trial]
    """Trial at each position."""
    studies: dict[tuple[int, int], tuple[str, ...]]
    """Names of the studies for each submission and workload."""

    def study_times(self, mode: Mode) -> Array:
        """Return the time of the best trial of each study, shape ``(S, W, K)``."""
        return best_of_study(self.indices, self.times, mode)

    def winner(self, submission: int, workload: int, study: int, mode: Mode) -> int | None:
        """Return the position of the trial that determines a study's result; None if none reached the target."""
        times, indices = self.times[submission, workload, study], self.indices[submission, workload, study]
        if not np.isfinite(times).any():
            return None
        order = np.lexsort((times, indices)) if mode == "published" else np.argsort(times)
        return int(order[0])


def tabulate(runs: Runs, benchmark: Benchmark, interpolate: bool = False) -> TrialTable:
    """Arrange trials as arrays. Trials on workloads outside the benchmark are reported and excluded.

    Args:
        runs: Runs as read. Findings are added to it.
        benchmark: Benchmark that defines the workloads, which are the columns.
        interpolate: Whether to interpolate times linearly between two evaluations instead of using the first evaluation
            that met the target.

    Raises:
        BadInputError: If no trial is on a workload of the benchmark, no log of a workload contains its target metric,
            or a target was reached at 0 seconds or steps.
    """
    columns = {workload.name: column for column, workload in enumerate(benchmark.workloads)}
    used = [trial for trial in runs.trials if trial.workload in columns]
    others = sorted({trial.workload for trial in runs.trials} - set(columns))
    if not used:
        raise BadInputError(
            f"None of the runs is on a workload of {benchmark.name}: found {', '.join(others) or 'no runs'}, expected "
            f"{', '.join(columns)}. Choose --version, or describe your workloads with --benchmark."
        )
    if others:
        runs.note("ignored", f"Runs on {', '.join(others)}: not in {benchmark.name}.", strict=False)
    submissions = tuple(sorted({trial.submission for trial in used}, key=natural))
    rows = {name: row for row, name in enumerate(submissions)}

    cells: dict[tuple[int, int], dict[str, list[Trial]]] = {}
    for trial in sorted(used, key=lambda each: (natural(each.study), natural(each.number))):
        cell = cells.setdefault((rows[trial.submission], columns[trial.workload]), {})
        cell.setdefault(trial.study, []).append(trial)
    most_studies = max(len(cell) for cell in cells.values())
    most_trials = max(len(study) for cell in cells.values() for study in cell.values())
    shape = (len(submissions), len(columns), most_studies, most_trials)
    indices, times, resolutions = (np.full(shape, np.nan) for _ in range(3))
    places: dict[tuple[int, int, int, int], Trial] = {}
    for (row, column), cell in cells.items():
        for k, study in enumerate(cell.values()):
            for t, trial in enumerate(study):
                places[row, column, k, t] = trial
    _check_metrics(places, benchmark, runs)
    for place, trial in places.items():
        workload = benchmark.workloads[place[1]]
        indices[place], times[place], resolutions[place] = _reached(trial, workload, interpolate)
    studies = {key: tuple(cell) for key, cell in cells.items()}
    return TrialTable(submissions, benchmark, indices, times, resolutions, places, studies)


def _reached(trial: Trial, workload: ScoredWorkload, interpolate: bool) -> tuple[float, float, float]:
    """Return the evaluation index, the time, and the time since the previous evaluation."""
    values = trial.metrics.get(f"validation/{workload.metric}")
    index = None if values is None else first_success(values, workload.validation_target, workload.direction)
    if values is None or index is None:
        return np.inf, np.inf, np.nan
    used = float(trial.used[index])
    if used <= 0:
        raise BadInputError(
            f"{trial.source}: {trial.label} reached its target at {used:g} {trial.unit}. Correct the log or remove it."
        )
    before = float(trial.used[index - 1]) if index else 0.0
    if interpolate:
        return index, crossing(values, trial.used, index, workload.validation_target), used - before
    return index, used, used - before


def _check_metrics(places: dict[tuple[int, int, int, int], Trial], benchmark: Benchmark, runs: Runs) -> None:
    for column, workload in enumerate(benchmark.workloads):
        wanted = f"validation/{workload.metric}"
        trials = [trial for place, trial in places.items() if place[1] == column and trial.seconds.size]
        without = [trial for trial in trials if wanted not in trial.metrics]
        if without and len(without) == len(trials):
            logged = sorted({name for trial in without for name in trial.metrics})
            raise BadInputError(
                f"No log of {workload.name} contains its target metric {wanted!r} (the first: {without[0].source}); "
                f"logged: {', '.join(logged) or 'nothing'}. Correct the name, or choose another --benchmark."
            )
        for trial in without:
            runs.note("metric missing", f"{trial.source} does not contain {wanted!r}: {trial.label} counts as missed.")
