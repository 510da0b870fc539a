"""Several optimizers in one submission train as a plain loop that steps each of them."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from torch.optim import LBFGS, SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR
from two_optimizers import CLIP, STEPS, Recording, Two, assert_same, fit, momentum_and_adamw, plain_loop, split

from algoperf_lightning.callbacks import TrialRecorder
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim import Sam
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.testing.submissions import check_submission_resume
from algoperf_lightning.training.joint_optimizer import JointOptimizer
from algoperf_lightning.workloads import Digits

PRECISIONS = {
    "32-true": {"rtol": 1e-5, "atol": 1e-7},
    "bf16-mixed": {"rtol": 1e-3, "atol": 1e-4},
    "16-mixed": {"rtol": 1e-3, "atol": 1e-4},
}


@pytest.mark.parametrize("form", [{"fused": True}, {"foreach": True}], ids=["fused", "foreach"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_optimizers_train_as_a_plain_loop_does(precision, form, tmp_path):
    submission = Two(**form)
    workload = fit(submission, tmp_path, precision)
    expected, norms = plain_loop(submission.batches, precision)
    assert_same(workload.network, expected, **PRECISIONS[precision])
    assert norms == [pytest.approx(CLIP, rel=1e-5)] * STEPS  # one norm over the parameters of both


def test_an_overflow_skips_the_steps_of_all_optimizers(tmp_path):
    factors = (1.0, 1e30, 1.0, 1e30)
    submission = Two(factors, fused=True)
    workload = fit(submission, tmp_path, "16-mixed")
    expected, _ = plain_loop(submission.batches, "16-mixed", factors=factors)
    assert_same(workload.network, expected, **PRECISIONS["16-mixed"])
    momentum, adamw = workload.trainer.optimizers[0].optimizers
    assert {int(state["step"]) for state in adamw.state.values()} == {STEPS - 2}
    assert all(torch.is_tensor(state["momentum_buffer"]) for state in momentum.state.values())


@pytest.mark.parametrize(
    "form",
    [
        lambda a, b, s, t: [a, b],
        lambda a, b, s, t: (a, b),
        lambda a, b, s, t: ([a, b], []),
        lambda a, b, s, t: [{"optimizer": a}, {"optimizer": b}],
        lambda a, b, s, t: [{"optimizer": a, "lr_scheduler": s}, b],
        lambda a, b, s, t: ([a, b], [s, {"scheduler": t, "interval": "evaluation"}]),
        lambda a, b, s, t: ({"optimizer": a, "lr_scheduler": s}, {"optimizer": b, "lr_scheduler": t}),
        lambda a, b, s, t: ([a, b], [t, LambdaLR(b, lambda step: 1.0)]),
    ],
)
def test_forms(form):
    class Configured(PlainSGD):
        def configure_optimizers(self, model, workload):
            self.made = momentum_and_adamw(model)
            return form(*self.made)

    submission = Configured()
    workload = Digits(submission)
    workload.configure_model()
    (joint,), configs = workload.configure_optimizers()
    assert isinstance(joint, JointOptimizer)
    assert joint.optimizers == submission.made[:2]
    # Each optimizer has its place in Lightning's list of schedules.
    assert {id(config["scheduler"].optimizer) for config in configs} == set(map(id, joint.optimizers))


def test_one_optimizer_is_stepped_by_lightning_itself(tmp_path):
    class Listed(PlainSGD):
        def configure_optimizers(self, model, workload):
            return [super().configure_optimizers(model, workload)]

    assert type(train(Digits(Listed()), 1, tmp_path).optimizers[0]) is SGD


class TwoChecked(Two):
    """The same as a submission of the library is: its own state has nothing that a checkpoint could not hold."""

    def __init__(self):
        super().__init__()

    def select_batch(self, batches):
        return next(batches)


def test_a_resumed_run_ends_bit_equal(tmp_path):
    check_submission_resume(TwoChecked, tmp_path)


def test_a_timed_run_that_dies_is_resumed_bit_equal(tmp_path):
    class Dies(TwoChecked):
        dies_at = None

        def training_step(self, workload, batch):
            if self.steps == self.dies_at:
                raise RuntimeError("dies")
            return super().training_step(workload, batch)

    def run(submission, folder, ckpt_path=None):
        recorder = TrialRecorder(folder)
        return fit(submission, tmp_path, callbacks=[recorder], enable_checkpointing=True, ckpt_path=ckpt_path)

    unbroken = run(Dies(), tmp_path / "unbroken")
    dying = Dies()
    dying.dies_at = 6
    with pytest.raises(RuntimeError, match="dies"):
        run(dying, tmp_path / "trial")
    resumed = run(Dies(), tmp_path / "trial", tmp_path / "trial" / "last.ckpt")
    for (name, one), other in zip(resumed.network.named_parameters(), unbroken.network.parameters(), strict=True):
        assert torch.equal(one, other), name
    rates, expected = ([group["lr"] for group in run.trainer.optimizers[0].param_groups] for run in (resumed, unbroken))
    assert rates == expected == [pytest.approx(0.0, abs=1e-9), 0.02 * 0.5**4]  # four evaluations


def test_state_is_each_optimizers_own(tmp_path):
    joint = train(Digits(TwoChecked()), 2, tmp_path).optimizers[0]
    momentum, adamw = joint.optimizers
    assert len(joint.state) == len(momentum.state) + len(adamw.state) == 8
    for parameter, state in joint.state.items():
        owner = momentum if parameter in momentum.state else adamw
        assert owner.state[parameter] is state
    groups = [*momentum.param_groups, *adamw.param_groups]
    assert list(map(id, joint.param_groups)) == list(map(id, groups))
    saved = joint.state_dict()
    assert [sorted(each["state"][0]) for each in saved["optimizers"]] == [
        ["momentum_buffer"],
        ["exp_avg", "exp_avg_sq", "step"],
    ]


def test_the_learning_rate_monitor_shows_each(tmp_path):
    class Rates(PlainSGD):
        def configure_optimizers(self, model, workload):
            matrices, rest = split(model)
            scheduled, constant = SGD(matrices, lr=0.1), SGD(rest[:2], lr=0.3)
            named = AdamW(rest[2:], lr=0.2)
            halved = {"scheduler": LambdaLR(named, lambda step: 0.5**step), "name": "rate of AdamW"}
            return [scheduled, constant, named], [LambdaLR(scheduled, lambda step: 1.0 + step), halved]

    logger = CSVLogger(tmp_path)
    monitor = LearningRateMonitor()
    train(Digits(Rates()), 3, tmp_path, callbacks=[monitor], logger=logger, log_every_n_steps=1)
    assert monitor.lrs == {
        "lr-SGD": [0.1, 0.2, pytest.approx(0.3)],
        "rate of AdamW": [0.2, 0.1, 0.05],
        "lr-SGD-1": [0.3] * 3,
    }


def test_hooks_of_each_optimizer_are_called_at_its_step(tmp_path):
    calls = []

    class Hooked(PlainSGD):
        gradient_clip = 0.01

        def configure_optimizers(self, model, workload):
            optimizers = [SGD(part, lr=0.1) for part in split(model)]
            for number, optimizer in enumerate(optimizers):
                optimizer.register_step_pre_hook(lambda *_, n=number: calls.append(("before", n, self.norm(model))))
                optimizer.register_step_post_hook(lambda *_, n=number: calls.append(("after", n, self.norm(model))))
            return optimizers

        def norm(self, model):
            return float(torch.stack([p.grad.norm() for p in model.parameters()]).norm())

    for precision in ("32-true", "bf16-mixed"):
        calls.clear()
        train(Digits(Hooked()), 2, tmp_path, precision=precision)
        clipped = pytest.approx(0.01, rel=1e-3)  # the gradient of this step, before the step too
        assert calls == [(when, number, clipped) for number in (0, 1) for when in ("before", "after")] * 2


def test_untrained_parameters_are_those_in_no_optimizer():
    class Partly(PlainSGD):
        def configure_optimizers(self, model, workload):
            matrices, rest = split(model)
            return [SGD(matrices, lr=0.1), SGD(rest[1:], lr=0.1)]

    workload = Digits(Partly())
    workload.configure_model()
    with pytest.warns(UserWarning, match="without 1 of the model's 8"):
        workload.configure_optimizers()
    assert workload.notes == [
        "Partly has made an optimizer without 1 of the model's 8 trainable parameters: conv1.bias."
    ]


class SamAndMomentum(Recording):
    """Two passes for matrices, one for the rest."""

    def __init__(self, order=("sam", "momentum")):
        super().__init__()
        self.order = order

    def configure_optimizers(self, model, workload):
        matrices, rest = split(model)
        made = {"sam": Sam(matrices, rho=0.5, lr=0.01), "momentum": SGD(rest, lr=0.1, momentum=0.9)}
        return [made[name] for name in self.order]


def test_the_first_optimizer_may_call_its_closure_again(tmp_path):
    submission = SamAndMomentum()
    workload = Digits(submission, seed=3)
    trainer = train(workload, 4, tmp_path)
    assert (trainer.global_step, submission.steps) == (4, 8)  # two passes are one step

    twin = Digits(SamAndMomentum(), seed=3)
    twin.configure_model()
    model = twin.network
    matrices, rest = split(model)
    adamw, momentum = AdamW(matrices, lr=0.01), SGD(rest, lr=0.1, momentum=0.9)

    def backward(batch):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(batch["inputs"]), batch["targets"]).backward()

    for batch in submission.batches:
        backward(batch)
        first = [p.grad.clone() for p in rest]
        norm = torch.stack([p.grad.norm() for p in matrices]).norm()
        moves = [0.5 / norm * p.grad for p in matrices]
        with torch.no_grad():
            starts = [p.clone() for p in matrices]
            torch._foreach_add_(matrices, moves)
        backward(batch)
        with torch.no_grad():
            torch._foreach_copy_(matrices, starts)
        adamw.step()
        for p, gradient in zip(rest, first, strict=True):
            p.grad = gradient
        momentum.step()
    assert_same(workload.network, model)


def test_another_optimizer_may_not(tmp_path):
    with pytest.raises(BadInputError, match=r"Sam\.step called its closure again after the step of SGD.*Sam first"):
        train(Digits(SamAndMomentum(("momentum", "sam"))), 2, tmp_path)


class WithLBFGS(Recording):
    def configure_optimizers(self, model, workload):
        matrices, rest = split(model)
        return [LBFGS(matrices, lr=0.1, max_iter=3), SGD(rest, lr=0.1)]


def test_lbfgs_may_be_one_of_them(tmp_path):
    submission = WithLBFGS()
    trainer = train(Digits(submission), 3, tmp_path)
    assert trainer.global_step == 3
    assert submission.steps == 3 * 3  # evaluations, the first of each step shared


def test_lbfgs_cannot_skip_a_step_by_none(tmp_path):
    class Skips(Recording):
        def configure_optimizers(self, model, workload):
            return LBFGS(model.parameters(), max_iter=3)

        def training_step(self, workload, batch):
            return super().training_step(workload, batch) if self.steps < 4 else None

    with pytest.raises(
        BadInputError, match=r"Skips\.training_step returned None to skip .* LBFGS\.step needs the loss"
    ):
        train(Digits(Skips()), 5, tmp_path)


def test_a_closure_that_is_called_again_needs_another_precision_than_16_mixed(tmp_path):
    with pytest.raises(BadInputError, match=r"LBFGS\.step needs a closure, .*'16-mixed'"):
        fit(WithLBFGS(), tmp_path, "16-mixed")


def test_a_group_is_added_to_one_of_the_optimizers(tmp_path):
    joint = JointOptimizer([SGD([torch.zeros(1)], lr=0.1), SGD([torch.zeros(2)], lr=0.1)])
    with pytest.raises(BadInputError, match="cannot be added to several optimizers"):
        joint.add_param_group({"params": [torch.zeros(3)]})
    joint.optimizers[1].add_param_group({"params": [torch.zeros(3)]})
    assert len(joint.param_groups) == 3
    assert isinstance(joint, L.fabric.utilities.types.Optimizable)
