"""Measures of a step: its size, where on its parabola it ended, and the predicted change of the loss.

References: Schneider et al. 2021, https://arxiv.org/abs/2102.06604 (step length, as Cockpit's alpha); Mahsereci and
Hennig 2015, https://arxiv.org/abs/1502.02846.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_NO_VARIANCE = 1e-10


@dataclass(frozen=True)
class Slope:
    """A noisy loss and its noisy slope in a direction, from the examples of one batch."""

    loss: float
    loss_variance: float
    """Variance over examples, divided by one less than their number."""
    slope: float
    slope_variance: float

    @classmethod
    def of(cls, losses: Tensor, slopes: Tensor) -> Slope:
        """Return the means and variances of each example's loss and slope, both of shape ``(B,)``."""
        pairs = [(float(each.mean()), float(each.var()) if len(each) > 1 else math.nan) for each in (losses, slopes)]
        return cls(*pairs[0], *pairs[1])


def step_length(start: Slope, end: Slope, distance: float) -> float:
    """Return where on a parabola a step ended: -1 not moved, 0 at its minimum, 1 as high on the other side.

    The parabola is fitted to both losses and both slopes, weighted by their variances: start and end may be measured on
    different batches.

    Args:
        start: Loss and slope in the direction of the step, before it.
        end: The same after it.
        distance: Norm of the step.

    Returns:
        -1 if the loss is concave along the step; NaN if the step has length 0 or a variance is unknown.
    """
    variances = np.array([start.loss_variance, end.loss_variance, start.slope_variance, end.slope_variance])
    if not distance or np.isnan(variances).any():
        return math.nan
    weights = 1.0 / np.sqrt(np.where(variances == 0.0, _NO_VARIANCE, variances))
    rows = np.array([(1, 0, 0), (1, distance, distance**2), (0, 1, 0), (0, 1, 2 * distance)], dtype=np.float64)
    found = np.array([start.loss, end.loss, start.slope, end.slope])
    if not np.isfinite(found).all():
        return math.nan
    _, slope, curvature = np.linalg.lstsq(rows * weights[:, None], found * weights, rcond=None)[0]
    if curvature < 0:
        return -1.0
    return float(-2 * distance * curvature / slope - 1) if slope else math.nan


def same_batch_step_length(before: Tensor, after: Tensor, update: Tensor) -> float:
    """Return where on a parabola a step ended, as :func:`step_length`, from the gradients of one batch, without noise.

    Args:
        before: Gradient of the batch before the step, shape ``(D,)``.
        after: Gradient of the same batch after it.
        update: The step itself.

    Returns:
        NaN if the batch's loss has no slope along the step.
    """
    slope = float(before @ update)
    return -float(after @ update) / slope if slope else math.nan


def predicted_decrease(gradient: Tensor, product: Tensor, update: Tensor) -> float:
    """Return the change of the loss that its quadratic model predicts for a step.

    Args:
        gradient: Gradient before the step, shape ``(D,)``.
        product: Hessian times the step.
        update: The step.
    """
    return float(gradient @ update) + 0.5 * float(product @ update)


def directional_sharpness(product: Tensor, update: Tensor) -> float:
    """Return the curvature along a step; NaN for a step of length 0.

    Args:
        product: Hessian times the step, shape ``(D,)``.
        update: The step.
    """
    size = float(update @ update)
    return float(product @ update) / size if size else math.nan


def cosine(one: Tensor, other: Tensor) -> float:
    """Return the cosine of the angle between two vectors; NaN if one of them is 0."""
    sizes = float(one.norm()) * float(other.norm())
    return float(one @ other) / sizes if sizes else math.nan


def update_ratio(before: Tensor, after: Tensor) -> float:
    """Return the root mean square of an update over that of the parameter before it; NaN for a parameter of zeros."""
    size = float(before.norm())
    return float((after - before).norm()) / size if size else math.nan


def norms(tensors: dict[str, Tensor]) -> dict[str, float]:
    """Return the norm of each tensor, by its name."""
    if not tensors:
        return {}
    found = torch.stack([tensor.detach().double().norm() for tensor in tensors.values()])
    return dict(zip(tensors, found.tolist(), strict=True))


def total(parts: dict[str, float]) -> float:
    """Return the norm of all tensors together from their norms."""
    return math.sqrt(sum(value**2 for value in parts.values()))
