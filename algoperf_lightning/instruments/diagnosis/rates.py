"""Rules about the learning rate: too high for stable training, or far too low.

The lengths of single steps are noisy: with momentum or a preconditioner, a step may even start uphill for its own
batch. The slopes at both ends of all measured steps near the largest learning rate are therefore summed before the
division.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from algoperf_lightning.instruments.diagnosis.course import stuck
from algoperf_lightning.instruments.diagnosis.evidence import FEWEST, Evidence, Finding, share
from algoperf_lightning.instruments.diagnosis.gradients import clipped, noise, uphill
from algoperf_lightning.instruments.diagnosis.layers import frozen

_SHORT, _LONG = -0.99, 0.5
"""Lengths of steps: almost at the start, and almost as high on the other side of the minimum."""
_STAYED, _NEAR, _AWAY, _FAR = 0.1, 0.3, 1.3, 3.0
"""Distances from the initial weights relative to their norm: hardly moved, near, far, and very far."""
_FALLEN_LITTLE, _FALLEN_TOO_LITTLE = 0.6, 0.75
"""Shares of the first loss that remain at the end."""
_SHRUNK = 0.5
"""Ratio of the norm of the weights at the end to that at the start."""
_ALONG = 0.5
"""Above this cosine of update and negative gradient, the gradient shrinks the weights, not weight decay."""
_STRONG_DECAY, _NO_DECAY = 0.5, 2.0
"""Shares of weight decay in the size of updates: strong, and impossible (the learning rate is not the step size)."""
_LARGE_UPDATE, _HUGE_UPDATE = 1e-2, 3e-2
"""Ratios of updates to weights: suspicious if the weights moved far, and in any case."""


@dataclass(frozen=True)
class Steps:
    """Total effect of the measured steps near the largest learning rate on the loss of their own batches."""

    count: int
    length: float
    """Where on their parabola they ended: -1 at the start, 0 at the minimum, 1 as high on the other side."""
    gain: float
    """Change of the loss divided by that predicted by its slope: 1 for a loss without curvature, below 0 if it rose."""
    raised: int
    """Number of steps that raised the loss."""


def steps_of(run: Evidence) -> Steps:
    """Return the total of the measured steps; NaN if too few were measured."""
    names = ("gradient_norm", "cosine_descent", "update_size", "same_batch_step_length", "loss_change")
    before = after = change = 0.0
    count = raised = 0
    for row in run.at_peak:
        norm, cosine, size, length, changed = (row.get(name, math.nan) for name in names)
        if all(map(math.isfinite, (norm, cosine, size, length, changed))):
            slope = -cosine * norm * size
            before, after, change, count = before + slope, after - length * slope, change + changed, count + 1
            raised += changed > 0
    if count < FEWEST or before >= 0.0:
        return Steps(count, math.nan, math.nan, raised)
    return Steps(count, -after / before, change / before, raised)


def too_high(run: Evidence) -> Finding | None:
    """Report steps that overshoot, and weights that moved far without progress."""
    steps, moved, left = steps_of(run), moved_of(run), run.left
    if run.reached:
        return None
    evidence = []
    unsolved = left > _FALLEN_LITTLE  # as in all recorded runs with a learning rate that is too high on purpose
    if steps.length > _LONG and unsolved:
        evidence.append(f"steps end at {steps.length:.2g} on their batch's parabola, beyond its minimum at 0")
    # In a good run, one of many steps may overshoot.
    if steps.gain < 0 and (unsolved or steps.raised > 1):
        evidence.append(f"the {steps.count} measured steps together raised the loss of their own batches")
    if moved > _AWAY and left > _FALLEN_TOO_LITTLE:
        evidence.append(f"the weights moved by {moved:.2g} times their norm, but {left:.0%} of the first loss is left")
    ratio = run.median("update_ratio", run.at_peak)
    if unsolved and (ratio > _HUGE_UPDATE or (moved > _FAR and ratio > _LARGE_UPDATE)):
        far = f", and the weights moved by {moved:.2g} times their norm" if moved > _FAR else ""
        evidence.append(f"updates are {ratio:.2g} of the weights in the median; about 1e-3 is usual{far}")
    if not evidence:
        return None
    return Finding(
        "rate_too_high", "The learning rate is likely too high.", "; ".join(evidence), "Try a third of it, or a tenth."
    )


def too_low(run: Evidence) -> Finding | None:
    """Report weights that hardly moved while most of the loss is left."""
    steps, moved, left = steps_of(run), moved_of(run), run.left
    # These explain a constant loss independent of the learning rate; noise even requires short steps.
    explained = any(rule(run) is not None for rule in (stuck, noise, clipped, frozen, uphill, decayed, too_high))
    if not left > _FALLEN_LITTLE or run.reached or not run.ended or run.warming_up or explained:
        return None
    evidence = []
    if moved < _STAYED:
        evidence.append(f"the weights moved by {moved:.2g} times their norm during the run")
    if steps.length < _SHORT and not moved > _NEAR:
        evidence.append(f"steps end at {steps.length:.4g} on their batch's parabola, where -1 is the start")
    if not evidence:
        return None
    return Finding(
        "rate_too_low",
        "The learning rate is likely too low.",
        f"{'; '.join(evidence)}; {left:.0%} of the first loss is left",
        "Try three times or ten times this value.",
    )


def decayed(run: Evidence) -> Finding | None:
    """Report weights that shrank while most of the loss is left: by half, or by updates that are mostly decay."""
    norms = run.finite("weight_norm", run.rows)
    if run.reached or len(norms) < FEWEST or not run.left > _FALLEN_LITTLE:
        return None
    decay = _share_of_decay(run)
    mostly = _STRONG_DECAY < decay < _NO_DECAY and norms[-1] < norms[0]
    if not mostly and (not norms[-1] < _SHRUNK * norms[0] or run.median("cosine_descent", run.at_peak) > _ALONG):
        return None
    part = f"; weight decay alone is {decay:.2g} times the size of an update in the median" if mostly else ""
    return Finding(
        "decayed_weights",
        "The weights shrank, but the loss hardly fell: weight decay is likely too strong.",
        f"their norm fell from {norms[0]:.3g} to {norms[-1]:.3g}{part}; {run.left:.0%} of the first loss is left",
        "Try a tenth of the weight decay, or of the learning rate: their product shrinks the weights.",
    )


def _share_of_decay(run: Evidence) -> float:
    """Return the ratio of weight decay to the size of an update, the median near the largest learning rate."""
    decay = run.hyperparameters.get("weight_decay")
    if not isinstance(decay, (int, float)):
        return math.nan
    known = [row for row in run.at_peak if row.get("update_ratio", 0.0) > 0.0 and "learning_rate" in row]
    shares = [float(row["learning_rate"] * decay / row["update_ratio"]) for row in known]
    return median(shares) if len(shares) >= FEWEST else math.nan


def moved_of(run: Evidence) -> float:
    """Return the distance from the initial weights relative to their norm, at the last measured step; NaN if unknown.

    Also NaN if parts of the model are not trained, because the norm is only that of the other parts.
    """
    first = next((row["weight_norm"] for row in run.rows if "weight_norm" in row), math.nan)
    last = next((row["distance"] for row in reversed(run.rows) if "distance" in row), math.nan)
    return last / first if first and not run.untrained else math.nan


def above_limit(run: Evidence) -> Finding | None:
    """Report curvature above the optimizer's limit of stability, if steps overshoot.

    Curvature alone is not a problem: that of a batch is larger than that of all data, and the best learning rates are
    often at the limit or above it.
    """
    edges = run.finite("sharpness_to_limit", run.at_peak)
    over = len(edges) >= FEWEST and share(edges, lambda value: value > 1) > 0.5
    if run.reached or not over or not steps_of(run).length > 0.0:
        return None
    return Finding(
        "above_stability_limit",
        "The learning rate is above the limit of stability.",
        f"the largest eigenvalue is above the limit at {share(edges, lambda value: value > 1):.0%} of {len(edges)} "
        f"measured steps, and at most {max(edges):.2g} times the limit; steps end at {steps_of(run).length:.2g} on "
        "their batch's parabola, beyond its minimum at 0",
        "Divide the learning rate by this factor, or lengthen the warm-up.",
    )
