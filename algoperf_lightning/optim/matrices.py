"""Linear algebra for optimizers with one matrix per axis of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LinAlgError: type[Exception] = torch.linalg.LinAlgError  # type: ignore[attr-defined]


def outer(tensor: Tensor, axis: int) -> Tensor:
    """Return the inner products of all slices along an axis, ``(size, size)``: G G^T of the matricised tensor."""
    others = [other for other in range(tensor.ndim) if other != axis]
    product: Tensor = torch.tensordot(tensor, tensor, dims=(others, others))
    return product


def rotate(tensor: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply each axis of a tensor by a matrix ``(size, size')``. An empty matrix leaves its axis unchanged.

    Example:
        >>> x, left, right = torch.randn(2, 3), torch.randn(2, 2), torch.randn(3, 3)
        >>> torch.allclose(rotate(x, [left, right]), left.T @ x @ right, atol=1e-6)
        True
    """
    for matrix in matrices:  # each iteration moves the first axis to the end
        empty = not matrix.numel()
        tensor = tensor.movedim(0, -1) if empty else torch.tensordot(tensor, matrix, dims=([0], [0]))
    return tensor


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues in ascending order and eigenvectors of a symmetric matrix; uses float64 if float32 fails.

    Raises:
        torch.linalg.LinAlgError: If both fail, for example because the matrix is not finite.
    """
    try:
        values, vectors = torch.linalg.eigh(_single(matrix))
    except LinAlgError:
        values, vectors = torch.linalg.eigh(matrix.double())
    return values.to(matrix.dtype), vectors.to(matrix.dtype)


def orthonormal(matrix: Tensor) -> Tensor:
    """Return the factor Q of a QR decomposition."""
    basis: Tensor = torch.linalg.qr(_single(matrix))[0]
    return basis.to(matrix.dtype)


def _single(matrix: Tensor) -> Tensor:
    """Convert a matrix to float32 if its dtype does not support decompositions."""
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
