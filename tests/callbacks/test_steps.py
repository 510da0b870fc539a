"""Budgets in steps, and seconds scaled for a slower machine."""

import math

import pytest
from controlled import FakeClock, controlled_fit

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.callbacks.clock import STEPS_BETWEEN_READINGS
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import get_spec
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workload import CheckpointMismatchError
from algoperf_lightning.workloads import Digits


def steps_of(time_budget):
    return [evaluation.step for evaluation in time_budget.result.evaluations]


def in_steps(budget, eval_period, **more):
    return {"unit": "steps", "budget": budget, "eval_period": eval_period, **more}


def test_evaluates_after_step_1_then_every_period_and_after_the_last_step(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, budget=in_steps(60, 25))
    assert steps_of(time_budget) == [1, 26, 51, 60]
    result = time_budget.result
    assert (result.status, result.steps, result.used) == (Status.BUDGET_SPENT, 60, 60.0)
    assert result.submission_seconds == pytest.approx(60 * 0.25)


@pytest.mark.parametrize("step", [1e-4, 0.25, 90.0, lambda n: 0.01 if n % 7 else 3.0])
def test_speed_changes_nothing(tmp_path, step):
    time_budget, _, _ = controlled_fit(tmp_path, step=step, before=5.0, after=7.0, budget=in_steps(33, 4))
    assert steps_of(time_budget) == [1, 5, 9, 13, 17, 21, 25, 29, 33]


def test_the_target_is_found_at_a_step_and_the_last_step_may_reach_it(tmp_path):
    scores = [0.1, 0.1, 0.1, 0.99]
    time_budget, _, _ = controlled_fit(tmp_path, scores=scores, budget=in_steps(60, 25))
    assert time_budget.result.status is Status.REACHED
    assert time_budget.result.used_to_target == time_budget.result.step_to_target == 60
    early, _, _ = controlled_fit(tmp_path, scores=[0.1, 0.99], budget=in_steps(60, 25))
    assert (early.result.used_to_target, early.result.steps) == (26, 26)
    missed, _, _ = controlled_fit(tmp_path, budget=in_steps(5, 2))
    assert math.isinf(missed.result.used_to_target)


def test_a_submission_that_stops_is_heard_after_the_same_step_on_every_machine(tmp_path):
    ends = set()
    for step in (0.001, 0.25, 30.0):
        time_budget, _, _ = controlled_fit(tmp_path, step=step, stop_at_step=15, budget=in_steps(1000, 500))
        assert time_budget.result.status is Status.STOPPED
        ends.add(time_budget.result.steps)
    (end,) = ends
    assert 15 <= end < 15 + STEPS_BETWEEN_READINGS


@pytest.mark.parametrize(("ruleset", "factor"), [("external", 1.0), ("self-tuning", 1.5)])
def test_the_budget_is_the_step_hint_with_as_many_evaluations_as_in_seconds(tmp_path, ruleset, factor):
    time_budget, workload, _ = controlled_fit(
        tmp_path,
        budget={"unit": "steps", "ruleset": ruleset, "budget": None, "eval_period": None},
        trainer={"max_steps": 2},
    )
    result, spec = time_budget.result, workload.spec
    assert (result.unit, result.budget) == ("steps", spec.step_hint * factor)
    assert result.budget / result.eval_period == pytest.approx(spec.budget * factor / spec.eval_period, rel=0.01)
    assert (workload.view.unit, workload.view.budget) == ("steps", result.budget)
    assert workload.view.eval_period == result.eval_period


def test_a_checkpoint_goes_on_with_its_steps_and_by_the_same_unit_only(tmp_path):
    def fit(budget, **more):
        workload = Digits(PlainSGD())  # it can be compared with the one in the checkpoint
        return controlled_fit(
            tmp_path, workload=workload, budget=budget, callbacks=[TrialRecorder(tmp_path / "trial")], **more
        )[0]

    rules = in_steps(40, 10, target=2.0)
    fit(rules, trainer={"max_steps": 15})
    checkpoint = str(tmp_path / "trial" / "last.ckpt")
    with pytest.raises(CheckpointMismatchError, match="unit was 'steps' and is now 'seconds'"):
        fit({"budget": 40.0, "eval_period": 10.0, "target": 2.0}, ckpt_path=checkpoint)
    resumed = fit(rules, ckpt_path=checkpoint)
    assert steps_of(resumed) == [1, 11, 15, 25, 35, 40]
    read = TrialResult.read(tmp_path / "trial")
    assert (read.unit, read.used, read.status) == ("steps", 40.0, Status.BUDGET_SPENT)


def test_a_scale_stretches_budget_and_period_and_is_recorded(tmp_path):
    time_budget, workload, _ = controlled_fit(
        tmp_path,
        step=1.0,
        budget={"scale": 2.5, "ruleset": "self-tuning", "budget": None, "eval_period": None},
        callbacks=[TrialRecorder(tmp_path / "trial")],
        trainer={"max_steps": 2},
    )
    spec = workload.spec
    read = TrialResult.read(tmp_path / "trial")
    assert (read.scale, read.unit) == (2.5, "seconds")
    assert (read.budget, read.eval_period) == (spec.budget * 1.5 * 2.5, spec.eval_period * 2.5)
    assert time_budget.result.used == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"unit": "minutes"}, "Unknown unit 'minutes'"),
        (in_steps(10.5, 2), "budget must be a whole number of steps, but got 10.5"),
        (in_steps(10, 0.5), "eval_period must be a whole number of steps"),
        (in_steps(-1, 2), "budget must be a positive number, but got -1"),
        ({"scale": 0.0}, "scale must be a positive number, but got 0.0"),
        ({"scale": 2.0, "unit": "steps"}, "scale is 2.0.*cannot be combined with a unit other than seconds"),
        ({"scale": 2.0, "budget": 10.0}, "scale is 2.0.*cannot be combined with"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rules, message):
    with pytest.raises(BadInputError, match=message):
        TimeBudget(**rules, clock=FakeClock())


def test_allowance_of_the_benchmark():
    assert get_spec("fastmri").allowance("self-tuning") == (2_745 * 1.5, 110.0)
    assert get_spec("fastmri").allowance("external", "steps") == (18_094.0, 725.0)  # 18,094 x 110 / 2,745
    with pytest.raises(BadInputError, match="steps are the same on every machine"):
        get_spec("fastmri").allowance("external", "steps", 2.0)
