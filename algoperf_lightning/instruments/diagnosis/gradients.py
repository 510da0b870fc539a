"""Rules about gradients: dominant noise, steps in the wrong direction, and clipping at every step."""

from __future__ import annotations

from statistics import median

from algoperf_lightning.instruments.diagnosis.evidence import FALLEN, FEWEST, Evidence, Finding, share

_NOISY = 100.0
_CLIPPED = 0.95
_UPHILL = -0.1
"""Cosine of a step and the direction of steepest descent; near 0, it is noise for a preconditioned step."""


def noise(run: Evidence) -> Finding | None:
    """Report batches that are too small for their noise."""
    advice = "Try a larger batch, or longer averages (momentum, averaged weights)."
    if run.batch_size == 1:
        return Finding("noise", "A batch is a single example: its gradient is mostly noise.", "batch 1", advice)
    # Late in the decay of a learning rate, a gradient is mostly noise in any run. The scale is infinite if a
    # gradient cannot be distinguished from 0.
    scales = run.finite("noise_scale", run.at_peak)
    if run.batch_size is None or len(scales) < FEWEST or not median(scales) > _NOISY * run.batch_size:
        return None
    return Finding(
        "noise",
        "Noise dominates the gradient: the batch is likely too small.",
        f"the noise scale is {median(scales):.3g} in the median, over {_NOISY:g} times the batch of {run.batch_size}",
        advice,
    )


def uphill(run: Evidence) -> Finding | None:
    """Report steps that increase the workload's loss to first order."""
    cosine = run.median("cosine_descent", run.at_peak)
    if run.reached or not cosine < _UPHILL:
        return None
    return Finding(
        "uphill",
        "Steps go uphill: against the gradient of the workload's loss on their own batch.",
        f"the cosine of a step and steepest descent is {cosine:.2g} in the median",
        "Check the sign of the update and the loss that the submission differentiates.",
    )


def clipped(run: Evidence) -> Finding | None:
    """Report gradients that are clipped at every step."""
    ratios = run.finite("clip_ratio")
    well = run.reached or run.left < FALLEN
    if well or len(ratios) < FEWEST or share(ratios, lambda value: value > 1) < _CLIPPED:
        return None
    return Finding(
        "always_clipped",
        "The gradient is clipped at every step, so the threshold determines the length of a step.",
        f"clipped at {share(ratios, lambda value: value > 1):.0%} of {len(ratios)} measured steps, by a factor of "
        f"{median(ratios):.3g} in the median",
        "Raise the threshold, or choose it deliberately as a normalisation of the gradient.",
    )
