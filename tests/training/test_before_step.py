"""What a submission does between gradient and step, against a plain loop that does the same."""

from typing import ClassVar

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from smooth_digits import Smooth
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR
from two_optimizers import CLIP, STEPS, Recording, Two, assert_same, fit, plain_loop, split

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.testing.submissions import check_submission_resume
from algoperf_lightning.training.calls import SubmissionError
from algoperf_lightning.workloads import Digits

LIMIT = 0.004
TOLERANCES = {
    "32-true": {"rtol": 1e-5, "atol": 1e-7},
    "bf16-mixed": {"rtol": 1e-3, "atol": 1e-4},
    "16-mixed": {"rtol": 1e-3, "atol": 1e-4},
}


def clip_values(model):
    """Clip by value, then by the norm of a group; done by hand, to be compared with."""
    for p in model.parameters():
        p.grad.clamp_(-LIMIT, LIMIT)
    matrices, _ = split(model)
    torch.nn.utils.clip_grad_norm_(matrices, CLIP)


class ByValue(Two):
    """Two optimizers, whose gradients are clipped by value first."""

    def before_step(self, model, workload):
        torch.nn.utils.clip_grad_value_(model.parameters(), LIMIT)
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.ndim > 1], CLIP)


@pytest.mark.parametrize("form", [{"fused": True}, {"foreach": True}], ids=["fused", "foreach"])
@pytest.mark.parametrize("precision", TOLERANCES)
def test_gradients_are_changed_before_they_are_clipped(precision, form, tmp_path):
    submission = ByValue(**form)
    workload = fit(submission, tmp_path, precision)
    expected, norms = plain_loop(submission.batches, precision, change=clip_values)
    assert_same(workload.network, expected, **TOLERANCES[precision])
    assert max(norms) == pytest.approx(CLIP, rel=1e-5)  # limited again


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_micro_batches_are_one_gradient(precision, tmp_path):
    class InParts(ByValue):
        micro_batches = 4
        calls = 0

        def before_step(self, model, workload):
            self.calls += 1
            super().before_step(model, workload)

    submission = InParts()
    workload = fit(submission, tmp_path, precision)
    assert submission.calls == STEPS
    expected, _ = plain_loop(submission.batches, precision, change=clip_values)
    assert_same(workload.network, expected, **TOLERANCES[precision])


class One(Recording):
    """A single optimizer."""

    def __init__(self, factors: tuple[float, ...] = (), **form):
        super().__init__(factors)
        self.form = form
        self.norms = []

    def configure_optimizers(self, model, workload):
        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, **self.form)
        self.hooked = []
        optimizer.register_step_pre_hook(lambda *_: self.hooked.append(("pre", self.steps)))
        optimizer.register_step_post_hook(lambda *_: self.hooked.append(("post", self.steps)))
        self.optimizer, self.schedule = optimizer, LambdaLR(optimizer, lambda step: 0.9**step)
        return {"optimizer": optimizer, "lr_scheduler": self.schedule}

    def before_step(self, model, workload):
        self.norms.append((self.steps, float(torch.nn.utils.get_total_norm(p.grad for p in model.parameters()))))


@pytest.mark.parametrize("form", [{"fused": True}, {"foreach": True}], ids=["fused", "foreach"])
def test_gradients_are_unscaled(form, tmp_path):
    norms = {}
    for precision in TOLERANCES:
        submission = One(**form)
        fit(submission, tmp_path, precision, steps=2)
        norms[precision] = submission.norms
    for precision in ("bf16-mixed", "16-mixed"):
        assert norms[precision] == [(step, pytest.approx(norm, rel=0.02)) for step, norm in norms["32-true"]]


@pytest.mark.parametrize("form", [{"fused": True}, {"foreach": True}], ids=["fused", "foreach"])
def test_it_is_not_called_where_a_gradient_overflows(form, tmp_path):
    submission = One((1.0, 1e30), **form)
    fit(submission, tmp_path, "16-mixed", steps=4)
    assert [step for step, _ in submission.norms] == [1, 3, 4]
    assert submission.hooked == [(when, step) for step in (1, 3, 4) for when in ("pre", "post")]
    assert submission.schedule.last_epoch == 4


class Watch(Callback):
    """Notes parameters and optimizer states after each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        optimizer = pl_module.submission.optimizer
        values = [p.detach().clone() for p in pl_module.network.parameters()]
        values += [state["momentum_buffer"].clone() for state in optimizer.state.values()]
        self.seen.append(values)


class Skipping(One):
    """Skips its third and fifth step."""

    def before_step(self, model, workload):
        super().before_step(model, workload)
        return self.steps not in (3, 5)


@pytest.mark.parametrize("precision", TOLERANCES)
def test_a_step_is_skipped(precision, tmp_path):
    submission, watch = Skipping(), Watch()
    workload = fit(submission, tmp_path, precision, steps=6, callbacks=[watch])
    for step in range(2, 7):
        before, after = watch.seen[step - 2], watch.seen[step - 1]
        stays = all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert stays == (step in (3, 5))
    assert submission.hooked == [(when, step) for step in (1, 2, 4, 6) for when in ("pre", "post")]
    # A skipped step counts, and schedules are stepped.
    assert (workload.trainer.global_step, submission.schedule.last_epoch) == (6, 6)


class Halved(Two):
    """Skips every other step, and adds noise in the others."""

    def before_step(self, model, workload):
        generator = workload.shared_generator()
        for p in model.parameters():
            p.grad.add_(torch.randn(p.shape, generator=generator), alpha=0.01)
        return self.steps % 2 == 1

    def select_batch(self, batches):
        return next(batches)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


class HalvedWithoutArguments(Halved):
    def __init__(self):
        super().__init__()


def test_a_resumed_run_ends_bit_equal(tmp_path):
    check_submission_resume(HalvedWithoutArguments, tmp_path)


def test_two_optimizers_are_skipped_together(tmp_path):
    class SkipsSecond(Two):
        def before_step(self, model, workload):
            return self.steps != 2

    submission = SkipsSecond()
    workload = fit(submission, tmp_path)
    steps = iter(range(1, STEPS + 1))
    expected, _ = plain_loop(submission.batches, change=lambda model: next(steps) != 2)
    assert_same(workload.network, expected)


def test_the_shared_generator_is_another_one_at_each_step_and_in_each_trial(tmp_path):
    class Draws(PlainSGD):
        def __init__(self):
            super().__init__()
            self.drawn = []

        def before_step(self, model, workload):
            first, second = (torch.rand(3, generator=workload.shared_generator()).tolist() for _ in range(2))
            assert first == second  # within a step
            self.drawn.append(tuple(first))

    drawn = []
    for seed in (0, 1):
        submission = Draws()
        train(Digits(submission, seed=seed), 3, tmp_path)
        drawn += submission.drawn
    assert len(set(drawn)) == 6


def test_it_sees_a_second_gradient_too_and_skips_before_it_only(tmp_path):
    class TwoPasses(AdamW):
        def step(self, closure):
            closure()
            closure()
            return super().step()

    class Twice(Recording):
        def __init__(self, skips=()):
            super().__init__()
            self.calls, self.skips = 0, skips

        def configure_optimizers(self, model, workload):
            return TwoPasses(model.parameters(), lr=0.01)

        def before_step(self, model, workload):
            self.calls += 1
            return self.calls not in self.skips

    submission = Twice()
    train(Digits(submission), 2, tmp_path)
    assert submission.calls == 4
    submission = Twice(skips=(1, 4))  # the first pass of the first step; then there are two passes again
    train(Digits(submission), 2, tmp_path)
    assert (submission.calls, submission.steps) == (3, 3)
    with pytest.raises(BadInputError, match=r"before_step returned False after TwoPasses computed"):
        train(Digits(Twice(skips=(2,))), 2, tmp_path)


def test_it_is_not_called_where_there_is_no_gradient(tmp_path):
    class Pauses(One):
        def training_step(self, workload, batch):
            loss = super().training_step(workload, batch)
            return None if self.steps == 2 else loss

    submission = Pauses()
    train(Digits(submission), 3, tmp_path)
    assert [step for step, _ in submission.norms] == [1, 3]


@pytest.mark.parametrize("returned", [0, torch.tensor(False), "no"])
def test_what_it_may_return(returned, tmp_path):
    class Returns(PlainSGD):
        def before_step(self, model, workload):
            return returned

    with pytest.raises(BadInputError, match=r"Returns\.before_step returned .*; expected False to skip the step"):
        train(Digits(Returns()), 1, tmp_path)


def test_its_errors_are_errors_of_the_submission(tmp_path):
    class Raises(PlainSGD):
        def before_step(self, model, workload):
            raise StopIteration

    with pytest.raises(SubmissionError, match=r"Raises\.before_step raised StopIteration"):
        train(Digits(Raises()), 1, tmp_path)


def test_it_may_be_an_attribute_and_a_subclass_may_extend_it(tmp_path):
    calls = []
    submission = PlainSGD()
    submission.before_step = lambda model, workload: calls.append(workload.step_hint)
    train(Digits(submission), 2, tmp_path)
    assert calls == [Digits.spec.step_hint] * 2


@pytest.mark.parametrize("number", [1, 4])
def test_gradients_of_parameters_without_an_optimizer_are_those_of_the_step(number, tmp_path):
    class HeadOnly(PlainSGD):
        batch_sizes: ClassVar = {"digits": 12}
        micro_batches = number
        seen = 0

        def select_batch(self, batches):
            self.batch = next(batches)
            return self.batch

        def configure_optimizers(self, model, workload):
            return SGD(model[3].parameters(), lr=0.1)

        def before_step(self, model, workload):
            found = [p.grad for p in model.parameters()]
            expected = torch.autograd.grad(workload.mean(workload.loss(self.batch)), list(model.parameters()))
            torch.testing.assert_close(found, list(expected), rtol=1e-4, atol=1e-6)
            self.seen += 1

    submission = HeadOnly(lr=0.1)
    train(Smooth(submission), 3, tmp_path)
    assert submission.seen == 3
