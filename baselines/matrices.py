"""What the optimizers with a matrix for each axis of a tensor share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LinAlgError: type[Exception] = torch.linalg.LinAlgError  # type: ignore[attr-defined]


def outer(tensor: Tensor, axis: int) -> Tensor:
    """Return the products of all pairs of slices along an axis, ``(size, size)``: G G^T of the matricised tensor."""
    others = [other for other in range(tensor.ndim) if other != axis]
    product: Tensor = torch.tensordot(tensor, tensor, dims=(others, others))
    return product


def rotate(tensor: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return the tensor with each axis multiplied by a matrix ``(size, size')``; an empty matrix leaves its axis alone.

    Example:
        >>> x, left, right = torch.randn(2, 3), torch.randn(2, 2), torch.randn(3, 3)
        >>> torch.allclose(rotate(x, [left, right]), left.T @ x @ right, atol=1e-6)
        True
    """
    for matrix in matrices:  # each round moves the first axis to the end
        empty = not matrix.numel()
        tensor = tensor.movedim(0, -1) if empty else torch.tensordot(tensor, matrix, dims=([0], [0]))
    return tensor


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending, and eigenvectors of a symmetric matrix; in float64 where float32 does not do.

    Raises:
        torch.linalg.LinAlgError: If there is no decomposition, as for a matrix that is not finite.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except LinAlgError:
        values, vectors = torch.linalg.eigh(matrix.double())
    return values.to(matrix.dtype), vectors.to(matrix.dtype)
