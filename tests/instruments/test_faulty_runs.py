"""Diagnoses of real runs: those made to have one fault, those with learning rates far off, and healthy ones."""

import pytest
from faulty_submissions import FAULTS
from instrumented_runs import train
from recorded import unpack

from algoperf_lightning.instruments.diagnosis import RULES, Evidence, diagnose, not_judged
from algoperf_lightning.plugins import get_submission

RECORDED = unpack()
"""What the rules read of the runs of ``tests/benchmarks/diagnosis_runs.py``, and what they ought to say."""
HEALTHY = [name for name, (wanted, _) in RECORDED.items() if wanted == ""]
FAULTY = {name: wanted for name, (wanted, _) in RECORDED.items() if wanted}
NOT_FOUND = {"quadratic_deep/adamw 0.001 seed 0"}
"""A hundredth of the best of the tried learning rates, but only 38 % of the first loss are left."""
ALIKE = {"rate_too_high": {"rate_too_high", "diverged", "warmup_divergence"}}
"""A learning rate that is far too high is also found by what comes of it."""
AT_LIGHT = {"step", "loss", "learning_rate", "gradient_norm", "update_size", "update_ratio", "update_ratios"} | {
    *("cosine_descent", "same_batch_step_length", "loss_change", "distance", "weight_norm", "clip_ratio")
}


def said_of(run):
    return {finding.rule for finding in diagnose(run)}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_recorded_run_is_left_in_peace(name):
    assert said_of(RECORDED[name][1]) == set()


@pytest.mark.parametrize("name", sorted(set(FAULTY) - NOT_FOUND))
def test_the_fault_of_a_recorded_run_is_found(name):
    assert said_of(RECORDED[name][1]) & ALIKE.get(FAULTY[name], {FAULTY[name]})


@pytest.mark.parametrize("name", [name for name, rule in FAULTY.items() if rule.startswith("rate_too")])
def test_the_cheapest_instruments_are_enough_for_learning_rates(name):
    _, run = RECORDED[name]
    rows = [{key: value for key, value in row.items() if key in AT_LIGHT} for row in run.rows]
    light = Evidence(rows, run.batch_size, run.losses, run.rates, run.hyperparameters, (), run.reached)
    rates = {"rate_too_high", "rate_too_low", "diverged", "warmup_divergence", "spikes"}
    assert said_of(light) & rates == said_of(run) & rates
    assert {"noise", "dead_units", "above_stability_limit"} <= set(not_judged(light))


def test_every_rule_is_found_in_a_real_run():
    found = {rule for name in FAULTY for rule in said_of(RECORDED[name][1])}
    assert found >= set(RULES) - {"above_stability_limit"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frozen layer", "warm-up too far", "spike", "batch of one"])
def test_a_fault_is_found(name, tmp_path):
    fault = FAULTS[name]
    train(fault.workload, fault.submission, tmp_path, None, steps=fault.steps, batch=fault.batch)
    assert fault.rule in said_of(Evidence.read(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "rule"), [(1.0, "rate_too_high"), (1e-5, "rate_too_low")])
def test_a_learning_rate_far_off_is_found(rate, rule, tmp_path):
    train("digits", get_submission("adamw")(learning_rate=rate), tmp_path, None, steps=300)
    assert said_of(Evidence.read(tmp_path)) & ALIKE.get(rule, {rule})
