"""What is likely wrong with a run, read from the rows of its instruments: rules, each with the numbers behind it.

Thresholds are rules of thumb of the field (about 1e-3 for updates over weights, 100 for a logit of attention, half of a
layer's units dead) that are silent on this library's baselines; they are no proof. A rule whose numbers were not
measured says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from algoperf_lightning.records.instrument_rows import Row, series

_FEWEST = 3
"""Measured steps that a rule about the course of a run needs."""
_LARGE_UPDATE, _FROZEN, _EXPLODING = 2e-2, 1e-7, 0.3
_SHORT, _SMALL_UPDATE = -0.985, 5e-4
_FEW_EXAMPLES = 16
"""A unit that is 0 on fewer examples than these need not be dead."""
_DEAD, _LOGIT, _NOISY = 0.5, 100.0, 30.0


@dataclass(frozen=True)
class Finding:
    """Something that is likely wrong."""

    rule: str
    """Name of the rule."""
    sentence: str
    """What is likely wrong, and what to try."""
    evidence: str
    """The numbers that made the rule speak."""

    def __str__(self) -> str:
        return f"{self.sentence} ({self.evidence})"


def diagnose(rows: Sequence[Row], batch_size: int | None = None) -> list[Finding]:
    """Return the likely problems of a run, the most severe first; empty for a run that looks healthy.

    Args:
        rows: All rows of the run, as :func:`~algoperf_lightning.records.instrument_rows.read_rows` returns them.
        batch_size: Examples in a global batch; what needs it is not judged where it is not known.
    """
    if batch_size is not None:
        rows = [{**row, "batch_size": batch_size} for row in rows]
    moving = [row for row in rows if row.get("learning_rate", 1.0) != 0.0 and row.get("update_size", 1.0) != 0.0]
    found = [rule(list(rows if rule in _OF_ALL_ROWS else moving)) for rule in _RULES]
    return [finding for finding in found if finding is not None]


def _diverged(rows: list[Row]) -> Finding | None:
    steps, losses = series(rows, "loss")
    bad = [step for step, loss in zip(steps, losses, strict=True) if not math.isfinite(loss)]
    if not bad:
        return None
    finite = [(s, v) for s, v in zip(*series(rows, "gradient_norm"), strict=True) if s < bad[0] and math.isfinite(v)]
    before = f"; the gradient norm was {finite[-1][1]:.3g} at step {finite[-1][0]}" if finite else ""
    return Finding(
        "diverged",
        "The run diverged: lower the learning rate, lengthen the warm-up, or clip the gradient.",
        f"the loss is not finite at step {bad[0]}{before}",
    )


def _stuck(rows: list[Row]) -> Finding | None:
    """Parameters that stand still although the gradient is not 0."""
    still = [row for row in rows if row.get("update_size") == 0.0 and row.get("gradient_norm", 0.0) > 0.0]
    late = [row for row in still if row["step"] > 0]
    if len(late) < _FEWEST or len(late) < 0.5 * len([row for row in rows if row["step"] > 0 and "update_size" in row]):
        return None
    return Finding(
        "stuck",
        "The parameters do not move: the schedule is stuck at a learning rate of 0, or the optimizer lacks them.",
        f"the update was 0 at {len(late)} measured steps, from step {late[0]['step']} on, "
        f"with a learning rate of {late[-1].get('learning_rate', math.nan):.3g}",
    )


def _rate_too_high(rows: list[Row]) -> Finding | None:
    evidence = []
    if (ratio := _median(rows, "update_ratio")) > _LARGE_UPDATE:
        evidence.append(f"updates are {ratio:.2g} of the weights in the median, where about 1e-3 to 1e-2 is usual")
    if (length := _median(rows, "same_batch_step_length")) > 0.5:
        evidence.append(f"steps end at {length:.2g} on their batch's parabola, beyond its minimum at 0")
    changes = _finite(rows, "loss_change")
    if len(changes) >= _FEWEST and (share := _share(changes, lambda value: value > 0)) > 0.5:
        evidence.append(f"{share:.0%} of the measured steps raised the loss of their own batch")
    edges = _finite(rows, "sharpness_to_limit")
    if len(edges) >= _FEWEST and (share := _share(edges, lambda value: value > 1)) > 0.5:
        evidence.append(f"the largest eigenvalue is above the stability limit at {share:.0%} of the measured steps")
    if not evidence:
        return None
    return Finding("rate_too_high", "The learning rate is likely too high: try a third of it.", "; ".join(evidence))


def _rate_too_low(rows: list[Row]) -> Finding | None:
    ratio, length = _median(rows, "update_ratio"), _median(rows, "same_batch_step_length")
    noisy = _noise(rows) is not None  # every step is short for a batch that is mostly noise
    if not (length < _SHORT and ratio < _SMALL_UPDATE) or noisy:
        return None
    return Finding(
        "rate_too_low",
        "The learning rate is likely too low: try three times as much, or a shorter warm-up.",
        f"updates are {ratio:.2g} of the weights in the median, and steps end at {length:.3g} on their batch's "
        "parabola, where -1 is not moved at all",
    )


def _noise(rows: list[Row]) -> Finding | None:
    batch = max(_finite(rows, "batch_size"), default=math.nan)
    if batch == 1:
        return Finding(
            "noise", "A batch is a single example: its gradient is mostly noise. Try a larger batch.", "batch 1"
        )
    # Its averages need some measured steps. It is infinite where a gradient cannot be told from 0.
    scales = _finite(rows[len(rows) // 2 :], "noise_scale")
    if len(scales) < _FEWEST or not median(scales) > _NOISY * batch:
        return None
    return Finding(
        "noise",
        "Noise dominates the gradient: the batch is likely too small. Try a larger batch, or longer averages.",
        f"the noise scale is {median(scales):.3g} in the median, over {_NOISY:g} times the batch of {batch:.0f}",
    )


def _frozen(rows: list[Row]) -> Finding | None:
    frozen = _layers(rows, "update_ratios", lambda values: max(values) < _FROZEN)
    moving = _layers(rows, "update_ratios", lambda values: max(values) >= _FROZEN)
    if not frozen or not moving:
        return None
    return Finding(
        "frozen_layers",
        f"{_listed(frozen)} did not move, while others did: not passed to the optimizer, or without gradient.",
        f"updates below {_FROZEN:g} of the weights at all {len(rows)} measured steps",
    )


def _exploding(rows: list[Row]) -> Finding | None:
    fast = _layers(rows, "update_ratios", lambda values: len(values) >= _FEWEST and median(values) > _EXPLODING)
    if not fast:
        return None
    return Finding(
        "exploding_layers",
        f"{_listed(fast)} changed by a large part of their size in a single step: lower their learning rate.",
        f"updates above {_EXPLODING:g} of the weights in the median",
    )


def _dead(rows: list[Row]) -> Finding | None:
    last = next((row for row in reversed(rows) if isinstance(row.get("dead_units"), dict)), None)
    dead = [] if last is None else [name for name, share in last["dead_units"].items() if share > _DEAD]
    if last is None or not dead or last.get("batch_size", _FEW_EXAMPLES) < _FEW_EXAMPLES:
        return None
    shares = ", ".join(f"{last['dead_units'][name]:.0%}" for name in dead[:3])
    return Finding(
        "dead_units",
        f"Most units of {_listed(dead)} are dead: lower the learning rate, lengthen the warm-up, or check the biases.",
        f"{shares} of the units are 0 on a whole batch at step {last['step']}",
    )


def _clipped(rows: list[Row]) -> Finding | None:
    ratios = _finite(rows, "clip_ratio")
    if len(ratios) < _FEWEST or (share := _share(ratios, lambda value: value > 1)) < 0.95:
        return None
    return Finding(
        "always_clipped",
        "The gradient is clipped at every step, so clipping determines the step length: raise the threshold.",
        f"clipped at {share:.0%} of {len(ratios)} measured steps, by a factor of {median(ratios):.3g} in the median",
    )


def _attention(rows: list[Row]) -> Finding | None:
    steps, logits = series(rows, "attention_logit")
    if not logits or not max(logits) > _LOGIT:
        return None
    return Finding(
        "attention_logits",
        "Attention logits grow large, which often precedes divergence: lower the learning rate, or normalise queries "
        "and keys.",
        f"{logits[0]:.3g} at step {steps[0]}, {max(logits):.3g} at step {steps[logits.index(max(logits))]}",
    )


_RULES: tuple[Callable[[list[Row]], Finding | None], ...] = (
    *(_diverged, _stuck, _rate_too_high, _exploding, _attention, _dead, _rate_too_low, _frozen, _noise, _clipped),
)
_OF_ALL_ROWS = (_diverged, _stuck)
RULES = tuple(rule.__name__.removeprefix("_") for rule in _RULES)


def _finite(rows: list[Row], name: str) -> list[float]:
    return [value for value in series(rows, name)[1] if math.isfinite(value)]


def _median(rows: list[Row], name: str) -> float:
    """Return the median of a number over the measured steps; NaN, which every comparison denies, for too few."""
    values = _finite(rows, name)
    return median(values) if len(values) >= _FEWEST else math.nan


def _share(values: Sequence[float], holds: Callable[[float], bool]) -> float:
    return sum(map(holds, values)) / len(values)


def _layers(rows: list[Row], name: str, holds: Callable[[list[float]], bool]) -> list[str]:
    """Return the layers whose numbers satisfy a condition, of those that were measured often enough."""
    by_layer: dict[str, list[float]] = {}
    for row in rows:
        for layer, value in (row.get(name) or {}).items():
            if math.isfinite(value):
                by_layer.setdefault(layer, []).append(value)
    return [layer for layer, values in by_layer.items() if len(values) >= _FEWEST and holds(values)]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
