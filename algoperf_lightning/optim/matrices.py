"""Linear algebra of the optimizers that keep a matrix for each axis of a tensor."""

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
    """Return eigenvalues, ascending, and eigenvectors of a symmetric matrix; in float64 where float32 fails.

    Raises:
        torch.linalg.LinAlgError: If both fail, as for a matrix that is not finite.
    """
    try:
        values, vectors = torch.linalg.eigh(_single(matrix))
    except LinAlgError:
        values, vectors = torch.linalg.eigh(matrix.double())
    return values.to(matrix.dtype), vectors.to(matrix.dtype)


def orthonormal(matrix: Tensor) -> Tensor:
    """Return the first factor of a QR decomposition."""
    basis: Tensor = torch.linalg.qr(_single(matrix))[0]
    return basis.to(matrix.dtype)


def _single(matrix: Tensor) -> Tensor:
    """Return a matrix in float32 where its precision has no decompositions."""
    return matrix.float() if matrix.dtype in (torch.bfloat16, torch.float16) else matrix


def inverse_root(matrix: Tensor, root: int, eps: float, otherwise: Tensor) -> Tensor:
    """Return ``(matrix + eps)^(-1/root)`` of a symmetric matrix, shifted so that no eigenvalue is negative.

    If the decomposition fails or the result is not finite, return ``otherwise``.
    """
    try:
        values, vectors = eigh(matrix)
    except LinAlgError:
        return otherwise
    values = values - values.min().clamp(max=0) + eps
    result = (vectors * values.pow(-1 / root)) @ vectors.mT
    return result.contiguous() if result.isfinite().all() else otherwise
