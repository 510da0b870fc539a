"""The data of a run that rules read: the rows of its instruments, and its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from algoperf_lightning.records.instrument_rows import Row, read_rows, series
from algoperf_lightning.records.submission_log import read_log
from algoperf_lightning.records.trial import Status
from algoperf_lightning.result import TrialResult

FEWEST = 3
"""Minimum number of measured steps for a rule about the course of a run."""
FALLEN = 0.4
"""Below this share of the first loss at the end, a run went so well that clipping at every step is not a problem."""
_PEAK = 0.3
"""From this share of the largest learning rate on, a step shows whether it is too high or too low."""


@dataclass(frozen=True)
class Finding:
    """A likely problem of a run."""

    rule: str
    """Name of the rule."""
    sentence: str
    """Description of the problem."""
    evidence: str
    """The supporting numbers."""
    advice: str
    """What to try next."""

    def __str__(self) -> str:
        return f"{self.sentence} ({self.evidence}) {self.advice}"


@dataclass(frozen=True)
class Curve:
    """Values of a number at steps of a run, in order."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)

    def part(self, start: float, end: float) -> list[float]:
        """Return the finite values between two fractions of the curve's length; at least ``FEWEST`` if possible."""
        count = len(self.values)
        first = min(int(start * count), max(0, count - FEWEST))
        last = max(math.ceil(end * count), first + FEWEST)
        return [value for value in self.values[first:last] if math.isfinite(value)]


@dataclass(frozen=True)
class Evidence:
    """The known data of a run; unknown data are empty, and rules that need them report nothing.

    Args:
        rows: All rows, as returned by :func:`~algoperf_lightning.records.instrument_rows.read_rows`.
        batch_size: Examples in a global batch.
        losses: Training losses computed by the submission, or those of the rows if there are more, as in a short run,
            whose record has few.
        rates: Learning rates, the largest if groups differ; those of the rows if there are more.
        hyperparameters: Hyperparameters of the submission.
        measured: Names of the instruments that measured; empty if unknown.
        reached: Whether the run reached its target; None if unknown.
        ended: Whether the run has ended.
    """

    rows: Sequence[Row]
    batch_size: int | None = None
    losses: Curve = field(default_factory=Curve)
    rates: Curve = field(default_factory=Curve)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    measured: Sequence[str] = ()
    reached: bool | None = None
    ended: bool = True

    def __post_init__(self) -> None:
        for curve, name in (("losses", "loss"), ("rates", "learning_rate")):
            measured = Curve(*series(self.rows, name))
            if len(measured) > len(getattr(self, curve)):
                object.__setattr__(self, curve, measured)

    @classmethod
    def read(cls, folder: str | Path) -> Evidence:
        """Return the data of the trial in a folder, which may still run.

        Raises:
            RecordError: If there is no trial, or a file of it is damaged.
        """
        result = TrialResult.read(folder)
        log = read_log(Path(folder))
        losses = [(row.step, row.loss) for row in log if row.loss is not None]
        rates = [(row.step, max(row.learning_rates)) for row in log if row.learning_rates]
        return cls(
            read_rows(folder),
            result.batch_size,
            Curve([step for step, _ in losses], [loss for _, loss in losses]),
            Curve([step for step, _ in rates], [rate for _, rate in rates]),
            result.hyperparameters,
            result.environment.get("instruments", {}).get("measure", ()),
            None if result.validation_target is None else result.evaluation_at_target("validation") is not None,
            result.status is not Status.RUNNING,
        )

    # The training loss

    @cached_property
    def start(self) -> float:
        """Median of the first losses, or the very first one if the next ones exploded; NaN if there are none."""
        first = self.losses.part(0.0, 0.02)
        return min(first[0], _middle(first)) if first else math.nan

    @cached_property
    def end(self) -> float:
        """Median of the last tenth of the losses; NaN if there are none."""
        return _middle(self.losses.part(0.9, 1.0))

    @cached_property
    def left(self) -> float:
        """Share of the first loss that is left at the end, above the lower bound from label smoothing if known."""
        floor = self.median("loss_floor") if self.has("loss_floor") else 0.0
        above = self.start - floor
        return (self.end - floor) / above if above > 0 else math.nan

    @cached_property
    def losses_apart(self) -> int:
        """Steps between two known losses."""
        steps = self.losses.steps
        return min((later - step for step, later in pairwise(steps)), default=1)

    @property
    def warming_up(self) -> bool:
        """Whether the learning rate was still rising at the last known step."""
        rates = self.rates.values
        return len(rates) > 1 and rates[-1] >= max(rates) > max(rates[: len(rates) // 2 + 1])

    def rate_at(self, step: int) -> float:
        """Return the learning rate at a step, or at the last known step before it."""
        pairs = zip(self.rates.steps, self.rates.values, strict=True)
        return max((pair for pair in pairs if pair[0] <= step), default=(0, math.nan))[1]

    # Rows

    @cached_property
    def moving(self) -> list[Row]:
        """Rows of the steps that changed the parameters, without those at which a schedule is 0."""
        return [row for row in self.rows if row.get("learning_rate", 1.0) != 0.0 and row.get("update_size", 1.0) != 0.0]

    @cached_property
    def at_peak(self) -> list[Row]:
        """The :attr:`moving` rows near the largest learning rate: not early in the warm-up, nor late in the decay."""
        peak = max(self.rates.values, default=math.nan)
        return [row for row in self.moving if row["step"] and not row.get("learning_rate", peak) < _PEAK * peak]

    @property
    def untrained(self) -> float:
        """Share of the model's parameters that require no gradient, at the last measured step; 0 if unknown."""
        return next((float(row["untrained_share"]) for row in reversed(self.rows) if "untrained_share" in row), 0.0)

    def finite(self, name: str, rows: Sequence[Row] | None = None) -> list[float]:
        """Return the finite values of a number."""
        return [value for value in series(self.moving if rows is None else rows, name)[1] if math.isfinite(value)]

    def median(self, name: str, rows: Sequence[Row] | None = None) -> float:
        """Return the median of a number; NaN for too few values, so that every comparison is false."""
        values = self.finite(name, rows)
        return median(values) if len(values) >= FEWEST else math.nan

    def layers(self, name: str, holds: Callable[[list[float]], bool]) -> list[str]:
        """Return the layers whose values satisfy a condition, of those that were measured often enough."""
        by_layer: dict[str, list[float]] = {}
        for row in self.moving:
            for layer, value in (row.get(name) or {}).items():
                if math.isfinite(value):
                    by_layer.setdefault(layer, []).append(value)
        return [layer for layer, values in by_layer.items() if len(values) >= FEWEST and holds(values)]

    @property
    def relative_updates_by_layer(self) -> dict[str, list[float]]:
        """Sizes of all updates divided by the norm of the layer, or by its first norm if larger, by layer.

        Otherwise, weights that shrink towards 0 would make their updates appear large.
        """
        first: dict[str, float] = {}
        values: dict[str, list[float]] = {}
        for row in self.moving:
            sizes = row.get("update_sizes") or {}
            for layer, ratio in (row.get("update_ratios") or {}).items():
                norm = sizes.get(layer, math.nan) / ratio if ratio else math.nan
                shrunk = min(norm / first.setdefault(layer, norm), 1.0) if norm > 0.0 else 1.0
                if math.isfinite(ratio):
                    values.setdefault(layer, []).append(ratio * shrunk)
        return values

    def has(self, *names: str) -> bool:
        """Return whether any of the values was measured."""
        return any(name in row for row in self.rows for name in names)


def _middle(values: Sequence[float]) -> float:
    return median(values) if values else math.nan


def share(values: Sequence[float], holds: Callable[[float], bool]) -> float:
    """Return the share of values that satisfy a condition."""
    return sum(map(holds, values)) / len(values)


def listed(names: Sequence[str]) -> str:
    """Return names as text, at most three of them."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
