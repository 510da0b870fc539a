"""Each form that Lightning documents for ``configure_optimizers`` does what it says, or is refused before the run."""

from typing import ClassVar

import lightning as L
import pytest
import timm.scheduler
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, ExponentialLR, LambdaLR, ReduceLROnPlateau

from algoperf_lightning import Submission
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.summary import result_rows
from algoperf_lightning.result import TrialResult
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.training.calls import SubmissionError
from algoperf_lightning.training.untrained import note_untrained, trainable
from algoperf_lightning.workloads import Digits

STEPS, EVAL_PERIOD = 14, 3
ACCURACIES = {1: 0.1, 4: 0.2, 7: 0.2, 10: 0.2, 13: 0.15, 14: 0.3}
"""What the evaluations give, by the steps after which there is one: the first, then by the period, and the last."""
OF_LIGHTNING = {3: 0.1, 6: 0.1, 9: 0.1, 12: 0.1}
"""The same by Lightning's own cadence."""


class Configured(Submission):
    """SGD with whatever ``configure`` returns, which notes the learning rate of each step."""

    batch_sizes: ClassVar = {"digits": 8}

    def __init__(self, configure=None):
        self.configure = configure
        self.dies_at = None
        self.rates = []

    def configure_optimizers(self, model, workload):
        self.optimizer = SGD(model.parameters(), lr=0.1)
        return self.configure(self.optimizer)

    def training_step(self, workload, batch):
        if len(self.rates) == self.dies_at:
            raise RuntimeError("dies")
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return super().training_step(workload, batch)


class DigitsOf(Digits):
    """Digits whose evaluations give what they are to."""

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        self.evaluation["validation/accuracy"] = {**OF_LIGHTNING, **ACCURACIES}.get(self.trainer.global_step, 0.0)


def fit(submission, folder, *, max_steps=-1, ckpt_path=None, timed=True):
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    workload = DigitsOf(submission)
    if timed:
        clock = TimeBudget(unit="steps", budget=STEPS, eval_period=EVAL_PERIOD)
        options["callbacks"] = [clock, TrialRecorder(folder / "trial")]
    else:
        options |= {"num_sanity_val_steps": 2, "val_check_interval": EVAL_PERIOD, "check_val_every_n_epoch": None}
    trainer = L.Trainer(max_steps=max_steps, max_epochs=-1, default_root_dir=folder, **options)
    trainer.fit(workload, ckpt_path=ckpt_path, weights_only=True)
    return submission.rates


def plain_loop(build, *, after_steps=1, after_evaluations=0, accuracies=ACCURACIES):
    """Return the learning rates of a plain PyTorch loop that steps its schedules as told."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedules = build(optimizer)
    rates, evaluations = [], 0
    for step in range(1, STEPS + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for schedule in schedules:
            if after_steps and step % after_steps == 0:
                schedule.step()
        if step in accuracies:
            evaluations += 1
            for schedule in schedules:
                if after_evaluations and evaluations % after_evaluations == 0:
                    takes_metric = isinstance(schedule, ReduceLROnPlateau)
                    schedule.step(*([accuracies[step]] if takes_metric else []))
    return rates


def cosine(optimizer):
    return CosineAnnealingLR(optimizer, STEPS)


def exponential(optimizer):
    return ExponentialLR(optimizer, 0.9)


def plateau(optimizer, mode="max"):
    return ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=1)


BY_STEP = {
    "dict": lambda o: {"optimizer": o, "lr_scheduler": cosine(o)},
    "dict of dict": lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": cosine(o)}},
    "dict of dict by step": lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": cosine(o), "interval": "step"}},
    "all keys": lambda o: {
        "optimizer": o,
        "lr_scheduler": {
            "scheduler": cosine(o),
            "interval": "step",
            "frequency": 1,
            "monitor": None,
            "strict": True,
            "name": None,
            "reduce_on_plateau": False,
        },
    },
    "two lists": lambda o: ([o], [cosine(o)]),
    "list of two lists": lambda o: [[o], [cosine(o)]],
    "list and schedule": lambda o: ([o], cosine(o)),
    "two lists, dict": lambda o: ([o], [{"scheduler": cosine(o)}]),
    "list of a dict": lambda o: [{"optimizer": o, "lr_scheduler": cosine(o)}],
    "tuple of a dict": lambda o: ({"optimizer": o, "lr_scheduler": {"scheduler": cosine(o)}},),
}


@pytest.mark.parametrize("form", BY_STEP)
def test_a_schedule_is_stepped_at_every_step_in_every_form(form, tmp_path):
    assert fit(Configured(BY_STEP[form]), tmp_path) == plain_loop(lambda o: [cosine(o)])


@pytest.mark.parametrize(
    "configure",
    [
        lambda o: o,
        lambda o: [o],
        lambda o: (o,),
        lambda o: ([o], []),
        lambda o: {"optimizer": o},
        lambda o: [{"optimizer": o}],
        lambda o: {"optimizer": o, "lr_scheduler": None},
    ],
    ids=["optimizer", "list", "tuple", "no schedules", "dict", "list of dict", "none"],
)
def test_an_optimizer_alone_keeps_its_learning_rate(configure, tmp_path):
    assert fit(Configured(configure), tmp_path) == [0.1] * STEPS


def test_two_schedules_of_one_optimizer_are_both_stepped(tmp_path):
    def both(optimizer):
        return [ConstantLR(optimizer, 0.5, total_iters=4), exponential(optimizer)]

    assert fit(Configured(lambda o: ([o], both(o))), tmp_path) == plain_loop(both)


def test_frequency_counts_steps(tmp_path):
    rates = fit(Configured(lambda o: ([o], [{"scheduler": exponential(o), "frequency": 4}])), tmp_path)
    assert rates == plain_loop(lambda o: [exponential(o)], after_steps=4)
    assert len(set(rates)) == 4


@pytest.mark.parametrize("frequency", [1, 2])
def test_a_schedule_is_stepped_after_evaluations_on_request(frequency, tmp_path):
    schedule = {"interval": "evaluation", "frequency": frequency}
    rates = fit(Configured(lambda o: ([o], [{"scheduler": exponential(o), **schedule}])), tmp_path)
    assert rates == plain_loop(lambda o: [exponential(o)], after_steps=0, after_evaluations=frequency)
    assert len(set(rates)) == (6 if frequency == 1 else 3)


@pytest.mark.parametrize(
    "configure",
    [
        lambda o: {"optimizer": o, "lr_scheduler": plateau(o)},
        lambda o: {"optimizer": o, "lr_scheduler": plateau(o), "monitor": "validation/accuracy"},
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": plateau(o), "monitor": "validation/accuracy"}},
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": plateau(o), "interval": "evaluation"}},
        lambda o: ([o], [plateau(o)]),
        lambda o: ([o], [{"scheduler": plateau(o), "strict": False, "reduce_on_plateau": True}]),
        lambda o: ({"optimizer": o, "lr_scheduler": plateau(o), "monitor": "validation/accuracy"},),
    ],
    ids=["default", "monitor outside", "monitor inside", "interval", "lists", "lists of dict", "tuple of dict"],
)
def test_a_plateau_schedule_is_stepped_by_evaluations_on_its_metric(configure, tmp_path):
    rates = fit(Configured(configure), tmp_path)
    assert rates == plain_loop(lambda o: [plateau(o)], after_steps=0, after_evaluations=1)
    assert rates == [0.1] * 10 + [0.05] * 4  # ACCURACIES have not grown twice, after step 10


def test_a_plateau_schedule_may_watch_another_metric(tmp_path):
    losses = []

    class Watched(ReduceLROnPlateau):
        def step(self, metrics, epoch=None):
            losses.append(float(metrics))
            super().step(metrics, epoch)

    submission = Configured(lambda o: ([o], [{"scheduler": Watched(o, "min"), "monitor": "train/loss"}]))
    fit(submission, tmp_path)
    rows = (tmp_path / "trial" / "evaluations.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/loss")
    assert losses == [float(row.split(",")[column]) for row in rows[1:]]
    assert len(set(losses)) == len(ACCURACIES)


def test_without_a_clock_schedules_are_stepped_by_lightnings_evaluations(tmp_path):
    rates = fit(Configured(lambda o: ([o], [plateau(o)])), tmp_path, max_steps=STEPS, timed=False)
    assert rates == plain_loop(lambda o: [plateau(o)], after_steps=0, after_evaluations=1, accuracies=OF_LIGHTNING)
    assert rates == [0.1] * 9 + [0.05] * 5


@pytest.mark.parametrize(
    "configure",
    [
        lambda o: ([o], [{"scheduler": exponential(o), "frequency": 3}]),
        lambda o: ([o], [{"scheduler": exponential(o), "interval": "evaluation", "frequency": 2}]),
        lambda o: ([o], [plateau(o), exponential(o)]),
        lambda o: ([o], [LambdaLR(o, lambda step: 1 / (1 + step))]),
    ],
    ids=["every third step", "every second evaluation", "plateau and exponential", "lambda"],
)
def test_a_resumed_run_continues_its_schedules(configure, tmp_path):
    unbroken = fit(Configured(configure), tmp_path / "one")
    first = Configured(configure)
    first.dies_at = 9
    with pytest.raises(RuntimeError, match="dies"):
        fit(first, tmp_path / "two")
    second = fit(Configured(configure), tmp_path / "two", ckpt_path=tmp_path / "two" / "trial" / "last.ckpt")
    # It was saved at its last evaluation, after step 7.
    assert first.rates[:7] + second == unbroken
    assert len(set(unbroken)) > 2


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
    "two optimizers": (lambda o: [o, SGD(o.param_groups[0]["params"], lr=1.0)], "one optimizer, but 2 were returned"),
    "two dicts": (lambda o: ({"optimizer": o}, {"optimizer": o}), "one optimizer, but 2"),
    "no optimizers": (lambda o: ([], [cosine(o)]), "one optimizer, but 0"),
    "side by side": (lambda o: (o, cosine(o)), "side by side"),
    "wrong key": (lambda o: {"optimizer": o, "scheduler": cosine(o)}, "Did you mean 'lr_scheduler'?"),
    "lr_schedulers": (lambda o: {"optimizer": o, "lr_schedulers": [cosine(o)]}, "Did you mean 'lr_scheduler'?"),
    "no optimizer": (lambda o: {"lr_scheduler": cosine(o)}, "lacks the key 'optimizer'"),
    "wrong inner key": (lambda o: ([o], [{"scheduler": cosine(o), "freq": 2}]), "Did you mean 'frequency'?"),
    "no scheduler": (lambda o: ([o], [{"interval": "step"}]), "lacks the key 'scheduler'"),
    "a list": (lambda o: {"optimizer": o, "lr_scheduler": [cosine(o)]}, "lr_scheduler, but got list"),
    "schedule's class": (lambda o: ([o], [CosineAnnealingLR]), "but got CosineAnnealingLR"),
    "timm": (lambda o: ([o], [timm.scheduler.CosineLRScheduler(o, 10)]), "LambdaLR of the number of steps"),
    "another's": (
        lambda o: ([o], [cosine(SGD(o.param_groups[0]["params"], lr=1.0))]),
        "attached to another optimizer",
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
        "CosineAnnealingLR is given no metric",
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


@pytest.mark.parametrize(
    ("left_out", "frozen", "notes"),
    [
        ([], [], []),
        (
            ["head.bias"],
            [],
            ["Partly has made an optimizer without 1 of the model's 8 trainable parameters: head.bias."],
        ),
        (
            ["head.weight"],
            ["head.weight"],
            ["Partly has set requires_grad=False for 1 of the model's 8 trainable parameters: head.weight."],
        ),
        (
            ["head.weight"],
            ["head.bias"],
            [
                "Partly has set requires_grad=False for 1 of the model's 8 trainable parameters: head.bias.",
                "Partly has made an optimizer without 1 of the model's 8 trainable parameters: head.weight.",
            ],
        ),
    ],
)
def test_parameters_that_are_not_trained_are_a_note_and_no_violation(tmp_path, left_out, frozen, notes, recwarn):
    class Partly(PlainSGD):
        def configure_optimizers(self, model, workload):
            for name in frozen:
                model.get_parameter(name).requires_grad_(False)
            return SGD([each for name, each in model.named_parameters() if name not in left_out], lr=0.1)

    clock = TimeBudget(unit="steps", budget=2, eval_period=1)
    recorder = TrialRecorder(tmp_path / "trial", checkpoint=False)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    L.Trainer(callbacks=[clock, recorder], default_root_dir=tmp_path, devices=1, **options).fit(Digits(Partly()))
    record = TrialResult.read(tmp_path / "trial")
    assert record.notes == notes
    assert [warning for warning in record.warnings if ", line " not in warning] == []
    said = [str(each.message) for each in recwarn.list]
    assert [said.count(note) for note in notes] == [1] * len(notes)
    table = dict(enumerate(value for name, value in result_rows(record) if name == "note"))
    assert [table[number] for number in range(len(notes))] == notes


def test_of_many_parameters_a_few_are_named():
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(5)))
    with pytest.warns(UserWarning, match="without 8 of the model's 10 trainable"):
        (note,) = note_untrained(model, trainable(model), SGD(model[0].parameters(), lr=0.1), "Mine")
    assert note.endswith(": 1.weight, 1.bias, 2.weight and 5 more.")
