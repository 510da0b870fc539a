"""Rules about the course of the training loss: divergence, spikes, schedules that are stuck, floors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np

from algoperf_lightning.instruments.diagnosis.evidence import FEWEST, Evidence, Finding

_ABOVE_START = 1.2
"""From this ratio of the last loss to the first on, a run counts as diverged even if all losses are finite."""
_LOST = 0.5
"""A run counts as diverged after its warm-up if it loses at least this share of the previous decrease of the loss."""
_WINDOW, _SPIKE, _FEWEST_BEFORE = 128, 6.0, 16
"""A spike is a loss this many standard deviations above the mean of this many losses before it."""
_SPIKE_HEIGHT = 0.5
"""Minimum height of a spike as a share of the first loss; smaller ones are caused by single examples."""
_STUCK_BELOW = 0.1
"""A constant schedule is reported as stuck below this share of the submission's learning rate."""
_MOSTLY_FLOOR, _HIGH_FLOOR = 0.6, 0.4
"""Shares of the lower bound from label smoothing in the last loss, and in the first loss."""


def diverged(run: Evidence) -> Finding | None:
    """Report losses that are not finite, or that ended above their start."""
    if after_warmup(run) is not None:
        return None
    bad = [step for step, loss in zip(run.losses.steps, run.losses.values, strict=True) if not math.isfinite(loss)]
    advice = "Lower the learning rate, lengthen the warm-up, or clip the gradient."
    if bad:
        before = [row for row in run.rows if row["step"] < bad[0] and math.isfinite(row.get("gradient_norm", math.nan))]
        norm = (
            f"; the gradient norm was {before[-1]['gradient_norm']:.3g} at step {before[-1]['step']}" if before else ""
        )
        return Finding("diverged", "The run diverged.", f"the loss is not finite at step {bad[0]}{norm}", advice)
    start, end = run.start, run.end
    if not end > _ABOVE_START * start:
        return None
    evidence = f"the loss was {start:.3g} at the start and is {end:.3g} at the end, step {run.losses.steps[-1]}"
    return Finding("diverged", "The run diverged.", evidence, advice)


def after_warmup(run: Evidence) -> Finding | None:
    """Report a loss that fell during the warm-up and rose permanently around its end."""
    top = max(run.rates.values, default=0.0)
    if len(run.losses) < 2 * FEWEST or not top or run.rates.values[0] > 0.5 * top:
        return None
    end_of_warmup = next(s for s, rate in zip(run.rates.steps, run.rates.values, strict=True) if rate >= 0.99 * top)
    lowest = _lowest(run)
    if lowest is None or not 0.1 * end_of_warmup <= lowest.step <= 1.5 * end_of_warmup:
        return None
    fell = run.start - lowest.loss
    lost = math.isinf(lowest.end) or lowest.end - lowest.loss > _LOST * fell
    if not fell > 0.05 * abs(run.start) or not lost:
        return None
    reached = run.rate_at(lowest.step)
    ended = "is not finite" if math.isinf(lowest.end) else f"is {lowest.end:.3g}"
    return Finding(
        "warmup_divergence",
        "The run diverged at the end of the warm-up: the learning rate became too large for it.",
        f"the loss fell from {run.start:.3g} to {lowest.loss:.3g} at step {lowest.step}, with a learning rate of "
        f"{reached:.2g}, and {ended} at the end; the warm-up ends at step {end_of_warmup} with {top:.2g}",
        f"Lower the peak to {reached / 2:.1g}, lengthen the warm-up, or clip the gradient.",
    )


@dataclass(frozen=True)
class _Lowest:
    step: int
    loss: float
    end: float
    """Loss at the end of the run, infinite if it is not finite."""


def _lowest(run: Evidence) -> _Lowest | None:
    """Return the step with the lowest loss, as a median of five neighbours."""
    steps, values = run.losses.steps, run.losses.values
    finite = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    smooth = [(finite[i][0], median(v for _, v in finite[max(0, i - 2) : i + 3])) for i in range(len(finite))]
    if not smooth:
        return None
    step, loss = min(smooth, key=lambda each: each[1])
    return _Lowest(step, loss, math.inf if len(finite) < len(values) else run.end)


def spikes(run: Evidence) -> Finding | None:
    """Report single losses far above those before them, from which the run recovered."""
    found = spikes_of(run)
    if not found or diverged(run) is not None or after_warmup(run) is not None:
        return None
    step, loss, mean, deviation = max(found, key=lambda each: each[1] - each[2])
    return Finding(
        "spikes",
        f"The loss has {len(found)} spike{'s' if len(found) > 1 else ''}.",
        f"the highest is {loss:.3g} at step {step}, where the losses before were {mean:.3g} with a standard deviation "
        f"of {deviation:.2g}",
        "Clip the gradient, lower the learning rate or Adam's beta2, or inspect the examples of these steps.",
    )


def spikes_of(run: Evidence) -> list[tuple[int, float, float, float]]:
    """Return the spikes of the training loss: step, loss, and mean and standard deviation of the losses before it.

    The rule is that of OLMo-core (6 standard deviations of the last 128 losses), with a minimum height.
    """
    found: list[tuple[int, float, float, float]] = []
    before: list[float] = []
    for step, loss in zip(run.losses.steps, run.losses.values, strict=True):
        if not math.isfinite(loss):
            continue
        window = before[-_WINDOW:]
        if len(window) >= _FEWEST_BEFORE:
            mean, deviation = float(np.mean(window)), float(np.std(window))
            if loss > mean + _SPIKE * deviation and loss - mean > _SPIKE_HEIGHT * abs(run.start):
                found.append((step, loss, mean, deviation))
                continue  # its neighbours are compared with the losses before it
        before.append(loss)
    return [spike for last, spike in pairwise([(-math.inf,), *found]) if spike[0] - last[0] > run.losses_apart]


def stuck(run: Evidence) -> Finding | None:
    """Report parameters that do not change, and a learning rate that remains far below the configured one."""
    return _still(run) or _never_raised(run)


def _still(run: Evidence) -> Finding | None:
    late = [row for row in run.rows if row["step"] > 0 and "update_size" in row]
    still = [row for row in late if row["update_size"] == 0.0 and row.get("gradient_norm", 0.0) > 0.0]
    if len(still) < FEWEST or len(still) < 0.5 * len(late):
        return None
    return Finding(
        "stuck",
        "The parameters do not move.",
        f"the update was 0 at {len(still)} of {len(late)} measured steps, from step {still[0]['step']} on, with a "
        f"learning rate of {still[-1].get('learning_rate', math.nan):.3g}",
        "Check whether the schedule ended early, and whether the optimizer has the parameters.",
    )


def _never_raised(run: Evidence) -> Finding | None:
    wanted = next((run.hyperparameters[name] for name in ("learning_rate", "lr") if name in run.hyperparameters), None)
    rates = run.rates.values
    if not isinstance(wanted, (int, float)) or len(rates) < FEWEST or max(rates) != min(rates):
        return None
    if not 0 < rates[0] < _STUCK_BELOW * wanted:
        return None
    return Finding(
        "stuck",
        "The schedule is stuck: the learning rate never changed, and is not the configured one.",
        f"it is {rates[0]:.3g} at all {len(rates)} logged steps; the submission's is {wanted:.3g}",
        'Step the schedule after each step: Lightning\'s default is an epoch. Return {"scheduler": ..., "interval": '
        '"step"}.',
    )


def label_smoothing(run: Evidence) -> Finding | None:
    """Report a loss that consists mostly of the lower bound from label smoothing."""
    floor = run.median("loss_floor")
    if run.reached or not (floor > _MOSTLY_FLOOR * run.end and floor > _HIGH_FLOOR * run.start):
        return None
    return Finding(
        "label_smoothing",
        "Most of the loss is the lower bound set by label smoothing.",
        f"the loss is {run.end:.3g} at the end, while perfect predictions of the smoothed labels have {floor:.3g}; it "
        f"started at {run.start:.3g}",
        "Use less smoothing, especially if the metric is a loss or a perplexity.",
    )
