"""Gradients that a submission makes itself in ``training_step``: added to those of the loss that it returns."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from smooth_digits import CASES, ByHand, InParts, OwnPart, Smooth, assert_equal, plain_loop

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.testing import train
from algoperf_lightning.testing.runs import compare_resumed

STEPS = 4
OWN = [name for name in CASES if name.startswith(("own", "by hand", "hand"))]


def trained(submission, folder, **options):
    workload = Smooth(submission)
    train(workload, STEPS, folder, **options)
    return list(workload.network.parameters())


@pytest.mark.parametrize("name", OWN)
def test_they_are_added(name, tmp_path):
    cls, reference = CASES[name]
    assert_equal(trained(cls(), tmp_path), plain_loop(STEPS, **reference))


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_in_mixed_precision_too(name, precision, number, tmp_path):
    cls, reference = CASES[name]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12) if precision == "16-mixed" else None
    found = trained(cls(number), tmp_path, plugins=[MixedPrecision(precision, "cpu", scaler=scaler)])
    assert_equal(found, plain_loop(STEPS, **reference), rtol=0.02, atol=3e-3)


def test_the_order_of_things(tmp_path):
    seen = []

    class Noting(OwnPart):
        def configure_optimizers(self, model, workload):
            self.weight = model[1].weight
            optimizer = super().configure_optimizers(model, workload)
            optimizer.register_step_post_hook(lambda *_: self.note("step"))
            return optimizer

        def note(self, where):
            gradient = self.weight.grad
            seen.append((where, None if gradient is None else gradient.clone()))

        def training_step(self, workload, batch):
            self.note("called")
            loss = InParts.training_step(self, workload, batch)
            self.of_loss = torch.autograd.grad(loss, self.weight, retain_graph=True)[0]
            (0.5 * self.weight.square().sum()).backward()
            self.note("own")
            return loss

    submission = Noting(2)
    train(Smooth(submission), 1, tmp_path)
    assert [where for where, _ in seen] == ["called", "own", "called", "own", "step"]
    start = Smooth(InParts())
    start.configure_model()
    weight = start.network[1].weight.detach()
    gradients = [gradient for _, gradient in seen]
    assert gradients[0] is None
    assert gradients[2] is None  # those of the micro-batch before are kept elsewhere
    assert torch.equal(gradients[1], weight)
    assert torch.equal(gradients[3], weight)
    assert not torch.equal(gradients[4], weight)


def test_clipping_sees_their_sum(tmp_path):
    norms = []

    class Clipped(OwnPart):
        gradient_clip = 0.01

        def configure_optimizers(self, model, workload):
            optimizer = super().configure_optimizers(model, workload)
            parameters = list(model.parameters())
            optimizer.register_step_post_hook(
                lambda *_: norms.append(torch.stack([p.grad.norm() for p in parameters]).norm().item())
            )
            return optimizer

    trained(Clipped(), tmp_path)
    assert norms == pytest.approx([0.01] * STEPS, rel=1e-3)


@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("number", [1, 4])
def test_a_tensor_that_the_submission_keeps_is_left_alone(number, clip, tmp_path):
    """It is the gradient again in each micro-batch and each step: nothing is added to it, and it is not clipped."""

    class Drift(InParts):
        gradient_clip = clip
        kept = None

        def training_step(self, workload, batch):
            if self.kept is None:
                self.kept = [torch.full_like(p, 0.25) for p in workload.model.parameters()]
            for parameter, tensor in zip(workload.model.parameters(), self.kept, strict=True):
                parameter.grad = tensor
            return super().training_step(workload, batch)

    class Fresh(Drift):
        def training_step(self, workload, batch):
            self.kept = None
            return super().training_step(workload, batch)

    submission = Drift(number)
    assert_equal(trained(submission, tmp_path), trained(Fresh(1), tmp_path))
    assert all(bool((tensor == 0.25).all()) for tensor in submission.kept)


def test_resumed_in_the_middle(tmp_path):
    compare_resumed(lambda: Smooth(OwnPart(3)), tmp_path)


def test_without_a_loss_they_would_be_lost(tmp_path):
    class Nothing(ByHand):
        def training_step(self, workload, batch):
            super().training_step(workload, batch)

    for number in (1, 3):
        with pytest.raises(BadInputError, match="set gradients itself and returned None"):
            train(Smooth(Nothing(number)), 1, tmp_path)


def test_a_loss_without_a_gradient_is_refused_where_there_is_none_else(tmp_path):
    class Detached(InParts):
        def training_step(self, workload, batch):
            return super().training_step(workload, batch).detach()

    for number in (1, 3):
        with pytest.raises(BadInputError, match="a tensor that depends on no parameter"):
            train(Smooth(Detached(number)), 1, tmp_path)


@pytest.mark.parametrize("mean", ["mean", "mean_value"])
def test_the_mean_of_a_bare_tensor_is_refused(mean, tmp_path):
    class Bare(InParts):
        def training_step(self, workload, batch):
            return getattr(workload, mean)(workload.loss(batch).per_example)

    with pytest.raises(BadInputError, match=r"take what workload.loss.* but got a Tensor"):
        train(Smooth(Bare()), 1, tmp_path)


def test_the_rule_checks_allow_them_and_micro_batches(tmp_path):
    class Both(OwnPart):
        gradient_clip = 1.0

    budget = TimeBudget(unit="steps", eval_period=1, budget=2, target=0.9999)
    recorder = TrialRecorder(tmp_path / "trial")
    train(Smooth(Both(3)), 2, tmp_path, callbacks=[budget, recorder], enable_checkpointing=True)
    assert budget.result.evaluations[-1].step == 2
    assert [line for line in budget.result.warnings if ", line " not in line] == []
