"""Curvature of a loss: the ends of its spectrum, its trace, and stability limits of optimizers.

All functions use products of a matrix with vectors, never the matrix itself. Letters in shapes: ``D`` parameters.

References: Lanczos 1950; Hutchinson 1990; Schraudolph 2002 (Gauss-Newton); Cohen et al. 2021,
https://arxiv.org/abs/2103.00065 and 2022, https://arxiv.org/abs/2207.14484 (edge of stability).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""Function that multiplies a symmetric matrix by a vector, both vectors of shape ``(D,)``."""


@dataclass(frozen=True)
class Spectrum:
    """Both ends of a symmetric matrix's spectrum, with error bounds."""

    largest: float
    smallest: float
    largest_error: float
    """Distance from ``largest`` within which an eigenvalue exists."""
    smallest_error: float
    products: int


def lanczos(product: Product, start: Tensor, steps: int, tolerance: float = 0.0) -> Spectrum:
    """Return estimates of the largest and the smallest eigenvalue, by Lanczos with full reorthogonalisation.

    Args:
        product: The matrix.
        start: Any vector that is not 0, shape ``(D,)``.
        steps: Maximum number of products; fewer if the Krylov space is exhausted. Memory is steps times D.
        tolerance: Stop earlier if the largest eigenvalue has the largest magnitude and its estimated relative error is
            at most this.
    """
    steps = min(steps, len(start))
    basis = start.new_empty(steps, len(start))
    basis[0] = start / start.norm()
    diagonal: list[float] = []
    beside: list[float] = []
    for step in range(steps):
        image = product(basis[step])
        diagonal.append(float(image @ basis[step]))
        known = basis[: step + 1]
        for _ in range(2):  # once is not enough in floating point (Parlett's "twice is enough")
            image = image - known.T @ (known @ image)
        rest = float(image.norm())
        beside.append(rest)
        spectrum, near = _ends(diagonal, beside)
        exhausted = rest <= 1e-12 * max(1.0, *(abs(each) for each in diagonal))
        if exhausted or near <= tolerance or step + 1 == steps:
            break
        basis[step + 1] = image / rest
    return spectrum


def _ends(diagonal: Sequence[float], beside: Sequence[float]) -> tuple[Spectrum, float]:
    """Return the ends of a tridiagonal matrix's spectrum, and the estimated relative error of the largest value.

    The residual bounds the error; its square divided by the distance to the next value estimates it. The estimate is
    infinite if the smallest value has the larger magnitude, because the residual of a value near 0 is then always
    small.
    """
    off = np.array(beside[:-1])
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    errors = beside[-1] * np.abs(vectors[-1])
    spectrum = Spectrum(float(values[-1]), float(values[0]), float(errors[-1]), float(errors[0]), len(diagonal))
    if len(values) < 3 or values[-1] < -values[0]:
        return spectrum, math.inf
    scale = max(values[-1] * (values[-1] - values[-2]), np.finfo(float).tiny)
    return spectrum, float(errors[-1] ** 2 / scale)


def power_iteration(
    product: Product, start: Tensor, *, relative: float = 1e-3, absolute: float = 1e-6, rounds: int = 100
) -> tuple[float, Tensor, int]:
    """Return the eigenvalue of the largest magnitude, its eigenvector, and the number of products.

    Stops when the estimate changes by no more than ``absolute + relative * |estimate|``. It needs two vectors of
    memory, :func:`lanczos` one per step. The eigenvector of an earlier call is a good start.
    """
    vector, value = start / start.norm(), math.inf
    for number in range(1, rounds + 1):
        image = product(vector)
        before, value = value, float(vector @ image)
        size = float(image.norm())
        if size == 0.0:
            return 0.0, vector, number
        vector = image / size
        if abs(before - value) <= absolute + relative * abs(value):
            break
    return value, vector, number


def hutchinson(product: Product, probes: Iterable[Tensor]) -> tuple[float, float]:
    """Return an estimate of the trace and its standard error, which is NaN for a single probe.

    Args:
        product: The matrix.
        probes: Vectors of independent signs, shape ``(D,)``. The error of a single one is often as large as the trace
            itself: use 16 or more.
    """
    found = [float(probe @ product(probe)) for probe in probes]
    error = float(np.std(found, ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return float(np.mean(found)), error


def stability_limit(learning_rate: float, momentum: float = 0.0, *, nesterov: bool = False) -> float:
    """Return the largest eigenvalue at which SGD with this learning rate is stable on a quadratic.

    Args:
        learning_rate: Positive.
        momentum: Coefficient of heavy ball, or of Nesterov's method.
        nesterov: Whether it is Nesterov's method.
    """
    if nesterov:
        return (2 + 2 * momentum) / ((1 + 2 * momentum) * learning_rate)
    return (2 + 2 * momentum) / learning_rate


def adam_stability_limit(learning_rate: float, beta1: float) -> float:
    """Return the largest eigenvalue of the preconditioned Hessian at which Adam is stable: 38 / lr for beta1 = 0.9."""
    return (2 + 2 * beta1) / ((1 - beta1) * learning_rate)


def preconditioned(product: Product, preconditioner: Tensor) -> Product:
    """Return the product function of P^(-1/2) H P^(-1/2), which has the eigenvalues of P^(-1) H.

    Args:
        product: The Hessian.
        preconditioner: Diagonal P, positive, shape ``(D,)``; for Adam ``(sqrt(v / (1 - b2^n)) + eps) (1 - b1^n)``.
    """
    root = preconditioner.sqrt()
    return lambda vector: product(vector / root) / root


def softmax_root(logits: Tensor, weights: Tensor) -> Tensor:
    """Return a root of the Hessian of weighted cross-entropies with respect to their logits.

    Args:
        logits: Shape ``(N, C)``.
        weights: Weight of each of the N cross-entropies in the objective, shape ``(N,)``.

    Returns:
        Shape ``(C, N, C)``: for each class c the columns ``sqrt(w q_c) (e_c - q)`` with q the softmax. The squared
        norms of their products with the network's Jacobian sum to the trace of the generalised Gauss-Newton matrix, the
        elementwise squares to its diagonal.
    """
    q = logits.softmax(dim=-1)
    columns = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)[:, None, :] - q  # (C, N, C)
    return columns * (weights[:, None] * q).sqrt().T[:, :, None]
