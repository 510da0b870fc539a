"""The measure in which runs are compared: seconds or steps, and the machine of the seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.runs import Runs, Trial, some_of
from algoperf_lightning.scoring.table import TrialTable
from algoperf_lightning.spec import Unit

INTERPOLATED = "interpolated between evaluations"
ESTIMATES = {"clean": "without the machine's noise, estimated", "repriced": "of another machine, estimated"}
"""Descriptions of estimated seconds, by the kind of the price of steps."""


@dataclass(frozen=True)
class Measure:
    """The measure of a leaderboard's numbers, with its descriptions."""

    unit: Unit = "seconds"
    rescaled: bool = False
    """Whether seconds were divided by the scale of their machine."""
    interpolated: bool = False
    """Whether times are those at which the line between two evaluations crosses the target."""
    estimate: str = ""
    """A key of ``ESTIMATES`` if seconds are steps times a price; empty if they were measured."""

    @property
    def measured(self) -> bool:
        """Whether the numbers are measured seconds, at evaluations or between them."""
        return self.unit == "seconds" and not self.rescaled and not self.estimate

    @property
    def name(self) -> str:
        """The unit in full: ``seconds``, ``steps``, or a description of rescaled and estimated seconds."""
        name = f"{self.unit} of the benchmark's hardware, estimated" if self.rescaled else self.unit
        name = f"{name} {ESTIMATES[self.estimate]}" if self.estimate else name
        return f"{name}, {INTERPOLATED}" if self.interpolated else name

    @property
    def heading(self) -> str:
        """Title of a table: ``Seconds to target``, ``Steps to target``."""
        estimated = ", estimated for the benchmark's hardware" if self.rescaled else ""
        estimated += f", {ESTIMATES[self.estimate]}" if self.estimate else ""
        interpolated = f", {INTERPOLATED}" if self.interpolated else ""
        return f"{self.unit.capitalize()} to target{estimated}{interpolated}"

    @property
    def column(self) -> str:
        """The unit as the name of a CSV column."""
        estimated = f"{self.estimate}_" if self.estimate else ""
        return "interpolated_" * self.interpolated + "rescaled_" * self.rescaled + estimated + self.unit

    @property
    def noun(self) -> str:
        """The used quantity: ``time`` or ``steps``."""
        return "time" if self.unit == "seconds" else "steps"

    def text(self, value: float) -> str:
        """Return a number with its unit: ``5,043 s``, ``120 steps``."""
        return f"{digits(value)} {'s' if self.unit == 'seconds' else 'steps'}"


def digits(value: float) -> str:
    """Return a number as text: ``5,043``, ``3.14``."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def resolved(value: float, resolution: float) -> str:
    """Return a number and the distance from the previous evaluation, with the same decimals: ``5,043 -120``.

    Example:
        >>> resolved(1321.4, 79.3), resolved(12.34, 0.5)
        ('1,321 -79', '12.3 -0.5')
    """
    earlier = f"{resolution:,.0f}" if value >= 100 and resolution >= 0.5 else digits(resolution)
    return f"{digits(value)} -{earlier}"


def one_unit(trials: Iterable[Trial]) -> Unit:
    """Return the unit of the budgets of all trials; seconds if there are no trials.

    Raises:
        BadInputError: If some count seconds and others steps.
    """
    groups: dict[Unit, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.unit, []).append(trial)
    if len(groups) > 1:
        lists = "; ".join(f"in {unit}: {_who(groups[unit])}" for unit in sorted(groups))
        raise BadInputError(
            f"Seconds and steps cannot be compared, and these runs contain both: {lists}. Score them separately: "
            "give only folders whose runs count the same; or score all by their steps: `algoperf score --unit steps`."
        )
    return next(iter(groups), "seconds")


def settle(table: TrialTable, runs: Runs) -> tuple[TrialTable, Measure]:
    """Return the benchmark with the budgets of the machines of its runs, and the measure.

    Raises:
        BadInputError: If the runs have different units, or another unit than the benchmark; or if the runs of one
            workload have different scales.
    """
    trials = list(table.trials.values())
    unit, benchmark = one_unit(trials), table.benchmark
    if unit != benchmark.unit:
        raise BadInputError(
            f"The budgets of {benchmark.name} are in {benchmark.unit}, but the runs count {unit}. Set `unit: {unit}` "
            "in the benchmark file, with budgets to match; from Python, get_benchmark(..., unit=...)."
        )
    scales = _scales(trials)
    if scaled := {name: scale for name, scale in scales.items() if scale != 1}:
        factors = ", ".join(f"{name} by {scale:g}" for name, scale in sorted(scaled.items()))
        _note_first(
            runs,
            "scaled",
            f"The machines were slower than the benchmark's: {factors}. Seconds and budgets are those of the machines. "
            "Scores are ratios and therefore comparable; seconds cannot be compared with those of other tables.",
            strict=False,
        )
    rescaled = [trial for trial in trials if trial.rescaled]
    if rescaled:
        factors = ", ".join(f"{scale:g}" for scale in sorted({trial.scale for trial in rescaled}))
        names = some_of({trial.workload for trial in rescaled})
        _note_first(
            runs,
            "rescaled",
            f"Times and budgets on {names} were divided by the scales of their machines ({factors}): they estimate "
            "seconds on the benchmark's hardware, and were not measured.",
        )
    table = dataclasses.replace(table, benchmark=benchmark.scaled(scaled))
    kinds = {trial.price.kind for trial in trials if trial.price is not None}
    return table, Measure(unit, bool(rescaled), estimate=next(iter(kinds), ""))


def _scales(trials: Iterable[Trial]) -> dict[str, float]:
    """Return the remaining factor on the seconds of each workload's runs."""
    groups: dict[str, dict[float, list[Trial]]] = {}
    for trial in trials:
        groups.setdefault(trial.workload, {}).setdefault(trial.budget_scale, []).append(trial)
    if mixed := sorted(name for name, group in groups.items() if len(group) > 1):
        lists = "; ".join(
            f"{name}: "
            + ", ".join(
                f"{scale:g} ({some_of({trial.submission for trial in group})})"
                for scale, group in sorted(groups[name].items())
            )
            for name in mixed
        )
        raise BadInputError(
            f"The runs of one workload must have one scale, but the scales are {lists}. Score the runs of each machine "
            "separately, or divide times and budgets by their scales with --rescale, which makes them estimates."
        )
    return {name: next(iter(group)) for name, group in groups.items()}


def _note_first(runs: Runs, kind: str, message: str, strict: bool = True) -> None:
    """Insert a finding as the first one, because the terminal shows only the first findings."""
    runs.note(kind, message, strict=strict)
    runs.findings.insert(0, runs.findings.pop())


def _who(trials: Sequence[Trial]) -> str:
    return f"{some_of({trial.submission for trial in trials})} on {some_of({trial.workload for trial in trials})}"
