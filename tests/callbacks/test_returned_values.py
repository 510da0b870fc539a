"""What a submission returns is checked before it can spend a budget on an untrained network."""

import copy
import math

import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit
from test_submission_errors import failed_record, trainer_for

from algoperf_lightning.callbacks import TrialRecorder
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import Status
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits


class NoParameters(torch.optim.SGD):
    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.param_groups[0]["params"] = []


@pytest.mark.parametrize(
    ("configure", "said"),
    [
        pytest.param(lambda model: None, "returned None", id="none"),
        pytest.param(lambda model: NoParameters(model.parameters()), "none of the model's parameters", id="empty"),
        pytest.param(
            lambda model: torch.optim.SGD(copy.deepcopy(model).parameters(), lr=0.1),
            "none of the model's parameters",
            id="parameters-of-a-copy",
        ),
    ],
)
def test_an_optimizer_that_would_train_nothing_is_refused_before_the_clock_starts(tmp_path, configure, said):
    class Forgetful(Submission):
        def configure_optimizers(self, model, workload):
            return configure(model)

    with pytest.raises(BadInputError, match=said) as refused:
        trainer_for(tmp_path, TrialRecorder(tmp_path / "trial")).fit(Digits(Forgetful()))
    assert "Forgetful.configure_optimizers" in str(refused.value)
    assert not (tmp_path / "trial" / "trial.json").exists()


@pytest.mark.parametrize(
    ("step", "said"),
    [
        pytest.param(lambda view, batch: None, "returned None.*`return` missing", id="none"),
        pytest.param(lambda view, batch: view.loss(batch).per_example, r"a tensor of shape \(64,\)", id="not-a-scalar"),
        pytest.param(lambda view, batch: view.loss(batch), "returned a Loss; expected", id="a-loss-of-the-workload"),
        pytest.param(lambda view, batch: 0.5, "0.5", id="a-number"),
        pytest.param(
            lambda view, batch: view.mean(view.loss(batch)).detach(), "depends on no parameter", id="no-gradient"
        ),
        pytest.param(lambda view, batch: {"los": view.mean(view.loss(batch))}, "None", id="dict-without-loss"),
    ],
)
def test_what_is_no_loss_fails_at_the_first_step(tmp_path, step, said):
    class Wrong(PlainSGD):
        def training_step(self, workload, batch):
            return step(workload, batch)

    with pytest.raises(BadInputError, match=said):
        trainer_for(tmp_path, TrialRecorder(tmp_path / "trial")).fit(Digits(Wrong()))
    assert "Wrong.training_step returned" in failed_record(tmp_path / "trial")


@pytest.mark.parametrize("number", [1, 2])
def test_a_tuple_is_no_batch(tmp_path, number):
    class Pair(PlainSGD):
        micro_batches = number

        def select_batch(self, batches):
            return tuple(next(batches).values())

    with pytest.raises(BadInputError, match=r"Pair.select_batch returned a tuple; expected .* a dict of tensors"):
        trainer_for(tmp_path).fit(Digits(Pair()))


@pytest.mark.parametrize("selected", [0, 3])
def test_no_batch_fails_at_once(tmp_path, selected):
    class Forgetful(PlainSGD):
        def select_batch(self, batches):
            self.calls = getattr(self, "calls", 0) + 1
            batch = super().select_batch(batches)
            return batch if self.calls <= selected else None

    with pytest.raises(BadInputError, match=r"Forgetful.select_batch returned None.*`return` missing"):
        trainer_for(tmp_path, TrialRecorder(tmp_path / "trial")).fit(Digits(Forgetful()))
    assert "Forgetful.select_batch returned None" in failed_record(tmp_path / "trial")


def test_a_dict_with_the_loss_will_do(tmp_path):
    class AsDict(PlainSGD):
        def training_step(self, workload, batch):
            return {"loss": super().training_step(workload, batch), "more": 1}

    trainer = trainer_for(tmp_path)
    trainer.fit(workload := Digits(AsDict()))
    (reference := trainer_for(tmp_path)).fit(plain := Digits(PlainSGD()))
    assert trainer.global_step == reference.global_step > 0
    assert all(torch.equal(*pair) for pair in zip(workload.parameters(), plain.parameters(), strict=True))


def test_a_hyperparameter_without_a_default_needs_a_value():
    class Rates(PlainSGD):
        def __init__(self, lr, momentum: float | None, schedule=None):
            super().__init__(lr)

    with pytest.raises(BadInputError, match=r"Rates: the hyperparameter 'lr' has no default.*--submission.lr VALUE"):
        Rates(lr=None, momentum=None)
    assert Rates(0.1, None, None).hyperparameters == {"lr": 0.1, "momentum": None, "schedule": None}


class Diverging(TimedSubmission):
    """Its loss is NaN at some steps, and fine again after them."""

    bad = (15,)

    def training_step(self, workload, batch):
        loss = super().training_step(workload, batch)
        return loss * math.nan if self.steps in self.bad else loss

    def configure_optimizers(self, model, workload):
        for p in model.parameters():
            p.register_hook(lambda grad: grad.nan_to_num(0.0))
        return super().configure_optimizers(model, workload)


@pytest.mark.parametrize(("bad", "first"), [((15,), 15), ((21, 15, 40), 15), ((1,), 1), ((), None)])
@pytest.mark.parametrize("step", [0.01, 0.3])
def test_the_step_of_the_first_loss_that_is_not_finite_is_the_true_one(tmp_path, bad, first, step):
    clock = FakeClock()
    submission = Diverging(clock, step=step)
    submission.bad = bad
    time_budget, _, _ = controlled_fit(
        tmp_path,
        workload=TimedDigits(submission),
        clock=clock,
        budget={"budget": 50 * step, "eval_period": 25 * step},
    )
    assert time_budget.result.nonfinite_loss_step == first
    assert time_budget.result.status is Status.BUDGET_SPENT
    assert time_budget.result.steps >= 50  # it went on


def test_a_diverged_run_is_ended_on_request(tmp_path):
    clock = FakeClock()
    recorder = TrialRecorder(tmp_path / "t")
    rules = {"stop_diverged": True, "budget": 100.0, "eval_period": 50.0}
    time_budget, _, _ = controlled_fit(
        tmp_path, workload=TimedDigits(Diverging(clock)), clock=clock, budget=rules, callbacks=[recorder]
    )
    result = time_budget.result
    assert result.status is Status.STOPPED
    assert result.message == "The loss was not finite at step 15."
    assert result.stop_diverged
    assert 15 <= result.steps < 25  # the next reading of the clock
    assert len(result.evaluations) == 1

    # It is over for good.
    recorder = TrialRecorder(tmp_path / "t")
    with pytest.warns(UserWarning, match="This trial is finished .*not finite at step 15"):
        again, _, _ = controlled_fit(
            tmp_path,
            workload=TimedDigits(Diverging(clock)),
            clock=clock,
            budget=rules,
            callbacks=[recorder],
            ckpt_path=recorder.checkpoint_path,
        )
    assert (again.result.steps, again.result.preemptions) == (result.steps, 0)
