"""Rules that say what is wrong: each on rows with exactly that fault, and silent on healthy ones."""

import math

import pytest

from algoperf_lightning.instruments.diagnosis import RULES, Evidence, diagnose, not_judged, nothing_found
from algoperf_lightning.instruments.diagnosis.evidence import Curve
from algoperf_lightning.instruments.instrument import INSTRUMENTS, PRESETS

HEALTHY = {
    "learning_rate": 1e-3,
    "gradient_norm": 1.0,
    "update_size": 0.01,
    "update_ratio": 3e-3,
    "update_ratios": {"hidden.weight": 3e-3, "head.weight": 2e-3},
    "cosine_descent": 0.5,
    "same_batch_step_length": -0.8,
    "loss_change": -0.004,
    "weight_norm": 10.0,
    "distance": 5.0,
    "noise_scale": 200.0,
    "sharpness_to_limit": 0.1,
    "dead_units": {"act": 0.2},
    "clip_ratio": 0.5,
    "attention_logit": 5.0,
    "loss_floor": 0.1,
}
STEPS = (1, 101, 201, 301, 401)


def rows(losses=(1.0, 0.5, 0.3, 0.2, 0.15), **changes):
    """Six measured steps, the first of them as usual a warm-up step that does not move."""
    first = {**HEALTHY, "step": 0, "loss": 2.0, "learning_rate": 0.0, "update_size": 0.0, "update_ratio": 0.0}
    first |= {"same_batch_step_length": math.nan, "update_ratios": {"hidden.weight": 0.0, "head.weight": 0.0}}
    first["distance"] = 0.0
    later = zip(STEPS, losses, strict=True)
    return [first, *({**HEALTHY, **changes, "loss": loss, "step": step} for step, loss in later)]


def curve(values, every=1):
    return Curve([every * number for number in range(1, len(values) + 1)], list(values))


def decay(count=400, start=2.0, rate=0.02):
    """A loss that falls, with a little noise."""
    return [start * math.exp(-rate * n) + 0.2 + 0.01 * math.sin(1.7 * n * n) for n in range(count)]


def spiky():
    losses = decay()
    losses[250], losses[330] = 5.0, 2.5
    return losses


WARM_UP = [min(1.0, (n + 1) / 100) for n in range(400)]
FAULTS = {
    "diverged": Evidence(rows([1.0, 0.5, math.nan, math.nan, math.nan])),
    "diverged, finite": Evidence(rows([1.0, 0.5, 3.0, 9.0, 8.0])),
    "warmup_divergence": Evidence(
        rows(), losses=curve([2.0 - 0.015 * n if n < 90 else 2.2 for n in range(400)]), rates=curve(WARM_UP)
    ),
    "stuck": Evidence(rows(update_size=0.0, learning_rate=0.0, update_ratio=0.0, same_batch_step_length=math.nan)),
    "stuck, never raised": Evidence(rows(), rates=curve([2e-5] * 400), hyperparameters={"learning_rate": 1e-2}),
    "spikes": Evidence(rows(), losses=curve(spiky())),
    "rate_too_high": Evidence(rows([1.95, 1.9, 1.85, 1.8, 1.75], same_batch_step_length=0.9, loss_change=-0.0002)),
    "rate_too_low": Evidence(rows([1.95, 1.9, 1.85, 1.8, 1.75], same_batch_step_length=-0.999, distance=0.1)),
    "above_stability_limit": Evidence(rows(sharpness_to_limit=3.0, same_batch_step_length=0.3)),
    "uphill": Evidence(rows(cosine_descent=-0.5, same_batch_step_length=-1.1)),
    "decayed_weights": Evidence(rows([1.95, 1.9, 1.85, 1.8, 1.75], weight_norm=1.0)),
    "decayed_weights, by most of each update": Evidence(
        rows([1.95, 1.9, 1.85, 1.8, 1.75], weight_norm=9.0), hyperparameters={"weight_decay": 2.5}
    ),
    "noise": Evidence(rows(noise_scale=9000.0), 64),
    "noise, a batch of one": Evidence(rows(noise_scale=math.nan), 1),
    "frozen_layers": Evidence(rows(update_ratios={"hidden.weight": 0.0, "head.weight": 2e-3})),
    "frozen_layers, with weights of zero": Evidence(
        rows(
            [2.0, 1.9, 1.9, 1.9, 1.9],
            update_ratios={"hidden.weight": math.nan, "head.weight": 2e-3},
            update_sizes={"hidden.weight": 0.0, "head.weight": 0.1},
            same_batch_step_length=-0.999,
        )
    ),
    "frozen_layers, without gradients": Evidence(
        rows([2.0, 1.9, 1.9, 1.9, 1.9], untrained_share=0.9, distance=20.0, same_batch_step_length=-0.999)
    ),
    "exploding_layers": Evidence(rows(update_ratios={"hidden.weight": 0.8, "head.weight": 2e-3})),
    "dead_units": Evidence(rows(dead_units={"act": 0.9})),
    "always_clipped": Evidence(rows([1.9, 1.8, 1.7, 1.6, 1.5], clip_ratio=4.0)),
    "attention_logits": Evidence(rows(attention_logit=300.0)),
    "label_smoothing": Evidence(rows([1.5, 1.25, 1.2, 1.2, 1.2], loss_floor=1.18)),
}


def test_a_healthy_run_is_left_in_peace():
    assert diagnose(rows(), 64) == []
    assert diagnose(Evidence(rows(), 64, curve(decay()), curve(WARM_UP), {"learning_rate": 1e-3})) == []
    assert diagnose(Evidence(rows(same_batch_step_length=0.9, distance=40.0, update_ratio=0.05))) == []  # a low loss
    assert diagnose([]) == []
    assert diagnose([{"step": 0, "loss": 2.0}]) == []


def test_every_rule_has_a_fault_here():
    assert {fault.partition(",")[0] for fault in FAULTS} == set(RULES)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_numbers_and_nothing_else_is(fault):
    (found,) = diagnose(FAULTS[fault])
    assert found.rule == fault.partition(",")[0]
    assert any(sign.isdigit() for sign in found.evidence)
    assert found.sentence.endswith(".")
    assert found.advice.endswith(".")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_not_measured_is_not_judged(fault):
    """Only what needs no instrument is: the losses, learning rates and settings of the record."""
    run = FAULTS[fault]
    few = [{"step": row["step"], "loss": row["loss"]} for row in run.rows]
    bare = Evidence(few, run.batch_size, run.losses, run.rates, run.hyperparameters)
    of_the_record = fault.startswith(("diverged", "warmup", "spikes")) or fault in (
        "stuck, never raised",
        "noise, a batch of one",
    )
    assert [each.rule for each in diagnose(bare)] == ([fault.partition(",")[0]] if of_the_record else [])


def test_rules_without_numbers_are_named_with_the_instrument_that_would_give_them():
    light = [{k: v for k, v in row.items() if k not in ("noise_scale", "dead_units", "clip_ratio")} for row in rows()]
    assert not_judged(Evidence(rows())) == {}
    assert not_judged(Evidence(light)) == {
        "dead_units": "`activations` was not measured (economy)",
        "noise": "`noise_scale` was not measured (economy)",
        "always_clipped": "`clipping` was not measured (light)",
    }
    assert not_judged(Evidence(light, measured=["activations", "clipping", "noise_scale"])) == {}
    few = not_judged(Evidence(rows()[:3]))
    assert few["rate_too_high"] == "it needs 3 steps that moved the parameters, not 2"
    assert not set(few) & {"diverged", "spikes", "dead_units"}
    light[1]["unmeasurable"] = {"noise_scale": "examples meet"}
    assert not_judged(Evidence(light))["noise"] == "examples meet"


def test_the_presets_of_rules_are_the_smallest_with_their_instruments():
    for rule in RULES.values():
        assert rule.instrument in INSTRUMENTS
        assert rule.preset == next(name for name, parts in PRESETS.items() if rule.instrument in parts)


def test_a_run_that_failed_without_a_finding_is_not_called_healthy():
    failed = Evidence(rows([1.95, 1.9, 1.85, 1.8, 1.75]))
    assert diagnose(failed) == []
    assert nothing_found(failed) == "Nothing conspicuous, but 92% of the first loss is left: no rule explains it."
    assert (
        nothing_found(Evidence(failed.rows, reached=True)) == nothing_found(Evidence(rows())) == "Nothing conspicuous."
    )


def test_curvature_above_the_limit_is_no_fault_of_steps_that_do_not_overshoot():
    """As in runs of AdamW and momentum at their best learning rates, by the curvature of single batches."""
    assert diagnose(rows(sharpness_to_limit=17.0)) == []
    assert diagnose(Evidence(rows(sharpness_to_limit=17.0, same_batch_step_length=0.3), reached=True)) == []


def test_weights_that_moved_far_have_no_learning_rate_that_is_too_low():
    """Along a concave direction, steps end at -1 and below: as with labels that are noise."""
    assert diagnose(rows([1.95, 1.9, 1.85, 1.8, 1.75], same_batch_step_length=-1.07)) == []


def test_weight_decay_that_is_not_most_of_each_update_is_no_fault():
    """With 300 it would be far more than the update: then the learning rate is no step size, as Prodigy's."""
    shrunk = rows([1.95, 1.9, 1.85, 1.8, 1.75], weight_norm=9.0)
    assert [diagnose(Evidence(shrunk, hyperparameters={"weight_decay": decay})) for decay in (1.0, 300.0)] == [[], []]


def test_a_single_step_that_overshoots_in_a_run_that_does_well_is_no_fault():
    """As of Prodigy, whose estimate of the learning rate is too large for a moment."""
    overshot = rows()
    overshot[2] |= {"loss_change": 0.15, "same_batch_step_length": 9.0}
    assert diagnose(overshot) == []
    overshot[3] |= {"loss_change": 0.15, "same_batch_step_length": 9.0}
    assert [finding.rule for finding in diagnose(overshot)] == ["rate_too_high"]


def test_weights_whose_best_value_is_near_zero_may_shrink():
    """As a quadratic's under SGD: updates follow the gradient, and their ratio to what is left of the weights grows."""
    norms = [8.0, 6.0, 4.0, 2.0, 1.0]
    shrinking = rows([1.95, 1.9, 1.85, 1.8, 1.75], cosine_descent=0.9)
    for row, norm in zip(shrinking[1:], norms, strict=True):
        row |= {"weight_norm": norm, "update_sizes": {"point": 1.0}, "update_ratios": {"point": 1.0 / norm}}
    assert diagnose(shrinking) == []
    exploding = [row | {"update_sizes": {"point": 1.0}, "update_ratios": {"point": 0.9}} for row in shrinking]
    assert [finding.rule for finding in diagnose(exploding)] == ["exploding_layers"]
    for row in shrinking:
        row["cosine_descent"] = 0.2
    assert [finding.rule for finding in diagnose(shrinking)] == ["decayed_weights"]


def test_a_spike_is_high_and_alone():
    assert "2 spikes" in diagnose(Evidence([], losses=curve(spiky())))[0].sentence
    small = decay()
    small[300] = 0.5  # of a single example: far above the noise, and far below the loss of the start
    assert diagnose(Evidence([], losses=curve(small))) == []


def test_a_warm_up_that_is_survived_is_left_in_peace():
    bump = [2.0 - 0.015 * n if n < 90 else 0.65 + 0.5 * math.exp(-0.05 * (n - 90)) for n in range(400)]
    assert diagnose(Evidence([], losses=curve(bump), rates=curve(WARM_UP))) == []


@pytest.mark.parametrize(
    "what", [{"reached": True}, {"ended": False}, {"rates": curve([1e-5 * n for n in range(400)])}]
)
def test_a_learning_rate_is_not_too_low_before_the_end_or_if_the_target_was_reached(what):
    slow = FAULTS["rate_too_low"]
    assert diagnose(Evidence(slow.rows, **what)) == []
