"""Measures of gradient noise, from the gradients of the examples of a batch, or of groups of examples.

Letters in shapes: ``R`` rows (examples or groups), ``D`` parameters.

References: Byrd et al. 2012, https://doi.org/10.1007/s10107-012-0572-5 (norm test); Bollapragada et al. 2018,
https://arxiv.org/abs/1710.11258 (inner product and orthogonality tests); Liu et al. 2020,
https://arxiv.org/abs/2001.07384 (GSNR); Mahsereci et al. 2017, https://arxiv.org/abs/1703.09580 (early stopping);
Balles et al. 2017, https://arxiv.org/abs/1612.05086 (CABS); McCandlish et al. 2018, https://arxiv.org/abs/1812.06162
(noise scale); Takeuchi 1976 and Thomas et al. 2020, https://arxiv.org/abs/1906.07774 (TIC). All but the noise scale are
among the quantities of Cockpit, Schneider et al. 2021, https://arxiv.org/abs/2102.06604.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

_EPS, _EPS_TIC = 1e-5, 1e-7


@dataclass(frozen=True)
class Moments:
    """Moments of rows, from which noise is measured. They add up over ranks and chunks, so rows need not be stored."""

    rows: int
    """Number of rows, R."""
    group_size: int
    """Examples in each row; 1 if rows are single examples."""
    gradient: Tensor
    """Mean of the rows, shape ``(D,)``."""
    spread: Tensor
    """Squared differences from that mean, summed over rows, shape ``(D,)``."""
    along: float
    """Sum of the squared differences between the rows' projections on the mean and its squared norm."""

    @classmethod
    def of(cls, rows: Tensor, group_size: int = 1) -> Moments:
        """Return the moments of rows, shape ``(R, D)``.

        Differences are computed before squares, so that equal rows have a spread of exactly 0.
        """
        centred = rows - rows[:1]
        shift = centred.mean(dim=0)
        return cls._of_centred(centred.sub_(shift), rows[0] + shift, group_size)

    @classmethod
    def around(cls, rows: Tensor, gradient: Tensor, group_size: int = 1) -> Moments:
        """Return the contribution of some rows to the moments of all, given their mean; contributions are summed.

        Args:
            rows: The rows of a rank or of a chunk, shape ``(R, D)``.
            gradient: Mean of all rows, shape ``(D,)``.
            group_size: Examples in each row.
        """
        return cls._of_centred(rows - gradient, gradient, group_size)

    @classmethod
    def _of_centred(cls, centred: Tensor, gradient: Tensor, group_size: int) -> Moments:
        """Return the moments of differences from the mean, which are overwritten to save memory."""
        along = float((centred @ gradient).square().sum())
        return cls(len(centred), group_size, gradient, centred.square_().sum(dim=0), along)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of the rows of both, which must have the same mean."""
        return Moments(
            self.rows + other.rows,
            self.group_size,
            self.gradient,
            self.spread + other.spread,
            self.along + other.along,
        )

    @property
    def squared_norm(self) -> float:
        """Squared norm of the mean gradient."""
        return float(self.gradient.square().sum())

    @property
    def total_spread(self) -> float:
        """Sum of the squared distances of the rows from their mean."""
        return float(self.spread.sum())


def norm_test(moments: Moments) -> float:
    """Return the smallest parameter with which the batch passes the norm test; NaN for a single row.

    Infinite if the mean gradient is 0 and the rows are not; NaN if all rows are 0.
    """
    return _test(moments, moments.total_spread, moments.squared_norm)


def inner_product_test(moments: Moments) -> float:
    """Return the smallest parameter with which the batch passes the inner product test, as :func:`norm_test` does."""
    if moments.squared_norm == 0.0:
        return norm_test(moments)
    return _test(moments, moments.along, moments.squared_norm**2)


def orthogonality_test(moments: Moments) -> float:
    """Return the smallest parameter with which the batch passes the orthogonality test, as :func:`norm_test` does."""
    if moments.squared_norm == 0.0:
        return norm_test(moments)
    across = max(0.0, moments.total_spread - moments.along / moments.squared_norm)
    return _test(moments, across, moments.squared_norm)


def _test(moments: Moments, spread: float, size: float) -> float:
    if moments.rows < 2 or (size == 0.0 and spread == 0.0):
        return math.nan
    if size == 0.0:
        return math.inf
    return math.sqrt(spread / ((moments.rows - 1) * moments.rows * size))


def mean_gsnr(moments: Moments, eps: float = _EPS) -> float:
    """Return the ratio of squared gradient to variance over examples, averaged over parameters; NaN for a single row.

    Args:
        moments: Moments of the rows.
        eps: Added to the variance, whose divisor is the number of rows (not one less), as in Cockpit.
    """
    if moments.rows < 2:
        return math.nan
    variance = moments.group_size * moments.spread / moments.rows
    return float((moments.gradient.square() / (variance + eps)).mean())


def early_stopping(moments: Moments, eps: float = _EPS) -> float:
    """Return the evidence-based criterion, which is positive if the gradient is only noise and training should stop.

    NaN for a single row.
    """
    if moments.rows < 2:
        return math.nan
    variance = moments.spread / (moments.rows - 1)
    return 1.0 - moments.rows * float((moments.gradient.square() / (variance + eps)).mean())


def cabs(moments: Moments, learning_rate: float, loss: float) -> float:
    """Return the batch size that CABS suggests; its theory is for plain SGD. NaN for one row or a loss of 0."""
    if moments.rows < 2 or loss == 0.0:
        return math.nan
    return learning_rate * moments.group_size * moments.total_spread / (moments.rows * loss)


def noise_scale(moments: Moments) -> tuple[float, float]:
    """Return unbiased estimates of the variance of an example's gradient and of the squared norm of the true gradient.

    Their ratio is the batch size up to which larger batches help. Single values are very noisy and may be negative:
    average both over time before dividing. NaN for a single row.
    """
    if moments.rows < 2:
        return math.nan, math.nan
    small, large = moments.group_size, moments.group_size * moments.rows
    of_rows = moments.total_spread / moments.rows + moments.squared_norm
    variance = (of_rows - moments.squared_norm) / (1 / small - 1 / large)
    return variance, (large * moments.squared_norm - small * of_rows) / (large - small)


def second_moment(moments: Moments) -> Tensor:
    """Return the mean of the squared gradients of single examples, shape ``(D,)``; rows must be single examples."""
    if moments.group_size != 1:
        raise ValueError(f"Rows are means of {moments.group_size} examples; expected single examples.")
    return moments.spread / moments.rows + moments.gradient.square()


def tic_diagonal(moments: Moments, curvature: Tensor, eps: float = _EPS_TIC) -> float:
    """Return the Takeuchi information criterion with a diagonal curvature.

    Args:
        moments: Moments of single examples.
        curvature: Diagonal of the generalised Gauss-Newton matrix, shape ``(D,)``. That of the Hessian may be negative
            or near 0, which makes the result meaningless.
        eps: Added to the curvature.
    """
    return float((second_moment(moments) / (curvature + eps)).sum())


def tic_trace(moments: Moments, trace: float, eps: float = _EPS_TIC) -> float:
    """Return the Takeuchi information criterion from the traces of both matrices; rows must be single examples."""
    return float(second_moment(moments).sum()) / (trace + eps)
