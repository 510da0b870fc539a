"""Likely problems of a run, found by rules in the measurements of its instruments, with the supporting numbers.

Thresholds are from the literature or from runs of this library's baselines, for which the rules must report nothing;
``docs/instruments.md`` has a table of them. Findings are not proofs. A rule without measurements reports nothing.

Example:
    >>> still = [{"step": step, "update_size": 0.0, "gradient_norm": 1.0, "learning_rate": 0.0} for step in range(4)]
    >>> [finding.rule for finding in diagnose(still)]
    ['stuck']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from algoperf_lightning.instruments.diagnosis import course, gradients, layers, rates
from algoperf_lightning.instruments.diagnosis.evidence import FEWEST
from algoperf_lightning.instruments.diagnosis.evidence import Evidence as Evidence
from algoperf_lightning.instruments.diagnosis.evidence import Finding as Finding
from algoperf_lightning.records.instrument_rows import Row, unmeasurable


@dataclass(frozen=True)
class Rule:
    """A rule that detects a problem of a run."""

    name: str
    judge: Callable[[Evidence], Finding | None]
    instrument: str
    """Name of the instrument that measures the numbers."""
    reads: tuple[str, ...]
    """Names of the numbers, at least one of which is required."""
    preset: str = "light"
    """The smallest preset with that instrument."""
    steps: int = FEWEST
    """Minimum number of measured steps; 0 if it reads the losses of the record."""


_RULES = (
    Rule("diverged", course.diverged, "loss", ("loss",), steps=0),
    Rule("warmup_divergence", course.after_warmup, "loss", ("loss",), steps=0),
    Rule("stuck", course.stuck, "update_size", ("update_size",)),
    Rule("uphill", gradients.uphill, "descent", ("cosine_descent",)),
    Rule("decayed_weights", rates.decayed, "weight_norm", ("weight_norm",)),
    Rule("rate_too_high", rates.too_high, "same_batch", ("same_batch_step_length",)),
    Rule("rate_too_low", rates.too_low, "same_batch", ("same_batch_step_length",)),
    Rule("above_stability_limit", rates.above_limit, "stability", ("sharpness_to_limit",), "business"),
    Rule("exploding_layers", layers.exploding, "update_ratio", ("update_ratios",)),
    Rule("frozen_layers", layers.frozen, "update_ratio", ("update_ratios", "untrained_share")),
    Rule("spikes", course.spikes, "loss", ("loss",), steps=0),
    Rule("attention_logits", layers.attention, "attention", ("attention_logit",), "economy"),
    Rule("dead_units", layers.dead, "activations", ("dead_units",), "economy", steps=1),
    Rule("noise", gradients.noise, "noise_scale", ("noise_scale",), "economy"),
    Rule("always_clipped", gradients.clipped, "clipping", ("clip_ratio",)),
    Rule("label_smoothing", course.label_smoothing, "outputs", ("loss_floor",), "economy"),
)
_MUCH = 0.6
"""From this share of the first loss on, a run without findings did not go well."""
RULES = {rule.name: rule for rule in _RULES}
"""All rules by name, the most severe first."""


def diagnose(rows: Sequence[Row] | Evidence, batch_size: int | None = None) -> list[Finding]:
    """Return the likely problems of a run, the most severe first; empty for a run that looks healthy.

    Args:
        rows: All rows of the run, as returned by :func:`~algoperf_lightning.records.instrument_rows.read_rows`, or all
            data of the run, as returned by :meth:`Evidence.read`.
        batch_size: Examples in a global batch; if it is unknown, rules that need it are skipped.
    """
    run = rows if isinstance(rows, Evidence) else Evidence(rows, batch_size)
    return [finding for rule in _RULES if (finding := rule.judge(run)) is not None]


def nothing_found(run: Evidence) -> str:
    """Return a sentence about a run without findings, which may still not have gone well."""
    if run.ended and not run.reached and run.left > _MUCH:
        return f"Nothing conspicuous, but {run.left:.0%} of the first loss is left: no rule explains it."
    return "Nothing conspicuous."


def not_judged(run: Evidence) -> dict[str, str]:
    """Return the rules without enough measurements, each with the reason.

    Rules about features that a run does not use, such as clipping or label smoothing, are not included if the
    instrument measured.
    """
    reasons = {rule.name: _reason(rule, run) for rule in _RULES if rule.judge(run) is None}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _reason(rule: Rule, run: Evidence) -> str | None:
    if run.has(*rule.reads):
        count = sum(any(name in row for name in rule.reads) for row in run.moving)
        return None if count >= rule.steps else f"it needs {rule.steps} steps that moved the parameters, not {count}"
    if rule.instrument in run.measured:
        return None
    return unmeasurable(run.rows).get(rule.instrument, f"`{rule.instrument}` was not measured ({rule.preset})")
