"""Slowly changing eigenbases of preconditioner factors, sharded over the ranks.

A state has ``factors`` and ``bases`` with one entry per axis. Missing entries are empty matrices, because a checkpoint
that can be loaded safely contains only plain types and tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import State, Tensors
from algoperf_lightning.optim.matrices import eigh, orthonormal
from algoperf_lightning.optim.sharding import Share


def first_bases(states: list[State], share: Share) -> None:
    """Set the bases to the eigenvectors of the factors, sorted by descending eigenvalue."""
    factors = [factor for state in states for factor in state["factors"] if factor.numel()]

    def compute(numbers: Sequence[int]) -> Tensors:
        return [eigh(factors[number])[1].flip(1) for number in numbers]

    found = iter(share(compute, [basis_cost(factor) for factor in factors], factors))
    for state in states:
        state["bases"] = [_contiguous(next(found)) if factor.numel() else factor.clone() for factor in state["factors"]]


def iterated_bases(states: list[State], share: Share) -> list[Tensors]:
    """Return the bases after one power iteration and a QR decomposition, as one list per state."""
    pairs = [pair for state in states for pair in zip(state["factors"], state["bases"], strict=True) if pair[0].numel()]

    def compute(numbers: Sequence[int]) -> Tensors:
        return [orthonormal(factor @ basis) for factor, basis in (pairs[number] for number in numbers)]

    bases = [basis for _, basis in pairs]
    found = iter(share(compute, [basis_cost(basis) for basis in bases], bases))
    return [[_contiguous(next(found)) if basis.numel() else basis for basis in state["bases"]] for state in states]


def _contiguous(basis: Tensor) -> Tensor:
    """Return a contiguous copy, so that products round identically on all ranks."""
    return basis.clone(memory_format=torch.contiguous_format)


def basis_cost(matrix: Tensor) -> float:
    """Return the cost of decomposing a square matrix, up to a constant factor."""
    return float(len(matrix)) ** 3
