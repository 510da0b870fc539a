"""Newton-Schulz orthogonalisation in the dialects of different methods.

A sequence of odd polynomials moves the singular values of a scaled matrix close to 1 and preserves its singular
vectors. Dialects differ in coefficients, number of iterations, and scaling.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.sharding import Share, compute_here

_Triple = tuple[float, float, float]

DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"float32": torch.float32, "bfloat16": torch.bfloat16})
"""Dtypes of the iterations, by name."""


@dataclass(frozen=True)
class Dialect:
    """Scaling of the matrices, and the polynomials a x + b x^3 + c x^5 that are applied to their singular values."""

    coefficients: tuple[_Triple, ...]
    """Coefficients (a, b, c) of each iteration. Further iterations repeat the last entry."""
    steps: int
    """Default number of iterations."""
    divisor: Callable[[Tensor], Tensor]
    """Divisor of the matrix before the first iteration, as a function of its Frobenius norm; never 0."""


def _not_zero(norm: Tensor) -> Tensor:
    return norm.clamp(min=torch.finfo(norm.dtype).tiny)


_CLASSIC = ((3.4445, -4.7750, 2.0315),)
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
_MODULA = (
    (3955, -8306, 5008),
    (3735, -6681, 3463),
    (3799, -6499, 3211),
    (4019, -6385, 2906),
    (2677, -3029, 1162),
    (2172, -1833, 682),
)


def _slowed(triple: _Triple, factor: float) -> _Triple:
    """Return the coefficients of the polynomial in x / factor."""
    a, b, c = triple
    return a / factor, b / factor**3, c / factor**5


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        # Does not converge: the final singular values are between about 0.7 and 1.2. Learning rates are tuned for this.
        "classic": Dialect(_CLASSIC, 5, lambda norm: norm + 1e-7),
        "torch": Dialect(_CLASSIC, 5, lambda norm: norm.clamp(min=1e-7)),
        "convergent": Dialect(((2.0, -1.5, 0.5),), 12, lambda norm: norm + 1e-7),
        "polar_express": Dialect(
            (*(_slowed(triple, 1.05) for triple in _POLAR_EXPRESS), (1.875, -1.25, 0.375)),
            5,
            lambda norm: _not_zero(norm * 1.02),
        ),
        "modula": Dialect(tuple((a / 1024, b / 1024, c / 1024) for a, b, c in _MODULA), 6, _not_zero),
    }
)
"""Dialects by name. ``classic`` is used by Jordan et al. (Muon) and most later methods. ``torch`` is used by
``torch.optim.Muon``. ``convergent`` converges to exactly 1. ``polar_express`` is from Amsel et al. 2025,
https://arxiv.org/abs/2505.16932, with a safety factor of 1.05. ``modula`` is from Bernstein and Newhouse 2024,
https://arxiv.org/abs/2410.21265, except that zero matrices stay zero instead of becoming NaN."""


def orthogonal(matrices: Tensor, dialect: str = "classic", steps: int | None = None) -> Tensor:
    """Orthogonalise matrices ``(..., R, C)``, which moves all singular values close to 1.

    Args:
        matrices: Batch of floating-point matrices. The iterations use their dtype.
        dialect: A name in :data:`DIALECTS`.
        steps: Number of iterations; None means the default of the dialect.

    Raises:
        BadInputError: If the dialect is unknown.
    """
    chosen = dialect_named(dialect)
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    shape = x.shape
    x = x.reshape(-1, *shape[-2:])
    x = x / chosen.divisor(x.norm(dim=(1, 2), keepdim=True))
    count = chosen.steps if steps is None else steps
    for step in range(count):
        a, b, c = chosen.coefficients[min(step, len(chosen.coefficients) - 1)]
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.view(shape)
    return x.mT if tall else x


def orthogonal_each(
    tensors: Sequence[Tensor],
    dialect: str = "classic",
    steps: int | None = None,
    dtype: torch.dtype | None = None,
    *,
    share: Share = compute_here,
) -> list[Tensor]:
    """Orthogonalise each tensor as a matrix of its first axis by all others, and keep its shape and dtype.

    Matrices of the same shape are batched.

    Args:
        tensors: Tensors with two or more axes.
        dialect: A name in :data:`DIALECTS`.
        steps: Number of iterations; None means the default of the dialect.
        dtype: Dtype of the iterations; None means the dtype of each tensor. float64 tensors, which are used for
            comparisons, are not cast.
        share: Function that distributes the matrices over the ranks.

    Raises:
        BadInputError: If the dialect is unknown.
    """
    matrices = [
        tensor.flatten(1).to(dtype if dtype and tensor.dtype is not torch.float64 else tensor.dtype)
        for tensor in tensors
    ]

    def compute(indices: Sequence[int]) -> list[Tensor]:
        by_shape: dict[Any, list[int]] = defaultdict(list)
        for index in indices:
            by_shape[matrices[index].shape, matrices[index].device, matrices[index].dtype].append(index)
        found: dict[int, Tensor] = {}
        for together in by_shape.values():
            result = orthogonal(torch.stack([matrices[index] for index in together]), dialect, steps)
            found.update(zip(together, result, strict=True))
        return [found[index] for index in indices]

    costs = [newton_schulz_cost(*matrix.shape) for matrix in matrices]
    # Contiguous on all ranks, so that later sums round identically.
    results = [result.contiguous() for result in share(compute, costs, matrices)]
    return [result.to(tensor.dtype).view(tensor.shape) for result, tensor in zip(results, tensors, strict=True)]


def blocks_of_rows(tensors: Sequence[Tensor], split: Sequence[int]) -> list[Tensor]:
    """Split each tensor into blocks with these numbers of rows. Returns the tensors if ``split`` is empty."""
    return [block for tensor in tensors for block in torch.split(tensor, list(split))] if split else list(tensors)


def joined(blocks: list[Tensor], number: int) -> list[Tensor]:
    """Concatenate every ``number`` consecutive blocks into a tensor. Returns the blocks if ``number`` is 0."""
    if not number:
        return blocks
    return [torch.cat(blocks[first : first + number]) for first in range(0, len(blocks), number)]


def newton_schulz_cost(rows: int, columns: int) -> float:
    """Return the number of multiplications per iteration: three matrix products, two of them on the shorter side."""
    short, long = sorted((rows, columns))
    return float(short * short * (2 * long + short))


def dialect_named(name: str) -> Dialect:
    """Return a dialect by its name.

    Raises:
        BadInputError: If the dialect is unknown.
    """
    if name not in DIALECTS:
        raise BadInputError(f"Unknown dialect {name!r} of orthogonalisation. Choose from: {', '.join(DIALECTS)}.")
    return DIALECTS[name]
