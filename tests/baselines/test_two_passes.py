"""Submissions that run the model more than once a step, or elsewhere: SAM and the schedule-free ones."""

import math
from itertools import pairwise

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from odd_digits import OddDigits, make

from algoperf_lightning.testing import train


class Counted(OddDigits):
    """Notes, at every pass: the first weight, whether gradients and running statistics are on."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.passes = []

    def loss(self, batch, **options):
        network = self.network
        norm = network.norm
        self.passes.append((network.head.bias.detach().clone(), torch.is_grad_enabled(), norm.track_running_stats))
        return super().loss(batch, **options)


def trained(name, steps, folder, precision="32-true", **options):
    workload = Counted(make(name, **options))
    train(workload, steps, folder, precision=precision)
    return workload


def test_sam_moves_statistics_in_the_first_pass_only(tmp_path):
    workload = trained("sam", 5, tmp_path)
    assert [moves for _, _, moves in workload.passes] == [True, False] * 5
    assert workload.network.norm.num_batches_tracked == 5


def test_sam_takes_the_second_gradient_rho_away(tmp_path):
    workload = OddDigits(make("sam", rho=0.07, learning_rate=0.0))
    weights = []

    def remember(module, arguments):
        weights.append([p.detach().clone() for p in module.parameters()])

    workload.configure_model()
    workload.network.register_forward_pre_hook(remember)
    train(workload, 1, tmp_path)
    here, there = weights
    distance = math.sqrt(sum((a - b).square().sum().item() for a, b in zip(here, there, strict=True)))
    assert distance == pytest.approx(0.07, rel=1e-5)
    # Without learning rate it comes back to where it was, bit for bit.
    assert all(torch.equal(a, p) for a, p in zip(here, workload.network.parameters(), strict=True))


def test_sam_is_adamw_without_a_distance(tmp_path):
    options = {"learning_rate": 1e-3, "weight_decay": 0.1, "label_smoothing": 0.1}
    sam, adamw = OddDigits(make("sam", rho=0.0, **options)), OddDigits(make("adamw", **options))
    for workload in (sam, adamw):
        train(workload, 8, tmp_path)
    for one, other in zip(sam.network.parameters(), adamw.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("steps", [(1, 2), (0,)], ids=["external", "self-tuning"])
def test_schedule_free_moves_statistics_at_the_average_only(steps, tmp_path):
    workload = trained("schedule_free_adamw", 7, tmp_path, statistics_steps=steps)
    with_gradient = [moves for _, gradient, moves in workload.passes if gradient]
    without = [moves for _, gradient, moves in workload.passes if not gradient]
    due = sum(step % 3 in steps for step in range(7))
    assert with_gradient == [False] * 7
    assert without == [True] * due
    assert workload.network.norm.num_batches_tracked == due
    # The pass for statistics sees the weights as they are between steps; the other one does not, but for the first.
    places = [(bias, gradient) for bias, gradient, _ in workload.passes]
    for (bias, gradient), (next_bias, next_gradient) in pairwise(places[3:]):
        if not gradient and next_gradient:
            assert not torch.equal(bias, next_bias)


def test_the_first_version_moves_statistics_with_the_gradient(tmp_path):
    workload = trained("schedule_free_adamw", 4, tmp_path, version="v1")
    assert [(gradient, moves) for _, gradient, moves in workload.passes] == [(True, True)] * 4


def test_the_gradient_is_of_y_in_mixed_precision_too(tmp_path):
    """Autocast may keep the weights it has cast, here those of the pass at x; Lightning must not let it."""
    workload = OddDigits(make("schedule_free_sgd", learning_rate=3.0))
    workload.configure_model()
    apart = []

    def compare(module, arguments, output):
        if torch.is_grad_enabled():
            with torch.autocast("cpu", torch.bfloat16, cache_enabled=False), torch.no_grad():
                anew = torch.nn.functional.linear(arguments[0].float(), module.weight.clone(), module.bias.clone())
            apart.append((anew - output).abs().max().item())

    workload.network.head.register_forward_hook(compare)
    train(workload, 6, tmp_path, precision="bf16-mixed")
    assert len(apart) == 6
    assert max(apart) == 0.0


def test_a_network_without_running_statistics_has_one_pass(tmp_path):
    workload = OddDigits(make("schedule_free_sgd"))
    workload.batch_norm = False
    passes = []
    workload.configure_model()
    workload.network.register_forward_pre_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    train(workload, 4, tmp_path)
    assert passes == [True] * 4


def test_schedule_free_weights_are_the_average_between_steps(tmp_path):
    """After the first step the average is the fast weights; after that it lies between what it was and those."""
    workload = OddDigits(make("schedule_free_sgd", learning_rate=0.1))
    train(workload, 1, tmp_path)
    for parameter in workload.network.parameters():
        if parameter.grad is not None:
            z = workload.submission.optimizer.state[parameter]["z"]
            torch.testing.assert_close(parameter.detach(), z, rtol=1e-6, atol=1e-7)


class Skips(L.Callback):
    """Which steps were skipped, and what an evaluation after each step would see."""

    def __init__(self):
        self.steps, self.evaluated = [0], [None]

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.steps.append(pl_module.submission.optimizer.param_groups[0]["k"])
        pl_module.submission.before_evaluation(pl_module.network)
        self.evaluated.append([p.detach().clone() for p in pl_module.network.parameters()])

    @property
    def skipped(self):
        """The steps that were skipped when there was a difference between x and y already."""
        return [step for step, (k, then) in enumerate(pairwise(self.steps), start=1) if k == then > 1]


def train_overflowing(workload, steps, folder, **options):
    """The scale of the loss grows after every second step, until gradients overflow in fp16 and a step is skipped."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**17, growth_factor=8.0, backoff_factor=0.25, growth_interval=2)
    return train(workload, steps, folder, plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)], **options)


@pytest.mark.parametrize("name", ["schedule_free_adamw", "schedule_free_sgd"])
def test_after_a_skipped_step_the_average_is_evaluated(name, tmp_path):
    train_overflowing(OddDigits(make(name)), 12, tmp_path, callbacks=[skips := Skips()])
    assert skips.skipped
    for step in skips.skipped:
        for now, before in zip(skips.evaluated[step], skips.evaluated[step - 1], strict=True):
            torch.testing.assert_close(now, before, rtol=1e-5, atol=1e-7)


def test_after_a_skipped_step_statistics_are_still_those_of_the_average(tmp_path):
    workload = Counted(make("schedule_free_adamw", statistics_steps=(0, 1, 2)))
    train_overflowing(workload, 12, tmp_path)
    places = [bias for bias, _, _ in workload.passes]
    begun = list(zip(places[::2], places[1::2], strict=True))[4:]
    assert all(not torch.equal(average, gradients) for average, gradients in begun)


def test_a_checkpoint_after_a_skipped_step_goes_on_bit_for_bit(tmp_path):
    unbroken, broken, resumed = (OddDigits(make("schedule_free_adamw")) for _ in range(3))
    train_overflowing(OddDigits(make("schedule_free_adamw")), 12, tmp_path, callbacks=[skips := Skips()])
    stop = skips.skipped[0]
    train_overflowing(unbroken, 12, tmp_path)
    train_overflowing(broken, stop, tmp_path).save_checkpoint(tmp_path / "stopped.ckpt")
    train_overflowing(resumed, 12, tmp_path, checkpoint=tmp_path / "stopped.ckpt")
    for one, other in zip(unbroken.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)
