"""Rules that say what is wrong: each on rows with exactly that fault, and silent on healthy ones."""

import math

import pytest

from algoperf_lightning.instruments.diagnosis import RULES, diagnose

HEALTHY = {
    "loss": 1.0,
    "learning_rate": 1e-3,
    "gradient_norm": 1.0,
    "update_size": 0.01,
    "update_ratio": 3e-3,
    "update_ratios": {"hidden.weight": 3e-3, "head.weight": 2e-3},
    "same_batch_step_length": -0.8,
    "loss_change": -0.01,
    "norm_test": 0.9,
    "noise_scale": 200.0,
    "sharpness_to_limit": 0.1,
    "dead_units": {"act": 0.2},
    "clip_ratio": 0.5,
    "attention_logit": 5.0,
}
FAULTS = {
    "diverged": {"loss": math.nan},
    "stuck": {"update_size": 0.0, "learning_rate": 0.0, "update_ratio": 0.0, "same_batch_step_length": math.nan},
    "rate_too_high": {"update_ratio": 0.05, "sharpness_to_limit": 3.0},
    "rate_too_low": {"update_ratio": 1e-6, "same_batch_step_length": -0.9999},
    "noise": {"noise_scale": 9000.0},
    "frozen": {"update_ratios": {"hidden.weight": 0.0, "head.weight": 2e-3}},
    "exploding": {"update_ratios": {"hidden.weight": 0.8, "head.weight": 2e-3}},
    "dead": {"dead_units": {"act": 0.9}},
    "clipped": {"clip_ratio": 4.0},
    "attention": {"attention_logit": 300.0},
}


def rows(**changes):
    """Six measured steps, the first of them as usual a warm-up step that does not move."""
    first = {**HEALTHY, "step": 0, "learning_rate": 0.0, "update_size": 0.0, "update_ratio": 0.0}
    first |= {"same_batch_step_length": math.nan, "update_ratios": {"hidden.weight": 0.0, "head.weight": 0.0}}
    return [first, *({**HEALTHY, **changes, "step": step} for step in (1, 101, 201, 301, 401))]


def test_a_healthy_run_is_left_in_peace():
    assert diagnose(rows(), 64) == []
    assert diagnose([]) == []
    assert diagnose([{"step": 0, "loss": 2.0}]) == []


def test_every_rule_has_a_fault_here():
    assert set(FAULTS) == set(RULES)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_numbers_and_nothing_else_is(fault):
    (found,) = diagnose(rows(**FAULTS[fault]), 64)
    assert found.rule.startswith(fault) or fault in found.rule
    assert any(sign.isdigit() for sign in found.evidence)
    assert found.sentence.endswith(".")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_not_measured_is_not_judged(fault):
    kept = ("step", "loss")
    few = [{name: row[name] for name in kept if name in row} for row in rows(**FAULTS[fault])]
    assert [each.rule for each in diagnose(few)] == (["diverged"] if fault == "diverged" else [])


def test_a_batch_of_one_is_noise_whatever_was_measured():
    assert [each.rule for each in diagnose(rows(noise_scale=math.nan), 1)] == ["noise"]
