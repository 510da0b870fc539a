"""The numbers of a workload, without importing torch.

Everything here imports in milliseconds, so that ``algoperf list`` can show every workload without loading a framework.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.sizes import Size
from algoperf_lightning.step_time import StepTime
from algoperf_lightning.utilities.inputs import check_positive, nearest_or_raise

LATEST_VERSION = "1.0"

Direction = Literal["min", "max"]
Ruleset = Literal["external", "self-tuning"]
Unit = Literal["seconds", "steps", "epochs"]
"""Unit of a budget: submission time, training steps, or passes over the training data."""
UNITS: tuple[Unit, ...] = get_args(Unit)
StopAt = Literal["validation", "both", "budget"]
"""End of a run: the validation target, validation and test target, or only its budget."""
CompiledPart = Literal["model", "loss"]
"""What the benchmark may compile."""


class LossType(StrEnum):
    """The losses of the benchmark. A training algorithm may distinguish them."""

    SOFTMAX_CROSS_ENTROPY = "softmax_cross_entropy"
    SIGMOID_CROSS_ENTROPY = "sigmoid_cross_entropy"
    MEAN_SQUARED_ERROR = "mean_squared_error"
    CTC = "ctc"
    MEAN_ABSOLUTE_ERROR = "mean_absolute_error"


@dataclass(frozen=True)
class BenchmarkVersion:
    """The settings of a version of the AlgoPerf rules for all workloads.

    Reference: the AlgoPerf benchmark documentation, section "Scoring"; Dahl et al. 2023,
    https://arxiv.org/abs/2306.07179.
    """

    self_tuning_factor: float
    """The self-tuning ruleset's budget as a multiple of the external-tuning budget."""
    studies: int
    """Independent repetitions on each workload; the score takes their median."""
    hardware: str
    """The machine for which its budgets are set."""
    matmul_precision: Literal["highest", "high", "medium"] | None = None
    """Argument of ``torch.set_float32_matmul_precision`` in its runs (``high``: TF32 on GPUs); None if not called."""
    dropout_may_change: bool = True
    """Whether a submission may train with another rate of dropout than the model was built with."""

    def budget_factor(self, ruleset: Ruleset) -> float:
        """Return the factor on a workload's budget under ``ruleset``, without unit."""
        factors: dict[str, float] = {"external": 1.0, "self-tuning": self.self_tuning_factor}
        return factors[nearest_or_raise("ruleset", ruleset, factors)]


TRIALS: Mapping[str, int] = MappingProxyType({"external": 5, "self-tuning": 1})
"""Trials in each study, by ruleset; all versions of the benchmark agree."""

BENCHMARK_VERSIONS: Mapping[str, BenchmarkVersion] = MappingProxyType(
    {
        "0.5": BenchmarkVersion(self_tuning_factor=3.0, studies=5, hardware="8 x V100 16 GB", dropout_may_change=False),
        "0.6": BenchmarkVersion(self_tuning_factor=1.5, studies=3, hardware="8 x V100 16 GB"),
        "1.0": BenchmarkVersion(self_tuning_factor=1.5, studies=3, hardware="4 x A100 40 GB", matmul_precision="high"),
    }
)


@dataclass(frozen=True)
class Variant:
    """A workload with changes to the model, its initialisation or its size, and with its own targets."""

    validation_target: float | None
    test_target: float | None
    model: Mapping[str, Any] = field(default_factory=dict)
    """Changed options of ``build_model``; read as ``self.spec.model``."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Changed options of the data module; read as ``self.spec.data``."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the spec that differ, for example the evaluation batch size."""


@dataclass(frozen=True, kw_only=True)
class WorkloadSpec:
    """The fixed numbers of a workload.

    Raises:
        BadInputError: If a budget, period, hint, size or target is not a positive finite number.
    """

    name: str
    task: str
    """A short description: "10-class image classification"."""
    loss_type: LossType
    metric: str
    """The target metric, as reported by the workload: ``accuracy``."""
    direction: Direction
    """``max`` if a higher metric is better, ``min`` if a lower one is."""
    metric_range: tuple[float | None, float | None] = (None, None)
    """The smallest and the largest value that the metric can have, None if unbounded. Other values mean damage."""
    validation_target: float | None
    """None if there is no target: a run then continues to the end of its budget."""
    test_target: float | None
    """None if the benchmark has no test target."""
    budget: float
    """Seconds of submission time under the external-tuning ruleset."""
    eval_period: float
    """Seconds of submission time from one evaluation to the next."""
    step_hint: int
    """Steps a good training algorithm may need at the default batch size; the usual horizon of a schedule."""
    epochs: int | None = None
    """Passes over the training data in a run whose budget counts epochs; None if the workload defines no number."""
    whole_batches: bool = False
    """Whether each pass over the training data ends with its last complete batch, and the rest is dropped."""
    splits: Mapping[str, int]
    """Examples in ``train``, ``eval_train`` (the part of train that is evaluated), ``validation``, ``test``."""
    batch_size: int
    """Global training batch size if the submission does not set one."""
    eval_batch_size: int
    """Global evaluation batch size, which a submission cannot change."""
    step_time: StepTime | None = None
    """Time of a training step with the default batch on the machine of the newest version; None if unknown."""
    compiled: tuple[CompiledPart, ...] = ()
    """What the benchmark's own runs compile."""
    cudnn_benchmark: bool = True
    """Whether they let cuDNN try its algorithms and keep the fastest."""
    dropout: float | None = None
    """Default dropout rate, None if the model has no dropout."""
    parameter_multiplier: float = 1.0
    """The model computes with this many times its parameters, so that learning rates of larger models fit; see
    :func:`~algoperf_lightning.multiplied.multiply_parameters`."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Options of the model that a variant or a smaller size changes."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Options of the data that a smaller size changes, for example the image size or the sequence length."""
    files: tuple[str, ...] = ()
    """Files required in the data directory; empty if the data are part of the package."""
    libraries: tuple[str, ...] = ()
    """Import names of the libraries that the workload needs and its package does not require: ``torch_geometric``."""
    extra: str = ""
    """Requirement for pip to install these libraries: ``algoperf-lightning[ogbg]``. Empty: the libraries by name."""
    variants: Mapping[str, Variant] = field(default_factory=dict)
    tiny: Variant | None = None
    """The workload at a size that a laptop trains in one or two minutes on its tiny data set: the same code, a smaller
    model, and its own targets. None if the workload itself is small."""
    small: Variant | None = None
    """The workload at a size for comparing algorithms on one machine: data with the difficulties of real data, more
    steps than ``tiny``, and its own targets. None if the workload has no such size."""
    versions: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    """For older benchmark versions: the fields with another value; None if the workload was not part of the version."""
    version: str = LATEST_VERSION
    variant: str | None = field(default=None)
    size: Size | None = None
    """``tiny`` or ``small``; None at full size."""

    def __post_init__(self) -> None:
        for name in ("budget", "eval_period", "step_hint", "batch_size", "eval_batch_size", "parameter_multiplier"):
            check_positive(f"{self.name}: {name}", getattr(self, name))
        for name in ("step_hint", "batch_size", "eval_batch_size"):
            if not isinstance(getattr(self, name), int):
                raise BadInputError(f"{self.name}: {name} must be an integer, but got {getattr(self, name)!r}.")
        for split, size in self.splits.items():
            check_positive(f"{self.name}: size of split {split!r}", size)
        for name in ("validation_target", "test_target", "epochs"):
            if getattr(self, name) is not None:
                check_positive(f"{self.name}: {name}", getattr(self, name))
        if self.direction not in ("min", "max"):
            raise BadInputError(f"{self.name}: direction must be 'min' or 'max', but got {self.direction!r}.")

    def of(
        self,
        *,
        version: str = LATEST_VERSION,
        variant: str | None = None,
        tiny: bool = False,
        small: bool = False,
    ) -> WorkloadSpec:
        """Return this workload for a benchmark version and a variant, at full, tiny or small size.

        Raises:
            BadInputError: If the version or the variant is unknown (the message suggests the most similar one), the
                workload was not part of that version, it does not have the size, or both sizes are given.
        """
        if self.version != LATEST_VERSION or self.variant is not None or self.size is not None:
            raise BadInputError(f"{self.full_name} is already a variant or version; derive from the spec of the class.")
        nearest_or_raise("benchmark version", version, BENCHMARK_VERSIONS)
        older = self.versions.get(version, {})
        if older is None:
            raise BadInputError(
                f"{self.name} is not a workload of AlgoPerf {version}. Choose from: {', '.join(self.known_versions)}."
            )
        spec = dataclasses.replace(self, version=version, **older)
        if variant is not None:
            row = spec.variants[nearest_or_raise(f"variant of {self.name}", variant, spec.variants)]
            spec = dataclasses.replace(spec, variant=variant, **spec._changed_by(row))
        if tiny and small:
            raise BadInputError(f"{self.name}: tiny and small are two sizes, but got both. Leave out one.")
        if tiny:
            if spec.tiny is None:
                raise BadInputError(f"{self.name} has no tiny form, because it is already small. Leave out tiny.")
            spec = dataclasses.replace(spec, size="tiny", **spec._changed_by(spec.tiny))
        if small:
            if spec.small is None:
                raise BadInputError(f"{self.name} has no small size. Leave out small.")
            spec = dataclasses.replace(spec, size="small", **spec._changed_by(spec.small))
        return spec

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes that this workload has besides the full one."""
        return tuple(size for size, form in (("tiny", self.tiny), ("small", self.small)) if form is not None)

    @property
    def is_tiny(self) -> bool:
        """Whether this is the tiny form."""
        return self.size == "tiny"

    def data_folder(self, data_dir: Path) -> Path:
        """Return the folder that :attr:`files` are relative to: ``data_dir``, or ``data_dir/small`` at small size."""
        return data_dir / "small" if self.size == "small" else data_dir

    def _changed_by(self, row: Variant) -> dict[str, Any]:
        return {
            "validation_target": row.validation_target,
            "test_target": row.test_target,
            "model": {**self.model, **row.model},
            "data": {**self.data, **row.data},
            **row.changes,
        }

    def allowance(
        self, ruleset: Ruleset = "external", unit: Unit = "seconds", scale: float = 1.0
    ) -> tuple[float, float]:
        """Return the budget of a trial and the time from one evaluation to the next, in ``unit``.

        In steps, the budget is the step hint, with as many evaluations as in a budget of seconds. In
        epochs, it is :attr:`epochs`, with an evaluation after each.

        Args:
            ruleset: Its factor is applied to the budget.
            unit: ``seconds``, ``steps`` or ``epochs``.
            scale: Factor on all seconds, for machines that are slower than the benchmark's; 1 for other units.

        Raises:
            BadInputError: If the ruleset or the unit is unknown, the scale is not positive, or not 1 for another unit
                than seconds, or if the unit is epochs and the workload does not define their number.
        """
        factor = BENCHMARK_VERSIONS[self.version].budget_factor(ruleset)
        nearest_or_raise("unit", unit, dict.fromkeys(UNITS))
        check_positive("scale", scale)
        if unit == "seconds":
            return self.budget * factor * scale, self.eval_period * scale
        if scale != 1.0:
            raise BadInputError(f"scale is {scale!r}, but {unit} are the same on every machine. Leave it out.")
        if unit == "epochs":
            if self.epochs is None:
                raise BadInputError(
                    f"{self.full_name} has no number of epochs. Pass a budget in epochs, or count seconds or steps."
                )
            return self.epochs * factor, 1.0
        period = max(1, round(self.step_hint * self.eval_period / self.budget))
        return float(round(self.step_hint * factor)), float(period)

    @property
    def reference_step(self) -> StepTime | None:
        """The time of a step on the version's machine; None if unknown.

        It is measured for the newest version. Older budgets were the time of the step hint, from which it follows.
        """
        if self.step_time is None or self.size is not None:
            return None
        return self.step_time if self.version == LATEST_VERSION else StepTime(self.budget / self.step_hint, "budget")

    @property
    def known_versions(self) -> tuple[str, ...]:
        """The benchmark versions that this workload is part of."""
        return tuple(version for version in BENCHMARK_VERSIONS if self.versions.get(version, {}) is not None)

    @property
    def full_name(self) -> str:
        """The benchmark's name for the workload and its variant: ``imagenet_vit_glu``; ``..._tiny`` at tiny size."""
        return "_".join([self.name, *filter(None, [self.variant, self.size])])


def meets_target(value: float, target: float, direction: Direction) -> bool:
    """Return whether a metric meets a target; inclusive, as in the benchmark's scoring, and never if it is not finite.

    Example:
        >>> meets_target(0.97, 0.97, "max"), meets_target(0.98, 0.97, "min"), meets_target(float("inf"), 1.0, "max")
        (True, False, False)
    """
    return math.isfinite(value) and (value >= target if direction == "max" else value <= target)


def is_better(value: float, than: float, direction: Direction) -> bool:
    """Return whether one metric value beats another; any number beats NaN."""
    if math.isnan(than):
        return not math.isnan(value)
    return value > than if direction == "max" else value < than
