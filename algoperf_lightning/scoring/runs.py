"""A plain table of runs: one record per trial, with its evaluations as arrays; and the findings of the readers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.sizes import Size, size_of
from algoperf_lightning.spec import UNITS, Unit
from algoperf_lightning.utilities.inputs import check_positive, nearest_or_raise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """A remark for readers of a score."""

    kind: str
    """A short name: ``incomplete``, ``cut off``, ``mixed hardware``, ``assumed``, ..."""
    message: str
    strict: bool = True
    """Whether ``--strict`` refuses it; assumptions and ignored files are only shown."""
    about: tuple[tuple[str, str | None], ...] = ()
    """The affected submissions and workloads; None for every workload. Empty if it affects all runs."""

    def renamed(self, names: Mapping[str, str]) -> Finding:
        """Return this finding with other names of submissions."""
        about = tuple((names.get(submission, submission), workload) for submission, workload in self.about)
        return dataclasses.replace(self, about=about)


@dataclass(frozen=True)
class Price:
    """The assumed cost of a step, instead of measured seconds."""

    seconds: float
    """Seconds per step."""
    kind: str
    """``clean``: without the machine's noise; ``repriced``: on another machine."""


@dataclass(frozen=True, eq=False, repr=False)
class Trial:
    """One trial's evaluations and conditions."""

    submission: str
    study: str
    workload: str
    number: str
    """Name of the trial within its study: ``1``."""
    framework: str
    steps: Array
    """Training steps at each evaluation, shape ``(E,)``; NaN where unknown."""
    seconds: Array
    """Submission time at each evaluation in seconds, shape ``(E,)``, as it was measured."""
    metrics: Mapping[str, Array]
    """Every logged metric by ``split/name``, each of shape ``(E,)``; NaN for a value logged as NaN."""
    source: str
    """Its source: a folder, or a file and the lines in it."""
    version: str | None = None
    ruleset: str | None = None
    unit: Unit = "seconds"
    """Unit of its budget, and of its score."""
    scale: float = 1.0
    """Factor on the workload's seconds during the run, for machines slower than the benchmark's."""
    rescaled: bool = False
    """Whether times and budget are divided by the scale before they are compared."""
    made_in: Unit | None = None
    """Unit of its budget during the run, if it is scored in another unit."""
    price: Price | None = None
    """Price of steps, if its seconds are estimated."""
    board: str | None = None
    """Its board; None for the user's runs."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """``trial.json``, for runs of this library: hyperparameters, seed, hardware, target, budget, status. For official
    logs, their fields by the same names."""

    def __repr__(self) -> str:
        return f"Trial({self.label}: {counted(len(self.seconds), 'evaluation')})"

    @property
    def used(self) -> Array:
        """Scored seconds or steps before each evaluation, shape ``(E,)``."""
        if self.unit == "steps":
            return self.steps
        seconds = self.seconds if self.price is None else self.steps * self.price.seconds
        return seconds / self.scale if self.rescaled else seconds

    @property
    def budget_scale(self) -> float:
        """Remaining factor on the workload's seconds in ``used``."""
        return 1.0 if self.rescaled else self.scale

    @property
    def budget(self) -> float:
        """The budget of its record, in the unit of ``used``.

        Raises:
            KeyError: If its log does not contain it.
        """
        return float(self.record["budget"]) / (self.scale if self.rescaled else 1.0)

    @property
    def size(self) -> Size | None:
        """Its size, tiny also if only its data were; None for a result of the benchmark."""
        return "tiny" if self.record.get("tiny_data") else size_of(self.workload)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Submission, workload, study and trial, which identify it."""
        return (self.submission, self.workload, self.study, self.number)

    @property
    def label(self) -> str:
        """The key as text."""
        return f"{self.submission}, {self.workload}, study {self.study}, trial {self.number}"


@dataclass(repr=False)
class Runs:
    """Trials from one or several places, and the findings of their readers.

    Raises:
        BadInputError: On :meth:`check`, if a trial occurs twice, a time is not a number, or one workload of
            a submission was run in two frameworks.
    """

    trials: list[Trial] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def __repr__(self) -> str:
        submissions, workloads = ({getattr(each, of) for each in self.trials} for of in ("submission", "workload"))
        return (
            f"Runs({counted(len(self.trials), 'trial')} of {counted(len(submissions), 'submission')} on "
            f"{counted(len(workloads), 'workload')}, {counted(len(self.findings), 'finding')})"
        )

    def note(
        self, kind: str, message: str, *, strict: bool = True, about: Iterable[tuple[str, str | None]] = ()
    ) -> None:
        """Add a finding; ``about`` as in :class:`Finding`."""
        self.findings.append(Finding(kind, message, strict, tuple(dict.fromkeys(about))))

    @contextmanager
    def noting(self, submission: str, workload: str) -> Iterator[None]:
        """Assign the findings that are added in the block to a submission and a workload."""
        start = len(self.findings)
        yield
        self.findings[start:] = [
            each if each.about else dataclasses.replace(each, about=((submission, workload),))
            for each in self.findings[start:]
        ]

    def extend(self, other: Runs) -> None:
        """Add the trials and findings of other runs."""
        self.trials.extend(other.trials)
        self.findings.extend(other.findings)

    def rescale(self) -> None:
        """Divide times and budgets of runs on slower machines by their scales, to get comparable estimates."""
        self.trials = [
            trial if trial.scale == 1 else dataclasses.replace(trial, rescaled=True) for trial in self.trials
        ]

    def check(self) -> None:
        """Refuse runs that would make a score wrong, and note questionable ones.

        Versions and rulesets are checked separately: one table may contain the logs of several leaderboards.
        """
        groups: dict[tuple[str | None, str | None], Runs] = {}
        for trial in self.trials:
            groups.setdefault((trial.version, trial.ruleset), Runs()).trials.append(trial)
            self._check_times(trial)
        for group in groups.values():
            group.check_unique()

    def check_unique(self) -> None:
        """Refuse a trial that occurs twice, and a workload that a submission ran in two frameworks."""
        seen: dict[tuple[str, str, str, str], Trial] = {}
        frameworks: dict[tuple[str, str], Trial] = {}
        for trial in self.trials:
            other = seen.setdefault(trial.key, trial)
            if other is not trial:
                raise BadInputError(
                    f"Two logs claim to be {trial.label}: {other.source} and {trial.source}. "
                    "Remove one, or put them into different studies."
                )
            first = frameworks.setdefault((trial.submission, trial.workload), trial)
            if first.framework != trial.framework:
                raise BadInputError(
                    f"{trial.submission} was run on {trial.workload} in two frameworks, {first.framework} and "
                    f"{trial.framework} ({first.source}, {trial.source}), but a submission must use one. "
                    "Remove one of them."
                )

    def _check_times(self, trial: Trial) -> None:
        used, noun = trial.used, "time" if trial.unit == "seconds" else "step"
        bad = ~(np.isfinite(used) & (used >= 0))
        if bad.any():
            row = int(bad.argmax())
            raise BadInputError(
                f"{trial.source}: evaluation {row} of {trial.label} has the {noun} {used[row]:g}; "
                f"expected {trial.unit}, not negative. Remove the trial or repair the log."
            )
        with np.errstate(invalid="ignore"):
            back = np.flatnonzero(np.diff(used) < 0)
            twice = np.flatnonzero((np.diff(trial.seconds) == 0) & (np.diff(trial.steps) == 0))
        if back.size:
            row = int(back[0]) + 1
            self.note(
                f"{noun} runs backwards",
                f"{trial.label}: from {used[row - 1]:g} to {used[row]:g} {trial.unit} at evaluation {row} "
                f"({trial.source}). Evaluations are used in the order of the file.",
                about=[trial.key[:2]],
            )
        if twice.size:
            self.note(
                "evaluation repeated",
                f"{trial.label}: evaluation {int(twice[0]) + 1} has the step and time of the one before "
                f"({trial.source}). Evaluation numbers, which choose a study's best trial, are shifted.",
                about=[trial.key[:2]],
            )


def check_record(record: Mapping[str, Any]) -> None:
    """Refuse an invalid budget of a record.

    Raises:
        BadInputError: If the unit is unknown, or the scale or the budget is not a positive number.
    """
    nearest_or_raise("unit", str(record.get("unit", "seconds")), dict.fromkeys(UNITS))
    check_positive("scale", record.get("scale", 1.0))
    check_positive("budget", record.get("budget"))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key with which ``trial_10`` comes after ``trial_9``."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part)


def present(values: Iterable[str | None]) -> Sequence[str]:
    """Return the different known values, sorted."""
    return sorted({value for value in values if value is not None})


def some_of(names: Iterable[str], most: int = 6) -> str:
    """Return the different names, sorted; of many names the first ones and the number of others.

    Example:
        >>> some_of(["b", "a", "b"]), some_of("abc", most=2)
        ('a, b', 'a, b and 1 more')
    """
    listed = sorted(set(names), key=natural)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def counted(number: int, noun: str) -> str:
    """Return a number and its noun.

    Example:
        >>> counted(1, "study"), counted(3, "study"), counted(2, "trial")
        ('1 study', '3 studies', '2 trials')
    """
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"
