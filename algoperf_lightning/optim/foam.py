"""FOAM: an eigenbasis is reused with increased damping until its error requires more than the maximum damping."""

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
    """Return inverse roots of symmetric matrices and store their bases in the states.

    Q and D are the basis and the eigenvalues of the last decomposition of a matrix A, e is its damping, and s = max(D,
    0) + e. The new damping is::

        h = |(Q^T A Q - diag D) / sqrt(s s^T)| max(s^(-1/p)) / |s^(-1/p)| / p;  e <- max(e0, e h / tolerance)

    At this damping, the relative error of the root equals the tolerance to first order. If it exceeds the maximum
    damping, A is decomposed again and e is reset to e0.

    Args:
        tasks: State and index of the factor in the state, for each matrix.
        factors: The matrices, ``(size, size)``.
        orders: p of each matrix. The root is ``Q diag(s^(-1/p)) Q^T``.
        limits: e0, the maximum damping, and the tolerance.
        share: Function that distributes the work over the ranks.

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
    """Return the basis, the eigenvalues and the damping, stacked along the rows, ``(size + 2, size)``."""
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
