"""Muon, with NadamW for parameters that are not matrices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, values_of
from algoperf_lightning.optim.nadamw import nadamw_state, nadamw_update

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Muon(ForeachOptimizer):
    """Orthogonalised momentum for matrices and NadamW for all else, in one optimizer.

    A group with ``orthogonal`` holds tensors of two axes or more, used as matrices of the first axis by the rest. With
    gradient g, momentum m and b the first of ``betas``::

        m <- b m + (1 - b) g;  u = b m + (1 - b) g (nesterov) or m
        p <- p - lr * [max(1, sqrt(size of axis 0 / size of axis 1)) orthogonal(u) + weight_decay p]

    where orthogonal(u) approximates U V^T of u = U S V^T by five Newton-Schulz iterations. Matrices of one shape are
    iterated together. Other groups are updated as by :class:`~algoperf_lightning.optim.NadamW`.

    ``torch.optim.Muon`` is the same on matrices, in bfloat16, and refuses all other tensors.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1); Muon uses the first.
        eps: Added to the root of NadamW's second moment.
        weight_decay: Decoupled weight decay.
        orthogonal: Whether a group is updated by Muon or by NadamW.
        nesterov: Whether Muon's momentum looks one step ahead.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.

    Raises:
        BadInputError: If an option is out of its range, or an orthogonal group holds a tensor of fewer than two axes.

    Reference: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        betas: tuple[float, float] = (0.95, 0.0),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        orthogonal: bool = True,
        nesterov: bool = True,
        newton_schulz_dtype: str = "float32",
    ) -> None:
        options = {"orthogonal": orthogonal, "nesterov": nesterov, "newton_schulz_dtype": newton_schulz_dtype}
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "fused": True, **options}
        super().__init__(params, defaults)
        for group in self.param_groups:
            flat = [tuple(p.shape) for p in group["params"] if group["orthogonal"] and p.ndim < 2]
            if flat:
                raise BadInputError(
                    f"{type(self).__name__}: an orthogonal group needs tensors of two axes or more, but got {flat}."
                )
        self._by_nadamw = {p for group in self.param_groups if not group["orthogonal"] for p in group["params"]}

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(
            options["newton_schulz_dtype"] in _DTYPES, options, "newton_schulz_dtype", f"be one of {', '.join(_DTYPES)}"
        )

    def init_state(self, parameter: Tensor) -> State:
        """Return a momentum of 0, or NadamW's moments."""
        if parameter in self._by_nadamw:
            return nadamw_state(parameter)
        return {"momentum_buffer": torch.zeros_like(parameter)}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Make a step."""
        if not group["orthogonal"]:
            nadamw_update(group, parameters, gradients, states)
            return
        keep = group["betas"][0]
        momenta = values_of(states, "momentum_buffer")
        torch._foreach_lerp_(momenta, gradients, 1 - keep)
        directions = torch._foreach_lerp(momenta, gradients, 1 - keep) if group["nesterov"] else momenta
        updates = _orthogonal_together(directions, _DTYPES[group["newton_schulz_dtype"]])
        torch._foreach_mul_(updates, [max(1.0, p.shape[0] / p.shape[1]) ** 0.5 for p in parameters])
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])


def _orthogonal_together(directions: Iterable[Tensor], dtype: torch.dtype) -> Tensors:
    """Return the orthogonal matrix of each tensor, in its shape and dtype; matrices of one shape are one batch."""
    directions = list(directions)
    by_shape: dict[Any, list[int]] = defaultdict(list)
    for index, direction in enumerate(directions):
        by_shape[direction.shape[0], direction[0].numel(), direction.device].append(index)
    updates = list(directions)
    for (rows, columns, _), indices in by_shape.items():
        stacked = torch.stack([directions[i].reshape(rows, columns) for i in indices])
        # float64 is kept: it is for comparisons, and the setting is for speed.
        result = orthogonal(stacked.to(dtype) if stacked.dtype is not torch.float64 else stacked)
        for index, matrix in zip(indices, result, strict=True):
            updates[index] = matrix.to(directions[index].dtype).reshape(directions[index].shape)
    return updates


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices ``(N, R, C)`` with all singular values brought near 1, by Newton-Schulz iterations."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
