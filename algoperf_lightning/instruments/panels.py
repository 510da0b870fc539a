"""What is drawn of a run's instruments, and how: for pictures and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Curves(NamedTuple):
    """Some numbers against steps, in one frame."""

    title: str
    names: tuple[str, ...]
    """Of the numbers, as in the rows."""
    log: bool = False
    low: float | None = None
    """Lower limit of the axis, where values may be far beyond what is of interest."""
    high: float | None = None
    marks: tuple[float, ...] = ()
    """Values of reference."""


COLUMNS: Mapping[str, tuple[Curves, ...]] = {
    "Step": (
        Curves(
            "Step length (−1 start, 0 minimum, 1 across)",
            ("same_batch_step_length", "alpha"),
            low=-3.0,
            high=4.0,
            marks=(-1, 0, 1),
        ),
        Curves("Update size, and distance from the start", ("update_size", "distance"), log=True),
        Curves("Update / weights (rms)", ("update_ratio",), log=True),
        Curves("Loss of the batch", ("loss",)),
    ),
    "Gradients": (
        Curves("Gradient norm", ("gradient_norm",), log=True),
        Curves(
            "Noise: tests (above 1: noise dominates)",
            ("norm_test", "inner_product_test", "orthogonality_test"),
            log=True,
        ),
        Curves("Noise scale (a batch size)", ("noise_scale",), log=True),
        Curves("Cosines", ("cosine_gradients", "cosine_updates", "cosine_descent"), low=-1.05, high=1.05, marks=(0,)),
    ),
    "Curvature": (
        Curves("Largest eigenvalue over stability limit", ("sharpness_to_limit",), log=True, marks=(1,)),
        Curves("Trace of the Hessian", ("hessian_trace", "gauss_newton_trace")),
        Curves("Takeuchi criterion (by trace)", ("tic_trace",), log=True),
        Curves("Real over predicted decrease", ("real_to_predicted",), low=-3.0, high=4.0, marks=(1,)),
    ),
}
"""The columns of a panel."""
