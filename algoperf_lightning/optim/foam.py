"""FOAM: an eigenbasis is kept, with more damping, until its error asks for too much of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import State, Tensors
from algoperf_lightning.optim.matrices import LinAlgError, eigh
from algoperf_lightning.optim.sharding import Share


def foam_roots(
    tasks: Sequence[tuple[State, int]],
    factors: Tensors,
    orders: Sequence[int],
    limits: tuple[float, float, float],
    share: Share,
) -> Tensors:
    """Return inverse roots of symmetric matrices, and keep their bases in the states.

    With the basis Q and eigenvalues D of the last decomposition of a matrix A, its damping e, and s = max(D, 0) + e::

        h = |(Q^T A Q - diag D) / sqrt(s s^T)| max(s^(-1/p)) / |s^(-1/p)| / p;  e <- max(e0, e h / tolerance)

    is the damping at which the relative error of the root, to first order, is the tolerance. If it is above the
    largest damping, A is decomposed and e is e0.

    Args:
        tasks: A state and the number of the factor in it, for each matrix.
        factors: The matrices, ``(size, size)``.
        orders: p of each matrix: its root is ``Q diag(s^(-1/p)) Q^T``.
        limits: e0, the largest damping, and the tolerance.
        share: How ranks share the work.

    Reference: FOAM 2026, https://arxiv.org/abs/2606.02365.
    """
    for state, _ in tasks:
        state.setdefault("kept", [factor.new_empty(0, 0) for factor in state["factors"]])
    kept = [state["kept"][number] for state, number in tasks]

    def compute(numbers: Sequence[int]) -> Tensors:
        return [_kept(factors[n], kept[n], orders[n], *limits) for n in numbers]

    like = [factor.new_empty(1).expand(len(factor) + 2, len(factor)) for factor in factors]
    found = share(compute, [len(factor) ** 3 for factor in factors], like)
    for (state, number), result in zip(tasks, found, strict=True):
        state["kept"][number] = result.clone(memory_format=torch.contiguous_format)
    return [_root(state["kept"][number], order) for (state, number), order in zip(tasks, orders, strict=True)]


def _kept(factor: Tensor, kept: Tensor, order: int, least: float, most: float, tolerance: float) -> Tensor:
    """Return the basis, below it the eigenvalues, and below these the damping. ``(size + 2, size)``."""
    if kept.numel():
        basis, values, damping = kept[:-2], kept[-2], kept[-1, 0].clamp(min=least)
        s = values.clamp(min=0) + damping
        error = ((basis.mT @ factor @ basis - values.diag()) / torch.outer(s, s).sqrt()).norm()
        powers = s.pow(-1 / order)
        damping = (damping * error * powers.max() / powers.norm() / order / tolerance).clamp(min=least)
        if damping <= most:
            return torch.cat([kept[:-1], damping.expand(1, len(factor))])
    try:
        values, basis = eigh(factor)
    except LinAlgError:
        return kept if kept.numel() else torch.cat([torch.eye(len(factor)).to(factor), factor.new_ones(2, len(factor))])
    values = values - values.min().clamp(max=0)
    return torch.cat([basis, values[None], values.new_full((1, len(values)), least)])


def _root(kept: Tensor, order: int) -> Tensor:
    basis, values, damping = kept[:-2], kept[-2], kept[-1, 0]
    return (basis * (values.clamp(min=0) + damping).pow(-1 / order)) @ basis.mT
