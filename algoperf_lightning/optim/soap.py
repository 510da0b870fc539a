"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.bases import basis_cost, first_bases
from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors
from algoperf_lightning.optim.matrices import orthonormal, outer, rotate
from algoperf_lightning.optim.sharding import Share, compute_here, sharing


class Soap(ForeachOptimizer):
    """Adam with the second moment computed in a slowly changing eigenbasis.

    Each axis of a tensor with two or more axes has a factor L with an orthonormal eigenbasis Q. With gradient g::

        at a parameter's first gradient: L = (1 - b2) g g^T along each axis, Q its eigenvectors; p stays
        then, R being the rotation of all axes by their Q:
        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) R(g)^2
        p <- p - lr * sqrt(1 - b2^t) / (1 - b1^t) * R^-1[R(m) / (sqrt(v) + eps)];  p <- p (1 - lr * weight_decay)
        L <- b2 L + (1 - b2) g g^T; every ``precondition_frequency`` steps Q by a power iteration and QR, v with it

    Tensors with fewer axes and axes longer than ``max_preconditioner_dim`` are not rotated.

    With ``shard``, each rank of data-parallel training computes its share of the bases and sends the results to the
    other ranks. Factors, bases and moments are replicated on all ranks, so a checkpoint can be loaded with any number
    of ranks.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Decoupled weight decay.
        precondition_frequency: Number of steps between updates of the bases.
        max_preconditioner_dim: Maximum length of a rotated axis.
        shard: Whether to shard the computation of the bases over the ranks. All ranks must then step together with the
            same gradients.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Vyas et al. 2025, https://arxiv.org/abs/2409.11321.
    """

    _share: Share = staticmethod(compute_here)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        precondition_frequency: int = 10,
        max_preconditioner_dim: int = 10_000,
        *,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        options = {"precondition_frequency": precondition_frequency, "max_preconditioner_dim": max_preconditioner_dim}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **options})
        self._share = sharing(shard, process_group)

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["precondition_frequency"] >= 1, options, "precondition_frequency", "be 1 or more")

    def init_state(self, parameter: Tensor) -> State:
        """Return zero-initialised moments. Factors and bases are added with the first gradient."""
        first = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        return {"step": 0, "exp_avg": first, "exp_avg_sq": torch.zeros_like(first), "factors": [], "bases": []}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        new = [(gradient, state) for gradient, state in zip(gradients, states, strict=True) if state["step"] == 0]
        for parameter, gradient, state in zip(parameters, gradients, states, strict=True):
            if state["step"]:
                _adam(parameter, gradient, state, group)
                _move_factors(gradient, state, group)
        for gradient, state in new:
            _init_factors(gradient, state, group)
        first_bases([state for _, state in new], self._share)
        frequency = group["precondition_frequency"]
        _turn_bases([state for state in states if state["step"] and state["step"] % frequency == 0], self._share)
        for state in states:
            state["step"] += 1


def _init_factors(gradient: Tensor, state: State, group: Group) -> None:
    for axis, size in enumerate(gradient.shape if gradient.ndim >= 2 else ()):
        rotated = size <= group["max_preconditioner_dim"]
        # Missing factors are empty matrices: safely loadable checkpoints contain only plain types and tensors.
        factor = outer(gradient, axis) * (1 - group["betas"][1]) if rotated else gradient.new_empty(0, 0)
        state["factors"].append(factor)


def _adam(parameter: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    (beta1, beta2), step = group["betas"], state["step"]
    state["exp_avg"].lerp_(gradient, 1 - beta1)
    rotated = rotate(gradient, state["bases"])
    state["exp_avg_sq"].mul_(beta2).addcmul_(rotated, rotated, value=1 - beta2)
    direction = rotate(state["exp_avg"], state["bases"]) / (state["exp_avg_sq"].sqrt() + group["eps"])
    size = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
    parameter.add_(rotate(direction, [basis.mT for basis in state["bases"]]), alpha=-size)
    parameter.mul_(1 - group["lr"] * group["weight_decay"])


def _move_factors(gradient: Tensor, state: State, group: Group) -> None:
    for axis, factor in enumerate(state["factors"]):
        if factor.numel():
            factor.lerp_(outer(gradient, axis), 1 - group["betas"][1])


def _turn_bases(states: list[State], share: Share) -> None:
    """Update the bases by one power iteration and QR, sorted by the eigenvalues estimated with the old bases."""
    tasks = [(state, axis) for state in states for axis, factor in enumerate(state["factors"]) if factor.numel()]
    bases = [state["bases"][axis] for state, axis in tasks]

    def compute(numbers: Sequence[int]) -> Tensors:
        return [_turned(state["factors"][axis], state["bases"][axis]) for state, axis in (tasks[n] for n in numbers)]

    like = [basis.new_empty(1).expand(len(basis) + 1, len(basis)) for basis in bases]
    found = share(compute, [basis_cost(basis) for basis in bases], like)
    for (state, axis), basis, result in zip(tasks, bases, found, strict=True):
        state["exp_avg_sq"] = state["exp_avg_sq"].index_select(axis, result[-1].long())
        basis.copy_(result[:-1])


def _turned(factor: Tensor, basis: Tensor) -> Tensor:
    """Return the new basis with the old index of each column appended as a row, ``(size + 1, size)``."""
    product = factor @ basis
    order = (basis * product).sum(0).argsort(descending=True)
    return torch.cat([orthonormal(product.index_select(1, order)), order[None].to(basis.dtype)])
