"""The network of quadratic_deep: a point."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SIZE = 100
"""Axes."""


class NoisyQuadratic(nn.Module):
    """A point in 100 dimensions, initially ones, and the losses of samples at this point.

    The Hessian has 90 eigenvalues in (0, 1) and ten in (30, 60), like those of trained networks.

    Args:
        instance: Number of the Hessian; see :func:`hessian`.
    """

    curvature: Tensor

    def __init__(self, instance: int = 1) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.ones(SIZE))
        self.register_buffer("curvature", torch.from_numpy(hessian(instance)).float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Return ``0.5 (point - sample)^T hessian (point - sample)`` of samples ``(B, 100)``, shape ``(B,)``."""
        offsets = self.point - samples
        losses: Tensor = 0.5 * ((offsets @ self.curvature) * offsets).sum(1)
        return losses


def hessian(instance: int = 1) -> NDArray[np.float64]:
    """Return the Hessian ``(100, 100)`` of the n-th problem that a process of DeepOBS builds.

    DeepOBS has one generator per module, which is seeded only once. The published runs are a mixture of instances 1, 2,
    3, 10 and 12, so their losses differ by more than the variation between seeds.
    """
    generator = np.random.RandomState(42)
    for _ in range(instance):
        small, large = generator.uniform(0, 1, 90), generator.uniform(30, 60, 10)
        rotation = random_rotation(generator)
    matrix: NDArray[np.float64] = (rotation.T * np.concatenate([small, large])) @ rotation
    return matrix


def random_rotation(generator: np.random.RandomState) -> NDArray[np.float64]:
    """Return a random orthogonal matrix ``(100, 100)``, built by one reflection per dimension.

    Reference: P. Diaconis, M. Shahshahani, The Subgroup Algorithm for Generating Uniform Random Variables, 1987,
    doi:10.1017/S0269964800000255.
    """
    angle = 2 * np.pi * generator.uniform()
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for size in range(2, SIZE):
        direction = generator.normal(size=size + 1)
        direction /= np.linalg.norm(direction)
        normal = np.eye(size + 1)[0] - direction
        normal /= np.linalg.norm(normal)
        larger = np.eye(size + 1)
        larger[1:, 1:] = rotation
        rotation = larger - 2 * np.outer(normal, normal @ larger)
    return -rotation
