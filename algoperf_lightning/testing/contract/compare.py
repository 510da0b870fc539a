"""Comparison of runs, and the results of checks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .run import Values


class Failed(AssertionError):  # noqa: N818 (it is raised and read as a word: a check has failed)
    """The subject violates its contract; the message describes how, with numbers."""


class NotApplicable(Exception):  # noqa: N818 (it is no error)
    """The check does not apply to this subject; the message gives the reason."""


def moved(values: Values, start: Values) -> dict[str, float]:
    """Return the distance that each parameter has moved, in float64."""
    return {name: _norm(values[name].double() - start[name].double()) for name in values}


def difference(ones: Values, others: Values, start: Values, rounding: float = 0.0) -> tuple[float, str]:
    """Return the largest difference of final values, relative to the distance in ``others``, and its parameter.

    NaN and infinity have an infinite difference to every value. Differences up to ``rounding`` times a parameter are
    ignored.
    """
    ways = moved(others, start)
    found = {}
    for name, way in ways.items():
        apart = _norm(ones[name].double() - others[name].double())
        if math.isfinite(apart):
            apart = max(0.0, apart - rounding * _norm(others[name].double()))
        found[name] = 0.0 if apart == 0 else apart / way if way > 0 and math.isfinite(apart) else math.inf
    worst = max(found, key=lambda name: found[name])
    return found[worst], worst


def require_close(
    ones: Values, others: Values, start: Values, bound: float, message: str, rounding: float = 0.0
) -> str:
    """Require that final values differ by at most a bound, and return a description of the difference.

    Raises:
        Failed: If they differ by more.
    """
    apart, name = difference(ones, others, start, rounding)
    if not apart <= bound:
        raise Failed(f"{message}: {name} by {apart:.1e} of the distance moved; expected at most {bound:.0e}")
    return f"largest difference {apart:.1e} of the distance moved"


def differing(ones: Values, others: Values) -> list[str]:
    """Return the names of parameters that are not bitwise equal."""
    return [name for name, value in ones.items() if not torch.equal(value, others[name])]


def not_finite(values: Values) -> list[str]:
    """Return the names of parameters with NaN or infinite values."""
    return [name for name, value in values.items() if not bool(value.isfinite().all())]


def require_finite(values: Values, where: str) -> None:
    """Require that all parameters are finite.

    Raises:
        Failed: If a parameter is not finite.
    """
    if bad := not_finite(values):
        raise Failed(f"{where}, {named(bad)} become NaN or infinite")


def shrinkage(before: Tensor, after: Tensor) -> float | None:
    """Return the factor a in [0, 1] with ``after = a * before``, or None if no such factor exists."""
    flat, end = before.double().reshape(-1), after.double().reshape(-1)
    length = float(flat @ flat)
    factor = float(end @ flat) / length if length else 1.0
    if not bool(end.isfinite().all()) or _norm(end - factor * flat) > 1e-9 * math.sqrt(length):
        return None
    return factor if -1e-9 <= factor <= 1 + 1e-9 else None


def require_only_decay(before: Values, after: Values, where: str) -> str:
    """Require that each parameter was only scaled towards 0, and return a description of the smallest factor.

    Raises:
        Failed: If a parameter changed in another way.
    """
    factors = {name: shrinkage(before[name], after[name]) for name in before}
    if wrong := [name for name, factor in factors.items() if factor is None]:
        raise Failed(f"{where}, {named(wrong)} change, and not only by weight decay")
    least = min((factor for factor in factors.values() if factor is not None), default=1.0)
    return (
        "no parameter changes"
        if least >= 1 - 1e-12
        else f"parameters change only by weight decay, by a factor of {least:.4g}"
    )


def named(names: list[str], most: int = 3) -> str:
    """Format some names as text."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))
