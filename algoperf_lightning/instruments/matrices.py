"""Instrument of weight matrices: ranks and condition numbers, from their singular values."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from algoperf_lightning.instruments.look import Look, Value

_LARGEST_SIDE = 4096
"""Maximum of the smaller side of a matrix whose singular values are computed."""
_RESOLVED = torch.finfo(torch.float32).eps
"""A singular value below this share of the largest one cannot be distinguished from 0 in float32 weights."""


def matrices(look: Look) -> Mapping[str, Value]:
    """Return the stable rank, the effective rank and the condition number of each matrix, by layer.

    With singular values s: ``sum(s^2) / max(s)^2``; ``exp(entropy of s / sum(s))``; ``max(s) / min(s)``, which is
    infinite for a matrix without full rank in float32. All are NaN for a matrix of zeros. A convolution is the matrix
    ``(filters, elements of a filter)``. Left out: vectors, matrices with values that are not finite, and those whose
    smaller side is above 4096.
    """
    found: dict[str, dict[str, float]] = {"stable_ranks": {}, "effective_ranks": {}, "conditions": {}}
    for name, p in look.probe.parameters.items():
        matrix = p.detach().flatten(1) if p.ndim > 1 else p.detach()[None]
        if min(matrix.shape) < 2 or min(matrix.shape) > _LARGEST_SIDE or not matrix.isfinite().all():
            continue
        for kind, value in zip(found, of_matrix(matrix), strict=True):
            found[kind][name] = value
    return dict(found)


def of_matrix(matrix: Tensor) -> tuple[float, float, float]:
    """Return the stable rank, the effective rank and the condition number of a matrix ``(m, n)``.

    Example:
        >>> of_matrix(torch.diag(torch.tensor([2.0, 2.0, 1.0])))[::2]
        (2.25, 2.0)
    """
    wide = matrix.double()
    # In float64, the square roots of the eigenvalues have the resolution of float32; this is faster than an SVD.
    gram = wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide
    squares = torch.linalg.eigvalsh(gram).clamp(min=0)
    if not squares[-1] > 0:
        return math.nan, math.nan, math.nan
    values = squares.sqrt()
    smallest, largest = float(values[0]), float(values[-1])
    entropy = float(torch.special.entr(values / values.sum()).sum())
    condition = largest / smallest if smallest > _RESOLVED * largest else math.inf
    return float(squares.sum() / squares[-1]), math.exp(entropy), condition
