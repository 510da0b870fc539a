"""From runs to scores, with the reason for every cell of every table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import COARSE
from algoperf_lightning.scoring import mathematics
from algoperf_lightning.scoring.benchmarks import TINY_SUITE, Benchmark
from algoperf_lightning.scoring.checks import check_comparable, check_complete, refuse_if_strict
from algoperf_lightning.scoring.mathematics import MODES, Mode
from algoperf_lightning.scoring.measure import INTERPOLATED, Measure, digits, settle
from algoperf_lightning.scoring.runs import Finding, Runs, Trial, counted, some_of
from algoperf_lightning.scoring.table import TrialTable, tabulate
from algoperf_lightning.spec import nearest_or_raise

Array = NDArray[np.float64]

COUNTS = "counts"
REASONS = {
    COUNTS: "it counts",
    "no log": "no trial left an evaluation",
    "missed": "the target was missed in the median over studies",
    "4x": "more than {limit:g} times the fastest",
    "held-out missed": "the target of the held-out workload was missed",
    "held-out 4x": "on the held-out workload more than {limit:g} times the fastest",
    "held-out no log": "no trial on the held-out workload left an evaluation",
    "base missed": "a held-out workload does not count where the base target was missed",
}


@dataclass(frozen=True)
class StudyOutcome:
    """How one study ended on one workload."""

    study: str
    used: float
    """Seconds or steps of the best trial; ``inf`` if all missed."""
    resolution: float
    """How much earlier the winner's evaluation before was: the target was met between the two; NaN if all missed."""
    winner: Trial | None
    trials: int
    """How many left evaluations."""
    decides: bool
    """Whether this study is the median, or one of the two middle ones."""


@dataclass(frozen=True)
class Cell:
    """One submission on one workload: what it used, what became of it, and where it comes from."""

    submission: str
    workload: str
    used: float
    """Seconds or steps, median over studies, before any rule; ``inf`` missed, NaN no log."""
    resolution: float
    """How exactly ``used`` is known: how much earlier the evaluation before was; NaN where there is no time."""
    ratio: float
    """Over the fastest that counts; ``inf`` where it does not count, NaN for a held-out workload."""
    reason: str
    """A key of ``REASONS``."""
    studies: tuple[StudyOutcome, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Scores of a set of submissions, and everything they follow from. Rows are in the order of ``submissions``."""

    submissions: tuple[str, ...]
    benchmark: Benchmark
    """Its budgets are those of the machines that the runs were made on."""
    measure: Measure
    """What ``times`` and ``counted`` are in: seconds or steps."""
    mode: Mode
    table: TrialTable
    times: Array
    """Before any rule, shape ``(S, B + H)``; ``inf`` missed, NaN no log."""
    counted: Array
    """After the rules, shape ``(S, B)``."""
    ratios: Array
    """Over the fastest that counts, shape ``(S, B)``."""
    scores: Array
    """In [0, 1], shape ``(S,)``."""
    ranks: NDArray[np.intp]
    """1 is best, shape ``(S,)``."""
    baseline: str | None
    relative: Array | None
    """Times over the baseline's, without the rules, shape ``(S, B)``; None without a baseline."""
    cells: dict[tuple[str, str], Cell]
    """By submission and workload."""
    findings: tuple[Finding, ...]

    @property
    def order(self) -> list[int]:
        """Rows from the best score to the worst; equal scores by name."""
        return sorted(range(len(self.submissions)), key=lambda row: (self.ranks[row], self.submissions[row]))

    @property
    def speedups(self) -> Array | None:
        """Geometric mean of the times over the baseline's, shape ``(S,)``; NaN where a workload has no log."""
        return None if self.relative is None else mathematics.geometric_mean(self.relative)

    @property
    def title(self) -> str:
        """What the scores are of. Those in steps or of tiny runs are none of AlgoPerf's, and it says so."""
        name, steps = self.benchmark.name, self.measure.unit == "steps"
        tiny = any(trial.tiny for trial in self.table.trials.values())
        caveats = ["with tiny runs"] * (tiny and name != TINY_SUITE) + ["in steps"] * steps
        if self.measure.rescaled or self.measure.interpolated:
            caveats.append(f"in {self.measure.name}")
        if tiny or steps or self.measure.interpolated or (self.benchmark.part and "AlgoPerf" in name):
            caveats.append("not AlgoPerf scores")
            name = f"workloads of {name}" if name.startswith("AlgoPerf ") else name
        return ", ".join([name, *caveats])


def score_times(times: Array, benchmark: Benchmark) -> tuple[Array, Array, Array]:
    """Return the times that count, their ratios, and the scores.

    Args:
        times: Seconds or steps, shape ``(..., S, B + H)``: medians over studies on base, then held-out workloads.
        benchmark: With ``B`` base and ``H`` held-out workloads.

    Returns:
        Times ``(..., S, B)``, ratios ``(..., S, B)``, scores ``(..., S)``.
    """
    split = len(benchmark.base)
    counted = mathematics.disqualify(times[..., :split], times[..., split:], benchmark.base_of, benchmark.limit)
    ratios = mathematics.time_ratios(counted)
    return counted, ratios, mathematics.benchmark_score(ratios, benchmark.taus)


def score_runs(
    runs: Runs,
    benchmark: Benchmark,
    mode: Mode = "published",
    baseline: str | None = None,
    strict: bool = False,
    *,
    interpolate: bool = False,
) -> Leaderboard:
    """Score the submissions in ``runs`` against each other.

    Args:
        runs: As read; their findings are passed on.
        benchmark: Workloads and rules.
        mode: How a study's best trial is chosen: ``published`` as the official code does, ``rules`` as the rules say.
        baseline: Submission that speedups refer to; without it one named ``baseline`` if there is one.
        strict: Whether to refuse incomplete or questionable sets.
        interpolate: Whether to take as a time where the line between two evaluations crosses the target, instead of the
            evaluation that met it. Then the scores are estimates, and none of AlgoPerf's.

    Raises:
        BadInputError: If the runs cannot be scored, some count seconds and others steps, the runs of one workload have
            different scales (``Runs.rescale`` makes them comparable), the baseline is unknown, or ``strict`` finds
            something.
    """
    if mode not in MODES:
        raise BadInputError(f"Unknown mode {mode!r}: expected one of {', '.join(MODES)}.")
    runs = Runs(list(runs.trials), list(runs.findings))
    runs.check_unique()
    table, measure = settle(tabulate(runs, benchmark, interpolate), runs)
    if interpolate:
        measure = dataclasses.replace(measure, interpolated=True)
        runs.note("interpolated", f"Times are {INTERPOLATED}, in a straight line: nobody measured them.")
    benchmark = table.benchmark
    check_complete(table, runs)
    check_comparable(table, runs)
    times = mathematics.median_over_studies(table.study_times(mode))
    counted, ratios, scores = score_times(times, benchmark)
    if baseline is not None:
        nearest_or_raise("baseline", baseline, dict.fromkeys(table.submissions))
    elif "baseline" in table.submissions:
        baseline = "baseline"
    relative = None
    if baseline is not None:
        base = times[:, : len(benchmark.base)]
        budgets = benchmark.budgets[: len(benchmark.base)]
        relative = mathematics.relative_times(base, base[table.submissions.index(baseline)], budgets)
    cells = _cells(table, times, counted, ratios, mode)
    _note_over_budget(cells, benchmark, measure, runs)
    _note_coarse(cells, measure, runs)
    _note_few_studies(cells, benchmark, runs)
    refuse_if_strict(runs.findings, strict)
    return Leaderboard(
        submissions=table.submissions,
        benchmark=benchmark,
        measure=measure,
        mode=mode,
        table=table,
        times=times,
        counted=counted,
        ratios=ratios,
        scores=scores,
        ranks=mathematics.ranks(scores),
        baseline=baseline,
        relative=relative,
        cells=cells,
        findings=tuple(runs.findings),
    )


def _cells(table: TrialTable, times: Array, counted: Array, ratios: Array, mode: Mode) -> dict[tuple[str, str], Cell]:
    benchmark, split = table.benchmark, len(table.benchmark.base)
    gated = mathematics.gate_held_out(times[:, :split], times[:, split:], benchmark.base_of)
    kept = np.concatenate(
        [mathematics.drop_slow(times[:, :split], benchmark.limit), mathematics.drop_slow(gated, benchmark.limit)],
        axis=1,
    )
    study_times = table.study_times(mode)
    cells = {}
    for row, submission in enumerate(table.submissions):
        own = [_own_reason(times[row, column], kept[row, column]) for column in range(times.shape[1])]
        for column, base in enumerate(benchmark.base_of, start=split):
            if own[column] == "4x" and not np.isfinite(times[row, base]):
                own[column] = "base missed"
        reasons = list(own)
        for column, base in enumerate(benchmark.base_of, start=split):
            if own[base] == COUNTS and own[column] != COUNTS:
                reasons[base] = f"held-out {own[column]}"
        for column, workload in enumerate(benchmark.workloads):
            studies = _studies(table, study_times, row, column, mode)
            deciding = [study.resolution for study in studies if study.decides]
            cells[submission, workload.name] = Cell(
                submission=submission,
                workload=workload.name,
                used=float(times[row, column]),
                resolution=float(np.mean(deciding)) if np.isfinite(times[row, column]) else np.nan,
                ratio=float(ratios[row, column]) if column < split else np.nan,
                reason=reasons[column],
                studies=studies,
            )
    return cells


def _own_reason(time: float, kept: float) -> str:
    if np.isnan(time):
        return "no log"
    if np.isinf(time):
        return "missed"
    return COUNTS if np.isfinite(kept) else "4x"


def _studies(table: TrialTable, study_times: Array, row: int, column: int, mode: Mode) -> tuple[StudyOutcome, ...]:
    names: Sequence[str] = table.studies.get((row, column), ())
    times = study_times[row, column, : len(names)]
    order = np.argsort(times, kind="stable").tolist()
    middle = {order[(len(order) - 1) // 2], order[len(order) // 2]} if order else set()
    outcomes = []
    for k, name in enumerate(names):
        place = table.winner(row, column, k, mode)
        outcomes.append(
            StudyOutcome(
                study=name,
                used=float(times[k]),
                resolution=np.nan if place is None else float(table.resolutions[row, column, k, place]),
                winner=None if place is None else table.trials[row, column, k, place],
                trials=int((~np.isnan(table.times[row, column, k])).sum()),
                decides=k in middle,
            )
        )
    return tuple(outcomes)


def _note_over_budget(cells: dict[tuple[str, str], Cell], benchmark: Benchmark, measure: Measure, runs: Runs) -> None:
    budgets = dict(zip([workload.name for workload in benchmark.workloads], benchmark.budgets.tolist(), strict=True))
    for cell in cells.values():
        for study in cell.studies:
            if study.winner is not None and study.used > budgets[cell.workload]:
                runs.note(
                    "over budget",
                    f"{study.winner.label} reached its target at {study.used:g} {measure.unit}, after the budget of "
                    f"{budgets[cell.workload]:g}. It counts: budgets are enforced when a run is made, not here.",
                    strict=False,
                )


def _note_coarse(cells: dict[tuple[str, str], Cell], measure: Measure, runs: Runs) -> None:
    """Note the times of which the last step between evaluations is a large part: they hardly measure anything."""
    coarse = [cell for cell in cells.values() if cell.resolution > COARSE * cell.used]
    if coarse:
        times = some_of(f"{c.submission} on {c.workload} {digits(c.used)} -{digits(c.resolution)}" for c in coarse)
        runs.note(
            "coarse",
            f"The target was reached within the first evaluations, so that times tell little: {times} {measure.unit} "
            "(behind the minus: how much earlier the evaluation before was). Evaluate more often.",
        )


def _note_few_studies(cells: dict[tuple[str, str], Cell], benchmark: Benchmark, runs: Runs) -> None:
    """Note the times that would be missed targets if studies without a log counted as missed."""
    needed = benchmark.studies // 2 + 1
    few: dict[str, list[str]] = {}
    for cell in cells.values():
        reached = sum(np.isfinite(study.used) for study in cell.studies)
        if np.isfinite(cell.used) and reached < needed:
            few.setdefault(cell.submission, []).append(f"{cell.workload} ({reached})")
    for submission, workloads in few.items():
        runs.note(
            "few studies",
            f"{submission} has a time where no more than half of {counted(benchmark.studies, 'study')} reached the "
            f"target: {some_of(workloads)}. As in the published scores, the median is over the studies with a log.",
        )
