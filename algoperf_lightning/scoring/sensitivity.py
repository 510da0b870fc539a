"""Sensitivity of the results of a submission to its hyperparameters, computed from tuning trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import basins
from algoperf_lightning.scoring.basins import WITHIN
from algoperf_lightning.scoring.benchmarks import ScoredWorkload
from algoperf_lightning.scoring.dimensions import FEWEST, Dimension, TriedPoint, at_edge, dimension_of
from algoperf_lightning.scoring.mathematics import median_over_studies
from algoperf_lightning.scoring.runs import Trial, counted, some_of
from algoperf_lightning.scoring.table import TrialTable
from algoperf_lightning.tuning.checks import is_number
from algoperf_lightning.tuning.plan import PLAN_FILE, SWEEP, Study


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of a submission on a workload to its hyperparameters."""

    submission: str
    workload: ScoredWorkload
    trials: int
    points: int
    """Number of distinct points among the trials."""
    reached: int
    """Number of points that reached the target in the median of their trials."""
    drawn_from: str
    """Description of the population that the points are sampled from."""
    sample: bool
    """Whether the points are a sample of a larger space, so that the fraction has a confidence interval."""
    dimensions: tuple[Dimension, ...]
    notes: tuple[str, ...] = field(default=())
    """Notes for readers of the numbers."""

    @property
    def label(self) -> str:
        """Submission and workload."""
        return f"{self.submission} on {self.workload.name}"

    @property
    def share(self) -> tuple[float, float, float]:
        """Fraction of points that reached the target with its 95 % interval, which is degenerate without sampling."""
        if not self.sample:
            share = self.reached / self.points
            return share, share, share
        return basins.share_with_interval(self.reached, self.points)


def sensitivities(table: TrialTable, within: float = WITHIN) -> tuple[list[Sensitivity], list[str]]:
    """Return the sensitivities of all submissions on all workloads, and the names and reasons of missing ones.

    Args:
        table: Table of trials.
        within: Factor on the best result, at least 1, up to which results count as nearly as good.

    Raises:
        BadInputError: If the factor is below 1.
    """
    if not within >= 1:
        raise BadInputError(f"The factor on the best result must be at least 1, but got {within!r}.")
    found: list[Sensitivity] = []
    unsaid: list[str] = []
    without: list[str] = []
    for (row, column), trials in _cells(table).items():
        workload = table.benchmark.workloads[column]
        label = f"{table.submissions[row]} on {workload.name}"
        known = [(place, trial) for place, trial in trials if trial.record.get("hyperparameters")]
        without += [label] * (len(trials) - len(known))
        points = _points(table, known, workload)
        names = basins.varying([point.hyperparameters for point in points])
        if known and len(points) < 2:
            unsaid.append(
                f"{label}: all of {counted(len(known), 'trial')} are at one point, so nothing can be compared."
            )
        elif known:
            found.append(_sensitivity(table.submissions[row], workload, points, names, [t for _, t in known], within))
    if without:
        unsaid.append(f"{counted(len(without), 'trial')} without hyperparameters in the log: {some_of(without)}.")
    return found, unsaid


def _cells(table: TrialTable) -> dict[tuple[int, int], list[tuple[tuple[int, int, int, int], Trial]]]:
    cells: dict[tuple[int, int], list[tuple[tuple[int, int, int, int], Trial]]] = {}
    for place, trial in sorted(table.trials.items()):
        cells.setdefault(place[:2], []).append((place, trial))
    return cells


def _points(
    table: TrialTable, trials: Sequence[tuple[tuple[int, int, int, int], Trial]], workload: ScoredWorkload
) -> list[TriedPoint]:
    """Return the distinct points. Trials at the same point with different seeds are repeats; their median counts."""
    groups: dict[str, list[tuple[tuple[int, int, int, int], Trial]]] = {}
    for place, trial in trials:
        groups.setdefault(repr(sorted(trial.record["hyperparameters"].items())), []).append((place, trial))
    points = []
    for group in groups.values():
        results = np.array([table.times[place] for place, _ in group])
        best = np.array([_best(trial, workload) for _, trial in group])
        resolutions = np.array([table.resolutions[place] for place, _ in group])
        points.append(
            TriedPoint(
                hyperparameters=dict(group[0][1].record["hyperparameters"]),
                result=float(median_over_studies(results)),
                best=float(median_over_studies(best)),
                resolution=float(np.nanmax(resolutions)) if np.isfinite(resolutions).any() else np.nan,
                trials=len(group),
            )
        )
    return points


def _best(trial: Trial, workload: ScoredWorkload) -> float:
    values = trial.metrics.get(f"validation/{workload.metric}", np.array([]))
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.nan
    return float(finite.max() if workload.direction == "max" else finite.min())


def _sensitivity(
    submission: str,
    workload: ScoredWorkload,
    points: Sequence[TriedPoint],
    names: Sequence[str],
    trials: Sequence[Trial],
    within: float,
) -> Sensitivity:
    plan, notes = _plan(trials)
    numeric = [name for name in names if all(is_number(point.hyperparameters.get(name)) for point in points)]
    notes += [
        f"{name} is missing or no number in some trials, and is left out." for name in names if name not in numeric
    ]
    if plan is not None and plan.stop_hopeless:
        notes.append("Trials were ended early (--stop-hopeless) and count as missed: basins may be wider.")
    dimensions = tuple(dimension_of(name, points, len(names) == 1, plan, within) for name in numeric)
    if not any(np.isfinite(point.result) for point in points):
        notes.append("No trial reached the target, so no basin is known; the best validation values are shown instead.")
    elif few := [each.name for each in dimensions if each.basin is None]:
        notes.append(f"{some_of(few)}: fewer than {FEWEST} different values, so no width is known.")
    notes += [at_edge(each, len(points)) for each in dimensions if each.edge]
    coarse = [p.resolution / p.result for p in points if np.isfinite(p.result)]
    if coarse and min(coarse) > within - 1:
        notes.append(
            f"Evaluations are too far apart for a factor of {within:g}: the best result is known only to within "
            f"{min(coarse):.0%}. Widths mostly show when evaluations were made."
        )
    drawn_from, sample = _drawn_from(plan)
    return Sensitivity(
        submission=submission,
        workload=workload,
        trials=len(trials),
        points=len(points),
        reached=sum(bool(np.isfinite(point.result)) for point in points),
        drawn_from=drawn_from,
        sample=sample,
        dimensions=dimensions,
        notes=tuple(notes),
    )


def _plan(trials: Sequence[Trial]) -> tuple[Study | None, list[str]]:
    """Return the common plan of all trials, found by their folders; None if missing, or if search spaces differ."""
    folders = {Path(trial.source).parent for trial in trials}
    plans = [Study.read(folder) for folder in sorted(folders) if (folder / PLAN_FILE).is_file()]
    if len(plans) < len(folders):
        return None, []
    if len({repr((plan.search_space, plan.method)) for plan in plans}) > 1:
        return None, ["The studies were drawn from different search spaces; ranges are those of the values tried."]
    return plans[0], []


def _drawn_from(plan: Study | None) -> tuple[str, bool]:
    if plan is None:
        return "points tried, of an unknown search space", False
    if plan.method == SWEEP:
        return "octaves tried", False
    return ("search space", True) if isinstance(plan.search_space, Mapping) else ("points of the list", False)


def flat(found: Sequence[Sensitivity]) -> Iterator[tuple[Sensitivity, Dimension]]:
    """Yield each hyperparameter with its sensitivity."""
    for each in found:
        for dimension in each.dimensions:
            yield each, dimension
