"""What is likely wrong with a run, read from the rows of its instruments: rules, each with the numbers behind it.

Thresholds come from the literature or from runs of this library's baselines, which they must be silent on;
``docs/instruments.md`` has a table of them. They are no proof. A rule whose numbers were not measured says nothing.

Example:
    >>> still = [{"step": step, "update_size": 0.0, "gradient_norm": 1.0, "learning_rate": 0.0} for step in range(4)]
    >>> [finding.rule for finding in diagnose(still)]
    ['stuck']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from algoperf_lightning.instruments.diagnosis import course, gradients, layers, rates
from algoperf_lightning.instruments.diagnosis.evidence import Evidence as Evidence
from algoperf_lightning.instruments.diagnosis.evidence import Finding as Finding
from algoperf_lightning.records.instrument_rows import Row, unmeasurable


@dataclass(frozen=True)
class Rule:
    """Something that can be wrong with a run, and what tells."""

    name: str
    judge: Callable[[Evidence], Finding | None]
    instrument: str
    """What measures the numbers that it reads."""
    reads: tuple[str, ...]
    """Names of these numbers; one of them is enough."""
    preset: str = "light"
    """The smallest preset with that instrument."""


_RULES = (
    Rule("diverged", course.diverged, "loss", ("loss",)),
    Rule("warmup_divergence", course.after_warmup, "loss", ("loss",)),
    Rule("stuck", course.stuck, "update_size", ("update_size",)),
    Rule("rate_too_high", rates.too_high, "same_batch", ("same_batch_step_length",)),
    Rule("rate_too_low", rates.too_low, "same_batch", ("same_batch_step_length",)),
    Rule("above_stability_limit", rates.above_limit, "stability", ("sharpness_to_limit",), "business"),
    Rule("exploding_layers", layers.exploding, "update_ratio", ("update_ratios",)),
    Rule("frozen_layers", layers.frozen, "update_ratio", ("update_ratios",)),
    Rule("spikes", course.spikes, "loss", ("loss",)),
    Rule("attention_logits", layers.attention, "attention", ("attention_logit",), "economy"),
    Rule("dead_units", layers.dead, "activations", ("dead_units",), "economy"),
    Rule("noise", gradients.noise, "noise_scale", ("noise_scale",), "economy"),
    Rule("always_clipped", gradients.clipped, "clipping", ("clip_ratio",)),
    Rule("label_smoothing", course.label_smoothing, "outputs", ("loss_floor",), "economy"),
)
RULES = {rule.name: rule for rule in _RULES}
"""All rules by name, the most severe first."""


def diagnose(rows: Sequence[Row] | Evidence, batch_size: int | None = None) -> list[Finding]:
    """Return the likely problems of a run, the most severe first; empty for a run that looks healthy.

    Args:
        rows: All rows of the run, as :func:`~algoperf_lightning.records.instrument_rows.read_rows` returns them, or all
            that is known of it, as :meth:`Evidence.read` returns it.
        batch_size: Examples in a global batch; what needs it is not judged where it is not known.
    """
    run = rows if isinstance(rows, Evidence) else Evidence(rows, batch_size)
    return [finding for rule in _RULES if (finding := rule.judge(run)) is not None]


def not_judged(run: Evidence) -> dict[str, str]:
    """Return the rules that had no numbers to judge by, with the reason of each.

    Rules about what a run does not have, as clipping or label smoothing, are not among them if the instrument measured.
    """
    known = unmeasurable(run.rows)
    return {
        rule.name: known.get(rule.instrument, f"`{rule.instrument}` was not measured ({rule.preset})")
        for rule in _RULES
        if not run.has(*rule.reads) and rule.instrument not in run.measured
    }
