"""Computes scores from runs, with the reason for every cell of every table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import mathematics
from algoperf_lightning.scoring.benchmarks import Benchmark
from algoperf_lightning.scoring.cells import Cells, explain_cells
from algoperf_lightning.scoring.checks import check_comparable, check_complete, check_times, refuse_if_strict
from algoperf_lightning.scoring.cost import note_unsteady
from algoperf_lightning.scoring.mathematics import MODES, Mode, Rows
from algoperf_lightning.scoring.measure import INTERPOLATED, Measure, settle
from algoperf_lightning.scoring.reference import check_own, note_beside_board, reference_rows
from algoperf_lightning.scoring.runs import Finding, Runs, present
from algoperf_lightning.scoring.table import TrialTable, tabulate
from algoperf_lightning.sizes import SIZES
from algoperf_lightning.utilities.inputs import nearest_or_raise

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Leaderboard:
    """Scores of a set of submissions, and all intermediate results. Rows are in the order of ``submissions``."""

    submissions: tuple[str, ...]
    benchmark: Benchmark
    """The benchmark, with the budgets of the machines on which the runs were made."""
    measure: Measure
    """Unit of ``times`` and ``counted``: seconds or steps."""
    mode: Mode
    table: TrialTable
    times: Array
    """Times before any rule, shape ``(S, B + H)``; ``inf`` missed, NaN no log."""
    counted: Array
    """Times after the rules, shape ``(S, B)``."""
    ratios: Array
    """Times divided by the fastest that counts, shape ``(S, B)``."""
    scores: Array
    """In [0, 1], shape ``(S,)``."""
    ranks: NDArray[np.intp]
    """1 is best, shape ``(S,)``."""
    baseline: str | None
    relative: Array | None
    """Times divided by the baseline's, without the rules, shape ``(S, B)``; None without a baseline."""
    cells: Cells
    """By submission and workload."""
    findings: tuple[Finding, ...]
    reference: Rows | None = None
    """The submissions of the board against which the others are scored, shape ``(S,)``: only their times define the
    fastest ones. None if all are scored against each other."""

    def __repr__(self) -> str:
        rows = (f"\n  {self.ranks[row]}  {self.scores[row]:.4f}  {self.submissions[row]}" for row in self.order)
        return f"Leaderboard({self.title}{''.join(rows)})"

    @property
    def order(self) -> list[int]:
        """Rows from the best score to the worst; equal scores by name."""
        return sorted(range(len(self.submissions)), key=lambda row: (self.ranks[row], self.submissions[row]))

    @property
    def speedups(self) -> Array | None:
        """Geometric mean of times divided by the baseline's, shape ``(S,)``; NaN if a workload has no log."""
        return None if self.relative is None else mathematics.geometric_mean(self.relative)

    @property
    def title(self) -> str:
        """Title of the scores, which shows if they are not AlgoPerf scores: in steps, or of runs at a smaller size."""
        name, steps = self.benchmark.name, self.measure.unit == "steps"
        found = {trial.size for trial in self.table.trials.values()}
        sizes = [size for size in SIZES if size in found]
        caveats = [f"with {size} runs" for size in sizes if name != f"{size} suite"] + ["in steps"] * steps
        if self.measure.rescaled or self.measure.interpolated or self.measure.estimate:
            caveats.append(f"in {self.measure.name}")
        part = self.benchmark.part and "AlgoPerf" in name
        if sizes or steps or part or self.measure.interpolated or self.measure.estimate:
            caveats.append("not AlgoPerf scores")
            name = f"workloads of {name}" if name.startswith("AlgoPerf ") else name
        if self.reference is not None:
            boards = present(trial.board for trial in self.table.trials.values())
            name = f"{name}, against {' and '.join(boards)}"
        return ", ".join([name, *caveats])


def score_times(times: Array, benchmark: Benchmark, reference: Rows | None = None) -> tuple[Array, Array, Array]:
    """Return the times that count, their ratios, and the scores.

    Args:
        times: Seconds or steps, shape ``(..., S, B + H)``: medians over studies on base, then held-out workloads.
        benchmark: The benchmark with ``B`` base and ``H`` held-out workloads.
        reference: Submissions that define the fastest times, shape ``(S,)``; None for all.

    Returns:
        Times ``(..., S, B)``, ratios ``(..., S, B)``, scores ``(..., S)``.
    """
    split = len(benchmark.base)
    base, held_out = times[..., :split], times[..., split:]
    counted = mathematics.disqualify(base, held_out, benchmark.base_of, benchmark.limit, reference)
    ratios = mathematics.time_ratios(counted, reference)
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
    """Score the submissions in ``runs`` against each other, or own ones against those of a board.

    Args:
        runs: The runs; their findings are passed on. If some trials belong to a board and others do not, the board's
            submissions are the reference.
        benchmark: Workloads and rules.
        mode: How a study's best trial is chosen: ``published`` as in the official code, ``rules`` as in the rules.
        baseline: Reference submission of speedups. Default: the one named ``baseline``, if any.
        strict: Whether to refuse incomplete or questionable sets.
        interpolate: Whether to use the time at which the line between two evaluations crosses the target, instead of
            the evaluation that met it. Scores are then estimates, and not AlgoPerf scores.

    Raises:
        BadInputError: If the runs cannot be scored, some count seconds and others steps, the runs of one workload have
            different scales (``Runs.rescale`` makes them comparable), the baseline is unknown, or ``strict`` finds
            something.
    """
    if mode not in MODES:
        raise BadInputError(f"Unknown mode {mode!r}: expected one of {', '.join(MODES)}.")
    runs = Runs(list(runs.trials), list(runs.findings))
    runs.check_unique()
    check_own(runs, benchmark)
    table, measure = _checked_table(runs, benchmark, interpolate)
    benchmark = table.benchmark
    times = mathematics.median_over_studies(table.study_times(mode))
    reference = reference_rows(table)
    counted, ratios, scores = score_times(times, benchmark, reference)
    baseline = _settle_baseline(baseline, table.submissions)
    cells = explain_cells(table, times, ratios, mode, reference)
    check_times(cells, benchmark, measure, runs)
    if reference is not None:
        note_beside_board(table, cells, reference, runs)
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
        relative=_times_over(baseline, table, times),
        cells=cells,
        findings=tuple(sorted(runs.findings, key=_place)),
        reference=reference,
    )


def _checked_table(runs: Runs, benchmark: Benchmark, interpolate: bool) -> tuple[TrialTable, Measure]:
    """Return the table of the runs and its unit, and note what makes a comparison questionable."""
    table, measure = settle(tabulate(runs, benchmark, interpolate), runs)
    if interpolate:
        measure = dataclasses.replace(measure, interpolated=True)
        runs.note("interpolated", f"Times are {INTERPOLATED}, in a straight line: they are estimates.")
    check_complete(table, runs)
    check_comparable(table, runs)
    if measure.measured:
        note_unsteady(list(table.trials.values()), runs)
    return table, measure


def _settle_baseline(given: str | None, submissions: Sequence[str]) -> str | None:
    if given is not None:
        return nearest_or_raise("baseline", given, dict.fromkeys(submissions))
    return "baseline" if "baseline" in submissions else None


def _times_over(baseline: str | None, table: TrialTable, times: Array) -> Array | None:
    """Return the times on base workloads divided by the baseline's, shape ``(S, B)``; None without a baseline."""
    if baseline is None:
        return None
    split = len(table.benchmark.base)
    base, budgets = times[:, :split], table.benchmark.budgets[:split]
    return mathematics.relative_times(base, base[table.submissions.index(baseline)], budgets)


def _place(finding: Finding) -> int:
    """Return a sort key of findings: first those that affect scores, last assumptions."""
    first = ("changed record", "scaled", "rescaled", "unsteady", "counted otherwise", "other steps", "against a board")
    if finding.kind == "nothing counts":
        return -1
    if finding.kind in first or finding.kind.startswith("mixed "):
        return 0
    return 1 if finding.strict else 2 if finding.kind == "rule check" else 3
