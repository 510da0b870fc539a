"""Sizes of a workload, and how they are named."""

from __future__ import annotations

from typing import Any, Literal, get_args

Size = Literal["tiny", "small"]
"""Sizes of a workload other than its full one: to try the code, and to compare algorithms on one machine."""
SIZES: tuple[Size, ...] = get_args(Size)


def size_of(full_name: str) -> Size | None:
    """Return the size that a full name ends with; None at full size.

    Example:
        >>> size_of("wmt_small"), size_of("fastmri_tanh_tiny"), size_of("wmt")
        ('small', 'tiny', None)
    """
    return next((size for size in SIZES if full_name.endswith(f"_{size}")), None)


def at_size(size: Size | None) -> dict[str, Any]:
    """Return the arguments for a size of :meth:`~algoperf_lightning.spec.WorkloadSpec.of` and of a workload's class.

    Example:
        >>> at_size("small"), at_size(None)
        ({'small': True}, {})
    """
    return {} if size is None else {size: True}
