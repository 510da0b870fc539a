"""What ``configure_optimizers`` must not return is refused before the run or at its first step, with a way out."""

import lightning as L
import pytest
import timm.scheduler
import torch
from configured import STEPS, Configured, DigitsOf, cosine, fit, plain_loop, plateau
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.training.calls import SubmissionError
from algoperf_lightning.workloads import Digits


class NotTorchs:
    """An optimizer by duck type alone, which Lightning takes."""

    def __init__(self, optimizer):
        self.param_groups, self.state, self.defaults = optimizer.param_groups, {}, {}

    def step(self, closure=None):
        return closure()

    def state_dict(self):
        return {}

    def load_state_dict(self, state_dict):
        pass


class WithoutClosure(SGD):
    def step(self):
        super().step()


REFUSED = {
    "nothing": (lambda o: None, "returned None"),
    "empty": (lambda o: [], "returned []"),
    "a number": (lambda o: 3, "expected a torch.optim.Optimizer, but got int"),
    "a class": (lambda o: SGD, "got the class SGD"),
    "not torch's": (NotTorchs, "expected a torch.optim.Optimizer, but got NotTorchs"),
    "the same parameters": (
        lambda o: [o, AdamW(o.param_groups[0]["params"][3:5])],
        "conv2.bias is in two optimizers, SGD and AdamW",
    ),
    "not the model's": (lambda o: [o, AdamW([torch.zeros(1)])], "AdamW has none of the model's parameters"),
    "two dicts": (lambda o: ({"optimizer": o}, {"optimizer": o}), "one SGD was returned twice"),
    "no optimizers": (lambda o: ([], [cosine(o)]), "no optimizer, so nothing would be trained"),
    "another dict's": (
        lambda o: [{"optimizer": o}, {"optimizer": AdamW([torch.zeros(1)]), "lr_scheduler": cosine(o)}],
        "CosineAnnealingLR belongs to another optimizer than the one it was returned with (AdamW)",
    ),
    "attached to neither": (
        lambda o: ([o, AdamW([torch.zeros(1)])], [cosine(SGD([torch.zeros(1)]))]),
        "belongs to another optimizer than the one it was returned with (SGD and AdamW)",
    ),
    "side by side": (lambda o: (o, cosine(o)), "in one tuple"),
    "wrong key": (lambda o: {"optimizer": o, "scheduler": cosine(o)}, "Did you mean 'lr_scheduler'?"),
    "lr_schedulers": (lambda o: {"optimizer": o, "lr_schedulers": [cosine(o)]}, "Did you mean 'lr_scheduler'?"),
    "no optimizer": (lambda o: {"lr_scheduler": cosine(o)}, "has no key 'optimizer'"),
    "wrong inner key": (lambda o: ([o], [{"scheduler": cosine(o), "freq": 2}]), "Did you mean 'frequency'?"),
    "no scheduler": (lambda o: ([o], [{"interval": "step"}]), "has no key 'scheduler'"),
    "a list": (lambda o: {"optimizer": o, "lr_scheduler": [cosine(o)]}, "lr_scheduler, but got list"),
    "schedule's class": (lambda o: ([o], [CosineAnnealingLR]), "but got CosineAnnealingLR"),
    "timm": (lambda o: ([o], [timm.scheduler.CosineLRScheduler(o, 10)]), "LambdaLR of the number of steps"),
    "another's": (
        lambda o: ([o], [cosine(SGD(o.param_groups[0]["params"], lr=1.0))]),
        "belongs to another optimizer",
    ),
    "epoch": (lambda o: ([o], [{"scheduler": cosine(o), "interval": "epoch"}]), "'evaluation' (after every"),
    "plateau by epoch": (lambda o: ([o], [{"scheduler": plateau(o), "interval": "epoch"}]), "Use 'evaluation'"),
    "plateau by step": (lambda o: ([o], [{"scheduler": plateau(o), "interval": "step"}]), "at evaluations only"),
    "batch": (lambda o: ([o], [{"scheduler": cosine(o), "interval": "batch"}]), "Choose from: evaluation, step"),
    "frequency": (lambda o: ([o], [{"scheduler": cosine(o), "frequency": 0}]), "positive integer, but got 0"),
    "half": (lambda o: ([o], [{"scheduler": cosine(o), "frequency": 0.5}]), "positive integer, but got 0.5"),
    "monitor": (
        lambda o: ([o], [{"scheduler": plateau(o), "monitor": "val_loss"}]),
        "Choose from: test/accuracy, test/loss, train/accuracy",
    ),
    "monitor of none": (lambda o: {"optimizer": o, "monitor": "validation/accuracy"}, "is for a plateau schedule"),
    "monitor of cosine": (
        lambda o: {"optimizer": o, "lr_scheduler": cosine(o), "monitor": "validation/accuracy"},
        "CosineAnnealingLR does not use a metric",
    ),
    "mode": (lambda o: ([o], [plateau(o, "min")]), "mode=workload.direction"),
    "no closure": (lambda o: WithoutClosure(o.param_groups[0]["params"]), "takes no closure"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_could_not_do_what_it_says_is_refused(form):
    configure, message = REFUSED[form]
    workload = Digits(Configured(configure))
    workload.configure_model()
    with pytest.raises(BadInputError) as error:
        workload.configure_optimizers()
    assert str(error.value).startswith("Configured.configure_optimizers: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_it_is_refused_before_the_run(tmp_path):
    submission = Configured(REFUSED["epoch"][0])
    with pytest.raises(BadInputError, match="no epochs"):
        fit(submission, tmp_path)
    assert submission.rates == []


def test_the_way_out_for_a_schedule_with_another_interface(tmp_path):
    def timms(optimizer):
        return timm.scheduler.CosineLRScheduler(
            optimizer, STEPS, warmup_t=3, warmup_lr_init=0.01, lr_min=0.001, t_in_epochs=False
        )

    def by_hook(optimizer):
        schedule, steps = timms(optimizer), iter(range(1, STEPS + 1))
        optimizer.register_step_post_hook(lambda *_: schedule.step_update(next(steps)))
        return optimizer

    class InALoop:
        def __init__(self, optimizer):
            self.schedule, self.steps = timms(optimizer), 0

        def step(self):
            self.steps += 1
            self.schedule.step_update(self.steps)

    rates = fit(Configured(by_hook), tmp_path)
    assert rates == plain_loop(lambda o: [InALoop(o)])
    assert len(set(rates)) == STEPS


def test_an_optimizer_that_ignores_its_closure_is_refused_at_its_first_step(tmp_path):
    class Ignores(SGD):
        def step(self, closure=None):
            super().step()

    with pytest.raises(BadInputError, match=r"Ignores\.step did not call its closure"):
        fit(Configured(lambda o: Ignores(o.param_groups[0]["params"])), tmp_path)


@pytest.mark.parametrize("interval", ["step", "evaluation"])
def test_a_schedule_that_runs_out_is_an_error_and_no_end_of_the_data(interval, tmp_path):
    def run_out(optimizer):
        factors = iter([1.0, 0.5, 0.25])
        return LambdaLR(optimizer, lambda step: next(factors))

    submission = Configured(lambda o: ([o], [{"scheduler": run_out(o), "interval": interval}]))
    with pytest.raises(SubmissionError, match="schedule's step raised StopIteration"):
        fit(submission, tmp_path)
    assert len(submission.rates) == (3 if interval == "step" else 7)


def test_the_way_out_for_an_optimizer_without_closure_trains_as_the_optimizer_does(tmp_path):
    class WithClosure(WithoutClosure):
        def step(self, closure=None):
            loss = None if closure is None else closure()
            super().step()
            return loss

    weights = []
    for configure in (lambda o: o, lambda o: WithClosure(o.param_groups[0]["params"], lr=0.1)):
        workload = DigitsOf(Configured(configure))
        trainer = L.Trainer(
            max_steps=3,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
            num_sanity_val_steps=0,
        )
        trainer.fit(workload)
        weights.append(workload.network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
