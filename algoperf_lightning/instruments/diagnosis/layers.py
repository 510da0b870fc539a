"""Rules about single layers: frozen, exploding, dead, and attention whose logits grow."""

from __future__ import annotations

from statistics import median

from algoperf_lightning.instruments.diagnosis.evidence import FEWEST, Evidence, Finding, listed
from algoperf_lightning.records.instrument_rows import series

_FROZEN, _EXPLODING = 1e-7, 0.3
_MOSTLY_UNTRAINED = 0.5
"""Share of the model's parameters that require no gradient."""
_DEAD, _FEW_EXAMPLES = 0.8, 16
_LOGIT = 100.0


def frozen(run: Evidence) -> Finding | None:
    """Report layers that did not move while others did, and models that are mostly not trained."""
    ratios = run.layers("update_ratios", lambda values: max(values) < _FROZEN)
    # The ratio is undefined for a parameter of zeros.
    still = ratios + [
        name for name in run.layers("update_sizes", lambda values: max(values) == 0.0) if name not in ratios
    ]
    others = run.layers("update_ratios", lambda values: max(values) >= _FROZEN)
    advice = "Check whether the optimizer has these parameters, and whether they get a gradient."
    if still and (others or run.layers("update_sizes", lambda values: max(values) > 0.0)):
        return Finding(
            "frozen_layers",
            f"{listed(still)} did not move, while others did.",
            f"updates are below {_FROZEN:g} of the weights at all {len(run.moving)} measured steps",
            advice,
        )
    if run.untrained > _MOSTLY_UNTRAINED:
        evidence = f"{run.untrained:.0%} of the parameters have requires_grad False"
        return Finding("frozen_layers", "Most of the model is not trained.", evidence, advice)
    return None


def exploding(run: Evidence) -> Finding | None:
    """Report layers that change by a large part of their size in single steps."""
    by_layer = run.relative_updates_by_layer
    fast = [name for name, values in by_layer.items() if len(values) >= FEWEST and median(values) > _EXPLODING]
    if not fast or run.reached:
        return None
    return Finding(
        "exploding_layers",
        f"{listed(fast)} changed by a large part of {'its' if len(fast) == 1 else 'their'} size in single steps.",
        f"updates are above {_EXPLODING:g} of the weights in the median",
        "Lower the learning rate, or that of these parameters.",
    )


def dead(run: Evidence) -> Finding | None:
    """Report rectifiers with mostly dead units, which are 0 for a complete batch."""
    last = next((row for row in reversed(run.rows) if isinstance(row.get("dead_units"), dict)), None)
    shares = {} if last is None else {name: value for name, value in last["dead_units"].items() if value > _DEAD}
    if last is None or not shares or (run.batch_size or _FEW_EXAMPLES) < _FEW_EXAMPLES:
        return None
    return Finding(
        "dead_units",
        f"Most units of {listed(list(shares))} are dead.",
        f"{', '.join(f'{value:.0%}' for value in list(shares.values())[:3])} of the units are 0 for all of a batch at "
        f"step {last['step']}",
        "Lower the learning rate, lengthen the warm-up, or check the biases.",
    )


def attention(run: Evidence) -> Finding | None:
    """Report attention logits that grew large."""
    steps, logits = series(run.rows, "attention_logit")
    if len(logits) < FEWEST or not max(logits) > _LOGIT:
        return None
    return Finding(
        "attention_logits",
        "Attention logits grow large, which often precedes divergence.",
        f"{logits[0]:.3g} at step {steps[0]}, {max(logits):.3g} at step {steps[logits.index(max(logits))]}",
        "Lower the learning rate, or normalise queries and keys.",
    )
