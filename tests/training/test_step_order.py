"""The order of what happens in a step: the list in ``docs/write_a_submission.md``, section 8."""

import pytest
import torch
import two_optimizers
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from two_optimizers import Recording, split

from algoperf_lightning.testing import train
from algoperf_lightning.workloads import Digits


class Noting(SGD):
    """SGD that notes what is done with it."""

    def __init__(self, name, note, parameters, **options):
        self.name, self.note = name, note
        super().__init__(parameters, lr=0.01, **options)
        self.register_step_pre_hook(lambda *_: note(f"pre-hook {name}"))
        self.register_step_post_hook(lambda *_: note(f"post-hook {name}"))

    def zero_grad(self, set_to_none=True):
        self.note(f"zero_grad {self.name}")
        super().zero_grad(set_to_none)


class NotingSchedule(LambdaLR):
    def __init__(self, optimizer):
        super().__init__(optimizer, lambda step: 1.0)
        self.begun = True

    def step(self):
        if hasattr(self, "begun"):
            self.optimizer.note(f"schedule {self.optimizer.name}")
        super().step()


class NotingScaler(torch.amp.GradScaler):
    note = None

    def unscale_(self, optimizer):
        self.note("unscale")
        super().unscale_(optimizer)

    def update(self, *args):
        self.note("scale is updated")
        super().update(*args)


class Ordered(Recording):
    gradient_clip = 0.1

    def __init__(self, number, fused):
        super().__init__()
        self.number, self.fused, self.order = number, fused, []

    def note(self, what):
        self.order.append(what)

    def configure_optimizers(self, model, workload):
        parts = [list(model.parameters())] if self.number == 1 else split(model)
        next(model.parameters()).register_post_accumulate_grad_hook(lambda _: self.note("backward"))
        optimizers = [Noting(name, self.note, part, fused=self.fused) for name, part in zip("AB", parts, strict=False)]
        return optimizers, [NotingSchedule(optimizer) for optimizer in optimizers]

    def select_batch(self, batches):
        self.note("select_batch")
        return super().select_batch(batches)

    def training_step(self, workload, batch):
        self.note("training_step")
        return super().training_step(workload, batch)


class Between(Ordered):
    def before_step(self, model, workload):
        self.note("before_step")


def order_of(submission, precision, folder, monkeypatch):
    """What happens in the second step."""
    clip = torch.nn.utils.clip_grad_norm_
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: submission.note("clip") or clip(*args))
        if precision == "16-mixed":
            scaler = NotingScaler("cpu", init_scale=2.0**8)
            scaler.note = submission.note
            options = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler=scaler)]}
        else:
            options = {"precision": precision}
        train(Digits(submission), 2, folder, **options)
    second = [at for at, what in enumerate(submission.order) if what == "select_batch"][1]
    return submission.order[second:]


@pytest.mark.parametrize("fused", [False, True], ids=["foreach", "fused"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("made", [Ordered, Between], ids=["plain", "before_step"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_order(precision, made, number, fused, tmp_path, monkeypatch):
    names = "AB"[:number]
    gradient = [*(f"zero_grad {name}" for name in names), "training_step", "backward"]
    scaled = precision == "16-mixed"
    changed = ["unscale"] * scaled + ["before_step"] * (made is Between) + ["clip"]
    steps = [f"{when} {name}" for name in names for when in ("pre-hook", "post-hook")]
    if number == 1 and made is Ordered and not scaled:  # an optimizer alone calls the closure itself
        expected = ["select_batch", "pre-hook A", *gradient, *changed, "post-hook A"]
    else:
        expected = ["select_batch", *gradient, *changed, *steps]
    expected += ["scale is updated"] * scaled + [f"schedule {name}" for name in names]
    assert order_of(made(number, fused), precision, tmp_path, monkeypatch) == expected


def test_schedules_by_evaluation_are_stepped_after_the_evaluation(tmp_path):
    order = []

    class ByEvaluation(Recording):
        def configure_optimizers(self, model, workload):
            optimizer = Noting("A", order.append, model.parameters())
            by_evaluation = {"scheduler": NotingSchedule(optimizer), "interval": "evaluation"}
            return [optimizer], [by_evaluation, NotingSchedule(optimizer)]

        def before_evaluation(self, model):
            order.append("before_evaluation")

        def after_evaluation(self, model):
            order.append("after_evaluation")

    two_optimizers.fit(ByEvaluation(), tmp_path, steps=1)
    assert order == [
        *("pre-hook A", "zero_grad A", "post-hook A", "schedule A"),
        *("before_evaluation", "after_evaluation", "schedule A"),
    ]
