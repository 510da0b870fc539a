"""A problem with parameters of all roles and with gradients that the checks can choose."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.data.parts import BatchParts
from algoperf_lightning.dropout import DropoutRates
from algoperf_lightning.objective import Objective
from algoperf_lightning.rng import derive_seed, forked_rng
from algoperf_lightning.spec import LossType, WorkloadSpec
from algoperf_lightning.training.submission_log import SubmissionLog
from algoperf_lightning.viewed import Loss

STEP_HINT = 12
"""Number of steps until the standard schedules end."""
EXAMPLES = 4
"""Number of examples in a global batch."""
CURVATURE = 0.3
"""Coefficient of the gradient component that depends on the parameters."""

EMBEDDING = "embedding.weight"
TWINS: Mapping[str, tuple[str, tuple[int, ...]]] = MappingProxyType(
    {
        "point_kernel.weight": ("hidden.weight", (0, 1)),
        "point_sequence.weight": ("hidden.weight", (0, 1)),
        "tall_kernel.weight": ("wide_kernel.weight", (0, 1, 3, 2)),
    }
)
"""Parameters with the same values as another parameter, with the order of its axes. Axes of length 1 may follow."""

SPEC = WorkloadSpec(
    name="contract",
    task="a linear loss with a quadratic term",
    loss_type=LossType.MEAN_SQUARED_ERROR,
    metric="loss",
    direction="min",
    validation_target=1e-6,
    test_target=None,
    budget=60.0,
    eval_period=1.0,
    step_hint=STEP_HINT,
    splits={"train": 8, "eval_train": 64, "validation": 64},
    batch_size=EXAMPLES,
    eval_batch_size=64,
)


class _Scale(nn.Module):
    """A parameter without axes."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))


def _modules() -> dict[str, nn.Module]:
    return {
        "convolution": nn.Conv2d(3, 4, (3, 2)),
        "wide_kernel": nn.Conv2d(2, 4, (1, 3), bias=False),
        "tall_kernel": nn.Conv2d(2, 4, (3, 1), bias=False),
        "point_kernel": nn.Conv2d(4, 6, 1, bias=False),
        "point_sequence": nn.Conv1d(4, 6, 1, bias=False),
        "embedding": nn.Embedding(7, 4),
        "attention": nn.MultiheadAttention(4, 2),
        "norm": nn.LayerNorm(4),
        "scale": _Scale(),
        "hidden": nn.Linear(4, 6),
        "head": nn.Linear(6, 3),
    }


class RolesNet(nn.Module):
    """A network with parameters of all roles and with zero to four axes. The outputs are linear in all parameters.

    Args:
        reverse: Whether to reverse the order of the parameters.
    """

    def __init__(self, *, reverse: bool = False) -> None:
        super().__init__()
        modules = list(_modules().items())
        for name, module in reversed(modules) if reverse else modules:
            self.add_module(name, module)

    def forward(self, directions: Tensor, names: Sequence[str], layouts: Collection[str] = ()) -> Tensor:
        """Return the inner products of parameters and directions, ``(B,)``.

        Args:
            directions: ``(B, P)``, for the elements of all parameters in use.
            names: Names of the parameters in use, in order.
            layouts: Names of tables with sparse gradient tensors.
        """
        parameters = dict(self.named_parameters())
        values = [
            F.embedding(torch.arange(len(parameters[name])), parameters[name], sparse=True)
            if name in layouts
            else parameters[name]
            for name in names
        ]
        return directions @ _flat(values)


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@dataclass(frozen=True)
class Problem:
    """Variant of the problem: precision, gradients, and transformation of the tensors."""

    dtype: torch.dtype = torch.float64
    reverse: bool = False
    absent: Callable[[int], Collection[str]] = lambda step: ()
    """Parameters without a gradient at a step; steps are counted from 0."""
    zero: tuple[str, ...] = ()
    """Parameters with zero gradients."""
    without_rows: tuple[str, ...] = ()
    """Parameters for which every second row of the gradient is 0."""
    sparse: tuple[str, ...] = ()
    """Tables with sparse gradient tensors."""
    turn: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor
    """Transformation of initial values and gradients."""
    scale: float = 1.0
    """Factor applied to the loss."""
    gradient_size: float = 1.0
    """Magnitude of the gradient component that is independent of the parameters. The other component scales with it."""


class Stage(Objective, BatchParts):
    """Replacement for the workload behind a workload view, without a Trainer.

    Args:
        problem: Variant of the problem.
        names: Names of the parameters to use; None means all.
        rank: Rank of this process.
        ranks: Number of ranks that share the batch.
    """

    spec = SPEC
    batch_size = EXAMPLES
    output_layer = "head"
    chooses_examples = False

    def __init__(self, problem: Problem, names: Collection[str] | None = None, rank: int = 0, ranks: int = 1) -> None:
        self.problem, self.rank, self.ranks = problem, rank, ranks
        self.submission_log = SubmissionLog()
        self.step = 0
        with forked_rng(0):
            self._network = RolesNet(reverse=problem.reverse)
        self.names = [name for name, _ in self._network.named_parameters() if names is None or name in names]
        self._network.to(problem.dtype)
        named = self._network.named_parameters()
        self._by_name = sorted((name, p) for name, p in named if name in self.names)
        with torch.no_grad():
            for name, parameter in self._network.named_parameters():
                parameter.copy_(problem.turn(name, _twin_values(name, tuple(parameter.shape), -1)[0] / 2))

    @property
    def network(self) -> nn.Module:
        """The model."""
        return self._network

    @property
    def dropout_rates(self) -> DropoutRates:
        """Dropout rates of the model, which has no dropout."""
        return DropoutRates(self._network, None)

    def step_seed(self) -> int:
        """Return a seed that is identical on all ranks and different at each step."""
        return derive_seed(0, "step", self.step)

    def batch(self, number: int) -> Batch:
        """Return the share of this rank in a global batch: ``inputs``, the gradients of all examples, ``(B, P)``."""
        share = slice(self.rank * EXAMPLES // self.ranks, (self.rank + 1) * EXAMPLES // self.ranks)
        inputs = _rows(self.problem, tuple((name, tuple(p.shape)) for name, p in self._sorted()), number)[share]
        return {"inputs": inputs, "targets": torch.zeros(len(inputs), dtype=torch.int64)}

    def outputs(self, batch: Batch) -> Tensor:
        """Return the inner products of parameters and gradients, ``(B,)``."""
        absent, inputs = self.problem.absent(self.step), batch["inputs"]
        used = [name for name, _ in self._sorted() if name not in absent]
        if absent:
            columns = inputs.split([p.numel() for _, p in self._sorted()], 1)
            inputs = torch.cat([c for c, (name, _) in zip(columns, self._sorted(), strict=True) if name in used], 1)
        outputs: Tensor = self._network(inputs, used, self.problem.sparse)
        return outputs

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the outputs."""
        return Loss(outputs if self.problem.scale == 1.0 else outputs * self.problem.scale)

    def regularization(self) -> Tensor | None:
        """Return half the sum of squared parameters, multiplied by the curvature."""
        left_out = {*self.problem.absent(self.step), *self.problem.zero, *self.problem.without_rows}
        left_out |= set(self.problem.sparse)
        curved = [p for name, p in self._sorted() if name not in left_out]
        if not curved:
            return None
        return _flat(curved).square().sum() * (self.problem.scale * self.problem.gradient_size * CURVATURE / 2)

    def run_as_in_training(self, batch: Batch) -> None:
        """Run the model on a batch."""
        self.loss(batch)

    def _sorted(self) -> list[tuple[str, nn.Parameter]]:
        return self._by_name


@lru_cache(maxsize=256)
def _rows(problem: Problem, shapes: tuple[tuple[str, tuple[int, ...]], ...], number: int) -> Tensor:
    """Return the gradients of all examples of a global batch, ``(EXAMPLES, P)``."""
    rows = []
    for name, shape in shapes:
        gradient = _twin_values(name, shape, number)
        if name in problem.zero:
            gradient = torch.zeros_like(gradient)
        if name in problem.without_rows:
            gradient = gradient.clone()
            gradient[:, ::2] = 0
        turned = torch.stack([problem.turn(name, each) for each in gradient])
        rows.append(turned.reshape(EXAMPLES, -1) * problem.gradient_size)
    return torch.cat(rows, 1).to(problem.dtype)


def _twin_values(name: str, shape: tuple[int, ...], number: int) -> Tensor:
    """Return normally distributed values ``(EXAMPLES, *shape)`` for a parameter. Twins get the same values."""
    if name not in TWINS:
        return _values(name, shape, number)
    other, axes = TWINS[name]
    shape_of_other = [0] * len(axes)
    for place, axis in enumerate(axes):
        shape_of_other[axis] = shape[place]
    values = _values(other, tuple(shape_of_other), number)
    return values.permute(0, *(axis + 1 for axis in axes)).reshape(EXAMPLES, *shape)


@lru_cache(maxsize=4096)
def _values(name: str, shape: tuple[int, ...], number: int) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name}/{number}".encode()))
    return torch.randn((EXAMPLES, *shape), generator=generator, dtype=torch.float64)
