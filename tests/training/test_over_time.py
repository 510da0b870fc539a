"""What may change from step to step: label smoothing, dropout, weight decay, the number of examples, schedules."""

import copy
import itertools
from typing import ClassVar

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.label_smoothing import compile_loss, cross_entropy
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads import OGBG, WMT, Digits

SMOOTHINGS = (0.1, 0.0, 0.2, 0.05, 0.3, 0.15, 0.4, 0.25, 0.35, 0.01, 0.02, 0.1)  # more than torch compiles for


class Varying(PlainSGD):
    """Another label smoothing, weight decay and number of examples in each step; keeps the batches."""

    batch_sizes: ClassVar = {"digits": 32}

    def __init__(self):
        super().__init__(lr=0.1)
        self.step, self.batches = 0, []

    def configure_optimizers(self, model, workload):
        self.workload, self.start = workload, copy.deepcopy(model)
        self.optimizer = torch.optim.SGD(model.parameters(), lr=self.lr)
        return self.optimizer

    def select_batch(self, batches):
        batch = next(batches)
        self.batches.append(batch)
        self.label_smoothing = SMOOTHINGS[self.step]
        self.optimizer.param_groups[0]["weight_decay"] = 0.01 * self.step
        self.step += 1
        return self.workload.take(batch, 2 * self.step)

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


def test_each_step_has_its_own_smoothing_decay_and_size(tmp_path):
    workload, budget = Digits(Varying()), TimeBudget(unit="steps", eval_period=3)
    train(workload, 6, tmp_path, callbacks=[budget])
    submission, model = workload.submission, workload.submission.start
    for step, batch in enumerate(submission.batches):
        count = 2 * step + 2
        logits, targets = model(batch["inputs"][:count]), F.one_hot(batch["targets"][:count], 10)
        smoothed = (1 - SMOOTHINGS[step]) * targets + SMOOTHINGS[step] / 10
        loss = -(smoothed * logits.log_softmax(1)).sum(1).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.1 * (gradient + 0.01 * step * parameter)
    for found, expected in zip(workload.network.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    assert not [warning for warning in budget.result.warnings if "changed" in warning]


def test_they_go_on_in_a_resumed_run(tmp_path):
    unbroken, broken, resumed = (Digits(Varying()) for _ in range(3))
    train(unbroken, 6, tmp_path)
    train(broken, 3, tmp_path).save_checkpoint(tmp_path / "stopped.ckpt")
    train(resumed, 6, tmp_path, checkpoint=tmp_path / "stopped.ckpt")
    for found, expected in zip(resumed.network.parameters(), unbroken.network.parameters(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("cls", [WMT, OGBG, Digits], ids=lambda cls: cls.__name__)
def test_a_compiled_loss_is_not_compiled_for_each_smoothing(cls, monkeypatch):
    torch._dynamo.reset()
    counter, compile = CompileCounterWithBackend("eager"), torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compile(function, backend=counter, fullgraph=True))
    logits, labels = torch.randn(6, 5, 7), torch.randint(1, 7, (6, 5))
    arguments = {
        WMT: (logits, {"targets": labels}),
        OGBG: (logits[0], {"targets": (labels[:5] > 3).float().repeat(1, 2)[:, :7], "weights": torch.ones(5, 7)}),
        Digits: (logits[:, 0], {"targets": labels[:, 0]}),
    }[cls]
    compiled = compile_loss(cls.loss_function)

    def value(function, smoothing):
        scores = arguments[0].clone().requires_grad_()
        returned = function(scores, arguments[1], smoothing)
        losses = returned[0] if isinstance(returned, tuple) else getattr(returned, "per_example", returned)
        return losses, torch.autograd.grad(losses.sum(), scores)[0]

    for smoothing in (*SMOOTHINGS, 0.0):
        for found, expected in zip(value(compiled, smoothing), value(cls.loss_function, smoothing), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert counter.frame_count <= 4
    torch._dynamo.reset()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothing_as_a_tensor_is_that_of_torch(smoothing):
    logits, targets = torch.randn(8, 5, dtype=torch.float64), torch.randint(5, (8,))
    found = cross_entropy(logits, targets, torch.tensor(smoothing, dtype=torch.float64))
    torch.testing.assert_close(found, F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing))


@pytest.mark.parametrize("smoothing", [-0.01, 1.5, float("nan"), None])
@pytest.mark.parametrize("function", ["loss", "loss_of"])
def test_smoothing_that_has_left_its_range_is_refused(function, smoothing):
    workload = Digits(PlainSGD())
    workload.configure_model()
    batch = next(iter(workload.data.training_batches(8, 0, 1, next, None)))
    arguments = {"loss": [batch], "loss_of": [torch.zeros(8, 10), batch]}[function]
    with pytest.raises(BadInputError, match="label_smoothing must be a number from 0 to 1, but got"):
        getattr(workload.view, function)(*arguments, label_smoothing=smoothing)


def test_batch_norms_are_recomputed_on_several_batches():
    with pytest.raises(BadInputError, match=r"takes several batches, but got one. Pass a list: \[batch\]"):
        Digits(PlainSGD()).view.update_batch_norm({"inputs": torch.zeros(2, 64)})


class Takes(PlainSGD):
    batch_sizes: ClassVar = {"digits": 8}

    def __init__(self, number=8):
        super().__init__()
        self.number = number

    def training_step(self, workload, batch):
        return workload.mean(workload.loss(workload.take(batch, self.number)))


@pytest.mark.parametrize("number", [0, 9, -1, 2.0, True, None])
def test_what_is_no_part_of_the_batch_is_refused(number, tmp_path):
    with pytest.raises(BadInputError, match=r"an integer from 1 to 8, .* but got .*draw larger batches"):
        train(Digits(Takes(number)), 1, tmp_path)


def test_a_step_may_have_several_batches(tmp_path):
    """The batches that are drawn stay as they are, but nothing limits how many of them a step has."""

    class Joins(PlainSGD):
        batch_sizes: ClassVar = {"digits": 8}

        def select_batch(self, batches):
            one, other = itertools.islice(batches, 2)
            return {name: torch.cat([one[name], other[name]]) for name in one}

    class Twice(PlainSGD):
        batch_sizes: ClassVar = {"digits": 16}

    joined, twice = Digits(Joins()), Digits(Twice())
    train(joined, 5, tmp_path)
    train(twice, 5, tmp_path)
    for found, expected in zip(joined.network.parameters(), twice.network.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
