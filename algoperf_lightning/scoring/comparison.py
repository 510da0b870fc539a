"""Comparison of two submissions: how much faster one is, how certain that is, and how many more runs would be needed.

The unit of comparison is that of the benchmark, a study with the time of its best trial; or, on request, single trials.
``docs/compare.md`` explains the numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.power import Design, evidence_per_study, observed_design, power, studies_needed
from algoperf_lightning.scoring.rank_tests import Sample, holm, stratified_test
from algoperf_lightning.scoring.ratios import Ratio, ratio_of
from algoperf_lightning.scoring.runs import counted, some_of
from algoperf_lightning.scoring.samples import RUNS, Gathered, Run, gather
from algoperf_lightning.spec import Unit
from algoperf_lightning.utilities.inputs import nearest_or_raise


@dataclass(frozen=True)
class Question:
    """Options of a comparison.

    Raises:
        BadInputError: If a number is out of range, or the unit of runs is unknown.
    """

    run: Run = "study"
    """Unit of runs: a ``study``, with its best trial, or each ``trial``."""
    level: float = 0.95
    """Confidence level of intervals; a difference is detected if its p-value is at most 1 - ``level``."""
    difference: float = 0.1
    """The difference for which the power is computed, as a share of the time."""
    power: float = 0.8
    """Probability of detecting it that planned studies should have."""
    seed: int = 0
    """Seed of the simulated runs for the power."""

    def __post_init__(self) -> None:
        if self.run not in RUNS:
            raise BadInputError(f"Unknown run {self.run!r}: expected one of {', '.join(RUNS)}.")
        for name in ("level", "difference", "power"):
            if not 0 < getattr(self, name) < 1:
                raise BadInputError(f"The {name} must be between 0 and 1, but got {getattr(self, name)}.")
        if self.seed < 0:
            raise BadInputError(f"The seed must not be negative, but got {self.seed}.")

    @property
    def alpha(self) -> float:
        """The largest p-value of a detected difference."""
        return 1 - self.level


@dataclass(frozen=True)
class Difference:
    """Estimated difference between two submissions, on a workload or over all."""

    ratio: Ratio
    p_value: float
    """Two-sided p-value; NaN if there is nothing to test."""
    corrected: float
    """p-value corrected by Holm's method: over the workloads or, for an overall p-value, over all pairs."""
    probability_faster: float
    """Probability that a run of the first is faster than one of the second, ties counting one half; over all: mean of
    the workloads on which a run reached the target. NaN if none did."""
    power: float
    """Probability that the given difference would have been detected with these runs; NaN if unknown."""
    more_studies: int | None
    """Number of additional runs of both, on each workload, for the required power; None if unknown."""


@dataclass(frozen=True)
class OnWorkload:
    """Two submissions on one workload."""

    gathered: Gathered
    difference: Difference
    evidence: float
    """Benefit of an hour of training: square of the standard score that it adds in the long run; NaN if unknown."""

    @property
    def workload(self) -> str:
        """Its name."""
        return self.gathered.workload

    @property
    def reached(self) -> tuple[int, int]:
        """Number of runs of each that reached the target."""
        sample = self.gathered.sample
        return int(np.isfinite(sample.first).sum()), int(np.isfinite(sample.second).sum())


@dataclass(frozen=True)
class Comparison:
    """Two submissions on the base workloads with runs of both."""

    first: str
    second: str
    unit: Unit
    question: Question
    workloads: tuple[OnWorkload, ...]
    overall: Difference
    notes: tuple[str, ...]
    """Remarks on the numbers."""

    def seen(self, *, faster: bool) -> list[str]:
        """Return the workloads on which the first is faster, or slower, after Holm's correction."""
        return [
            each.workload
            for each in self.workloads
            if each.difference.corrected <= self.question.alpha + 1e-12
            and (each.difference.probability_faster > 0.5) == faster
        ]


def compare(board: Leaderboard, first: str, second: str, question: Question | None = None) -> Comparison:
    """Compare two submissions of a leaderboard, on its base workloads, without the rules of the score.

    Args:
        board: The leaderboard with the runs of both; it defines how a study's best trial is chosen.
        first: A submission.
        second: Another submission.
        question: Options; by default studies, a level of 95 %, and a difference of 10 %.

    Raises:
        BadInputError: If a name is unknown, both are the same, or no workload has runs of both.
    """
    question = question or Question()
    for name in (first, second):
        nearest_or_raise("submission", name, dict.fromkeys(board.submissions))
    if first == second:
        raise BadInputError(f"Nothing to compare: {first!r} was given twice. Give two submissions.")
    names = [workload.name for workload in board.benchmark.base]
    found = {name: gather(board, (first, second), name, question.run) for name in names}
    gathered = [each for each in found.values() if each is not None]
    missing = [name for name, each in found.items() if each is None]
    if not gathered:
        raise BadInputError(
            f"{first} and {second} were not run on a common workload of {board.benchmark.name}, so there is nothing "
            "to compare. Give runs of both on the same workloads."
        )
    samples = [each.sample for each in gathered]
    designs = [observed_design(each.sample, each.resolution) for each in gathered]
    known = [design for design in designs if design is not None]
    differences, overall = _differences(samples, designs, known, question)
    evidence = [
        evidence_per_study(design, 1 - question.difference) / each.hours if design and each.hours else math.nan
        for design, each in zip(designs, gathered, strict=True)
    ]
    on = tuple(OnWorkload(*each) for each in zip(gathered, differences, evidence, strict=True))
    notes = tuple(_notes(on, missing, (first, second), question))
    return Comparison(first, second, board.measure.unit, question, on, overall, notes)


def _differences(
    samples: Sequence[Sample], designs: Sequence[Design | None], known: Sequence[Design], question: Question
) -> tuple[list[Difference], Difference]:
    ratio, alpha = 1 - question.difference, question.alpha
    alone, together = power(known, ratio, alpha, seed=question.seed)
    powers = iter(alone.tolist())
    p_values = [_p_value([sample]) for sample in samples]
    corrected = holm(np.array(p_values), independent=True).tolist()
    probabilities = [_probability(sample) for sample in samples]
    differences = []
    for sample, design, p_value, holms, probability in zip(
        samples, designs, p_values, corrected, probabilities, strict=True
    ):
        chance = math.nan if design is None else next(powers)
        more = None if design is None else studies_needed([design], ratio, alpha, question.power)
        ratio_here = ratio_of([sample], question.level)
        differences.append(Difference(ratio_here, p_value, holms, probability, chance, more))
    p_value = _p_value(samples)
    return differences, Difference(
        ratio=ratio_of(samples, question.level),
        p_value=p_value,
        corrected=p_value,
        probability_faster=_mean(probabilities),
        power=together if known else math.nan,
        more_studies=studies_needed(known, ratio, alpha, question.power) if known else None,
    )


def _p_value(samples: Sequence[Sample]) -> float:
    """Return the p-value, NaN if no run reached a target."""
    if not any(np.isfinite([*sample.first, *sample.second]).any() for sample in samples):
        return math.nan
    return stratified_test(samples).p_value


def _probability(sample: Sample) -> float:
    """Return the share of comparisons (of pairs, or of all) in which the first is faster; ties count one half.

    NaN if no run reached the target.
    """
    if not np.isfinite([*sample.first, *sample.second]).any():
        return math.nan
    first, second = sample.at(1.0)
    signs = np.sign(second - first) if sample.paired else np.sign(second[None, :] - first[:, None])
    return float((1 + signs.mean()) / 2)


def _mean(probabilities: Sequence[float]) -> float:
    known = [each for each in probabilities if not math.isnan(each)]
    return float(np.mean(known)) if known else math.nan


def compare_all(board: Leaderboard, question: Question | None = None) -> tuple[list[Comparison], list[str]]:
    """Compare all pairs of submissions, the better scored first; overall p-values are corrected for multiple tests.

    Args:
        board: The leaderboard.
        question: Options; by default studies, a level of 95 %, and a difference of 10 %.

    Returns:
        The comparisons, and remarks on pairs that cannot be compared.

    Raises:
        BadInputError: If there is only one submission, or no two have runs on a common workload.
    """
    if len(board.submissions) < 2:
        raise BadInputError(f"Nothing to compare: {board.submissions[0]} is the only submission. Give runs of two.")
    names = [board.submissions[row] for row in board.order]
    pairs, notes = [], []
    for one, other in itertools.combinations(names, 2):
        try:
            pairs.append(compare(board, one, other, question))
        except BadInputError as error:
            notes.append(str(error))
    if not pairs:
        raise BadInputError(notes[0])
    corrected = holm(np.array([pair.overall.p_value for pair in pairs])).tolist()
    return [
        dataclasses.replace(pair, overall=dataclasses.replace(pair.overall, corrected=value))
        for pair, value in zip(pairs, corrected, strict=True)
    ], notes


def _notes(
    workloads: Sequence[OnWorkload], missing: Sequence[str], names: tuple[str, str], question: Question
) -> Iterator[str]:
    """Yield remarks on limitations of the numbers."""
    if missing:
        yield f"Left out: {some_of(missing)}, where {names[0]} or {names[1]} has no run."
    if nobody := [each.workload for each in workloads if not any(each.reached)]:
        yield f"No run reached the target on {some_of(nobody)}, so these do not show which is faster."
    reasons: dict[str, list[str]] = {}
    for each in workloads:
        if each.gathered.unpaired:
            reasons.setdefault(each.gathered.unpaired, []).append(each.workload)
    for reason, unpaired in reasons.items():
        where = "all workloads" if len(unpaired) == len(workloads) else some_of(unpaired)
        yield f"Not paired on {where}: {reason}. The runs are compared as two groups."
    weak: dict[str, list[str]] = {}
    for each in workloads:
        sample = each.gathered.sample
        if 2 * sample.smallest > question.alpha + 1e-12:
            counts = f"{len(sample.first)} and {counted(len(sample.second), question.run)}"
            runs = counted(len(sample.first), f"paired {question.run}") if sample.paired else counts
            weak.setdefault(f"{runs} cannot give a p-value below {min(1.0, 2 * sample.smallest):.2g}", []).append(
                each.workload
            )
    for reason, named in weak.items():
        where = "each workload" if len(named) == len(workloads) else some_of(named)
        yield f"On {where} alone no difference can be significant at {question.alpha:.2g}: {reason}."
    for each in workloads:
        ratio, apart = each.difference.ratio, each.gathered.resolution
        found = f"the distance between two evaluations ({apart:.1%} of the time)"
        if abs(math.log(ratio.value)) < apart and each.difference.corrected < 1:  # False for NaN
            yield (
                f"On {each.workload} the times differ by less than {found}: which is faster there may depend on "
                "when the metric was evaluated."
            )
        elif ratio.level > 0 and ratio.low * (1 + apart) > ratio.high > 0:
            yield f"On {each.workload} the interval is narrower than {found}, so it looks more precise than it is."
    rough = [each.workload for each in workloads if math.isnan(each.difference.power) and any(each.reached)]
    if rough:
        yield f"Too few runs reached the target on {some_of(rough)} to estimate the spread, so no power is given there."
