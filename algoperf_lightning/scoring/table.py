"""Trials laid out as arrays: submissions x workloads x studies x trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import Benchmark, ScoredWorkload
from algoperf_lightning.scoring.mathematics import Mode, best_of_study, time_to_target
from algoperf_lightning.scoring.runs import Runs, Trial, natural

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrialTable:
    """When each trial reached its target. ``inf`` missed, NaN no such trial.

    Axes: ``S`` submissions, ``W`` workloads (base, then held-out), ``K`` studies, ``T`` trials; the studies of a cell
    fill its first places.
    """

    submissions: tuple[str, ...]
    benchmark: Benchmark
    indices: Array
    """Evaluation index, shape ``(S, W, K, T)``."""
    times: Array
    """Seconds or steps, shape ``(S, W, K, T)``."""
    trials: dict[tuple[int, int, int, int], Trial]
    """The trial behind a place."""
    studies: dict[tuple[int, int], tuple[str, ...]]
    """Names of the studies of a submission and a workload."""

    def study_times(self, mode: Mode) -> Array:
        """Return what each study's best trial used, shape ``(S, W, K)``."""
        return best_of_study(self.indices, self.times, mode)

    def winner(self, submission: int, workload: int, study: int, mode: Mode) -> Trial | None:
        """Return the trial that gave a study its result; None if none reached the target."""
        times, indices = self.times[submission, workload, study], self.indices[submission, workload, study]
        if not np.isfinite(times).any():
            return None
        order = np.lexsort((times, indices)) if mode == "published" else np.argsort(times)
        return self.trials[submission, workload, study, int(order[0])]


def tabulate(runs: Runs, benchmark: Benchmark) -> TrialTable:
    """Lay trials out as arrays; those on workloads that the benchmark does not have are told and left out.

    Raises:
        BadInputError: If no trial is on a workload of the benchmark, no log of a workload holds its target metric, or a
            target was reached at 0 seconds or steps.
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
    indices, times = np.full(shape, np.nan), np.full(shape, np.nan)
    places: dict[tuple[int, int, int, int], Trial] = {}
    for (row, column), cell in cells.items():
        for k, study in enumerate(cell.values()):
            for t, trial in enumerate(study):
                places[row, column, k, t] = trial
    _check_metrics(places, benchmark, runs)
    for place, trial in places.items():
        indices[place], times[place] = _reached(trial, benchmark.workloads[place[1]])
    studies = {key: tuple(cell) for key, cell in cells.items()}
    return TrialTable(submissions, benchmark, indices, times, places, studies)


def _reached(trial: Trial, workload: ScoredWorkload) -> tuple[float, float]:
    values = trial.metrics.get(f"validation/{workload.metric}")
    if values is None:
        return np.inf, np.inf
    index, used = time_to_target(values, trial.used, workload.validation_target, workload.direction)
    if used <= 0:
        raise BadInputError(f"{trial.source}: {trial.label} reached its target at {used:g} {trial.unit}; mend the log.")
    return index, used


def _check_metrics(places: dict[tuple[int, int, int, int], Trial], benchmark: Benchmark, runs: Runs) -> None:
    for column, workload in enumerate(benchmark.workloads):
        wanted = f"validation/{workload.metric}"
        trials = [trial for place, trial in places.items() if place[1] == column]
        without = [trial for trial in trials if wanted not in trial.metrics]
        if without and len(without) == len(trials):
            logged = sorted({name for trial in without for name in trial.metrics})
            raise BadInputError(
                f"No log of {workload.name} holds its target metric {wanted!r} (the first: {without[0].source}); "
                f"logged: {', '.join(logged) or 'nothing'}. Mend the name, or choose another --benchmark."
            )
        for trial in without:
            runs.note("metric missing", f"{trial.source} does not hold {wanted!r}: {trial.label} counts as missed.")
