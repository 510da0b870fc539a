"""Budgets in passes over the training data, runs without a target, and how good the trained model is at the end."""

import dataclasses
import math

import pytest
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit, same_parameters

from algoperf_lightning.callbacks import TrialRecorder
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.summary import result_rows
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workload import CheckpointMismatchError
from algoperf_lightning.workloads import Digits

STEPS = 597 // 8
"""Whole batches of digits in a pass."""


def epochs(budget=3, **more):
    return {"unit": "epochs", "budget": budget, "eval_period": None, **more}


class Untargeted(TimedDigits):
    """Digits without a target, whose passes end with their last whole batch."""

    spec = dataclasses.replace(Digits.spec, validation_target=None, test_target=None, epochs=2, whole_batches=True)


class Diverging(PlainSGD):
    """A submission whose loss is not finite from the fifth step on."""

    clock = None

    def __init__(self):
        super().__init__()
        self.step = 0

    def training_step(self, workload, batch):
        self.step += 1
        return super().training_step(workload, batch) * (math.inf if self.step >= 5 else 1.0)


def test_is_evaluated_before_the_first_step_and_after_every_pass(tmp_path):
    time_budget, workload, _ = controlled_fit(tmp_path, budget=epochs())
    result = time_budget.result
    assert workload.view.steps_per_epoch == result.steps_per_epoch == STEPS
    assert [evaluation.step for evaluation in result.evaluations] == [0, STEPS, 2 * STEPS, 3 * STEPS]
    assert [result.used_before(evaluation) for evaluation in result.evaluations] == [0, 1, 2, 3]
    assert (result.status, result.used, result.unit, workload.view.unit) == (
        Status.BUDGET_SPENT,
        3.0,
        "epochs",
        "epochs",
    )
    assert result.evaluations[0].submission_seconds == 0.0
    assert math.isnan(result.evaluations[0].loss)
    assert result.submission_seconds == pytest.approx(3 * STEPS * 0.25)


def test_a_submission_does_not_prepare_for_the_evaluation_of_the_untrained_model(tmp_path):
    _, workload, _ = controlled_fit(tmp_path, budget=epochs(2))
    calls = [call for call in workload.submission.calls if call in ("before", "after")]
    assert calls == ["before", "after"] * 2


def test_the_untrained_evaluation_changes_nothing_in_training(tmp_path):
    _, by_epochs, _ = controlled_fit(tmp_path / "epochs", budget=epochs(2))
    _, by_steps, _ = controlled_fit(
        tmp_path / "steps", budget={"unit": "steps", "budget": 2 * STEPS, "eval_period": STEPS}
    )
    assert same_parameters(by_epochs, by_steps)


def test_a_period_of_several_passes(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, budget=epochs(5, eval_period=2))
    assert [evaluation.step // STEPS for evaluation in time_budget.result.evaluations] == [0, 2, 4, 5]


def test_the_target_ends_the_run_unless_it_is_to_go_on_to_its_budget(tmp_path):
    scores = [0.1, 0.99, 0.5]
    reached, _, _ = controlled_fit(tmp_path, scores=list(scores), budget=epochs(2))
    assert (reached.result.status, reached.result.used_to_target) == (Status.REACHED, 1.0)
    assert reached.result.resolution == 1.0
    whole, _, _ = controlled_fit(tmp_path, scores=list(scores), budget=epochs(2, stop_at="budget"))
    assert (whole.result.status, whole.result.used, whole.result.used_to_target) == (Status.BUDGET_SPENT, 2.0, 1.0)
    assert whole.result.final.metrics["validation/accuracy"] == 0.5
    assert "budget spent, as planned" in dict(result_rows(whole.result))["result"]


def test_a_workload_without_a_target_runs_its_epochs_and_is_written_and_read(tmp_path):
    workload = Untargeted(TimedSubmission(FakeClock()))
    recorder = TrialRecorder(tmp_path / "trial")
    budget = {"unit": "epochs", "budget": None, "eval_period": None}
    time_budget, _, _ = controlled_fit(
        tmp_path, workload=workload, clock=workload.submission.clock, budget=budget, callbacks=[recorder]
    )
    assert time_budget.result.steps == 2 * STEPS
    assert workload.view.validation_target is None
    read = TrialResult.read(tmp_path / "trial")
    assert (read.status, read.validation_target, read.is_reached, read.unit) == (
        Status.BUDGET_SPENT,
        None,
        False,
        "epochs",
    )
    assert read.used == 2.0
    assert read.final == read.evaluations[-1]
    assert not read.changed
    assert dict(result_rows(read))["target"] == "none"
    assert read.plot().get_xlabel() == "epochs"


def test_a_run_that_diverges_counts_as_an_untrained_model(tmp_path):
    scores = [0.2, 0.9]
    workload = TimedDigits(Diverging(), scores=scores)
    time_budget, _, _ = controlled_fit(tmp_path, workload=workload, budget=epochs(3, stop_diverged=True))
    result = time_budget.result
    assert (result.status, result.diverged, result.nonfinite_loss_step) == (Status.STOPPED, True, 5)
    assert result.final.step == 0
    assert result.final.metrics["validation/accuracy"] == 0.2


def test_only_a_run_that_has_ended_has_no_final_performance(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, budget=epochs(3), trainer={"max_steps": STEPS})
    result = time_budget.result
    assert result.final is not None  # max_steps ended it
    assert dataclasses.replace(result, status=Status.RUNNING).final is None
    assert dataclasses.replace(result, changed="a row").final is None


def test_a_run_that_goes_on_ends_as_an_unbroken_one(tmp_path):
    each = 597 // Digits.spec.batch_size

    def fit(folder, budget=3, **more):
        recorder = TrialRecorder(tmp_path / folder)
        rules = epochs(budget, stop_at="budget")
        return controlled_fit(tmp_path, workload=Digits(PlainSGD()), budget=rules, callbacks=[recorder], **more)[:2]

    fit("broken", trainer={"max_steps": each + 3})
    checkpoint = str(tmp_path / "broken" / "last.ckpt")
    with pytest.raises(CheckpointMismatchError, match="budget was 3 and is now 4"):
        fit("broken", budget=4, ckpt_path=checkpoint)
    resumed, one = fit("broken", ckpt_path=checkpoint)
    whole, other = fit("whole")
    assert [evaluation.step for evaluation in resumed.result.evaluations] == [0, each, each + 3, 2 * each, 3 * each]
    assert [evaluation.step for evaluation in whole.result.evaluations] == [0, each, 2 * each, 3 * each]
    assert same_parameters(one, other)
    assert resumed.result.final.metrics == whole.result.final.metrics


def test_a_pass_of_whole_batches_leaves_out_the_rest_of_each_permutation():
    from algoperf_lightning.data.examples import Permutations, WholeBatches

    order, plain = WholeBatches(Permutations(10, 0), 10, 4), Permutations(10, 0)
    taken = order.take(0, 16)
    assert taken.tolist() == [*plain.take(0, 8), *plain.take(10, 8)]
    assert order.take(6, 4).tolist() == [*plain.take(6, 2), *plain.take(10, 2)]
    with pytest.raises(BadInputError, match="10 examples are fewer than one batch of 11"):
        WholeBatches(Permutations(10, 0), 10, 11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "epochs", "budget": 2.5}, "whole number of epochs, but got 2.5"),
        ({"unit": "epochs", "budget": None, "eval_period": None}, "has no number of epochs"),
        ({"unit": "epochs", "scale": 2.0}, "a unit other than seconds"),
        ({"unit": "epoch"}, "Did you mean 'epochs'"),
        ({"stop_at": "never"}, "Unknown stop_at 'never'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, message):
    with pytest.raises(BadInputError, match=message):
        controlled_fit(tmp_path, budget=options)
