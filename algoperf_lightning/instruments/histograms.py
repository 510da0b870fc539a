"""Histograms of gradients, and joint histograms of gradients and their parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Range = tuple[float, float]


def counts(values: Tensor, bins: int = 100, limits: Range = (-2.0, 2.0)) -> Tensor:
    """Return the number of values in each of equally wide bins, int64 ``(bins,)``.

    Values beyond the limits are counted in the outermost bins. An upper edge belongs to the next bin, except for the
    last bin. NaN is not counted.

    Args:
        values: Any shape.
        bins: Number of bins.
        limits: Lower edge of the first bin and upper edge of the last.
    """
    low, high = limits
    inside = values.reshape(-1)
    if nonfinite(inside):
        inside = inside[~inside.isnan()].clamp(low, high)
    # Not torch.histc, which is not deterministic on a GPU. In place, to save memory.
    places = (inside - low).mul_(bins / (high - low)).clamp_(0, bins - 1)
    return torch.bincount(places.to(torch.int32), minlength=bins)


def joint_counts(
    rows: Tensor,
    parameters: Tensor,
    bins: tuple[int, int] = (40, 50),
    limits: tuple[Range, Range] = ((-1.0, 1.0), (-2.0, 2.0)),
) -> Tensor:
    """Return the number of pairs of a gradient's element and its parameter in each cell, int64 ``(bins[0], bins[1])``.

    Args:
        rows: Gradients of examples, shape ``(R, D)``.
        parameters: Values of the parameters, shape ``(D,)``.
        bins: Number of bins for gradients (first axis) and parameters.
        limits: Limits of both axes; values beyond them are counted in the outermost bins. Pairs with NaN are not
            counted.
    """
    places = _bin(rows, bins[0], limits[0]) * bins[1] + _bin(parameters, bins[1], limits[1])
    known = ~(rows.isnan() | parameters.isnan())
    flat = places.reshape(-1) if known.all() else places[known]
    return torch.bincount(flat, minlength=bins[0] * bins[1]).view(bins)


def nonfinite(values: Tensor) -> int:
    """Return the number of values that are NaN or infinite."""
    if bool(torch.isfinite(values.sum())):  # in a fraction of the time
        return 0
    return int((~torch.isfinite(values)).sum())


def symmetric_range(values: Tensor, widths: float = 4.0) -> Range:
    """Return limits at a multiple of the values' root mean square; a fixed range shows a single bar for most networks.

    Args:
        values: Any shape; values that are not finite are left out.
        widths: The limits in root mean squares.
    """
    size = float(values.norm()) / math.sqrt(max(1, values.numel()))
    if not math.isfinite(size):
        known = values[torch.isfinite(values)].double()
        size = float(known.square().mean().sqrt()) if known.numel() else 0.0
    end = widths * size if size > 0 else 1.0
    return -end, end


def _bin(values: Tensor, bins: int, limits: Range) -> Tensor:
    low, high = limits
    width = (high - low) / bins
    inside = values.clamp(low + width / 2, high - width / 2).nan_to_num()
    return ((inside - low) / width).floor().long().clamp(0, bins - 1)
