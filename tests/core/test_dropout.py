"""Dropout whose rate changes from step to step: that it follows everywhere, also compiled, resumed and on two ranks."""

import re
from pathlib import Path

import pytest
import ranks_dropout
import torch
from dropout_digits import Asking, ByHand, DropDigits, DropNet, Fixed, Rising
from on_ranks import run_on_ranks
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.dropout import Dropout, Dropout2d, DropoutRates, attend
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.testing import train
from algoperf_lightning.workloads import Digits

RATES = (0.1, 0.5, 0.0, 0.25, 0.9, 1.0, 0.3, 0.6, 0.7, 0.05, 0.1)  # more than torch compiles a model again for


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def trained(submission, folder, steps=6, **options):
    workload = DropDigits(submission, **options)
    train(workload, steps, folder)
    return workload.network.state_dict()


def assert_equal(ones, others):
    differing = [name for name in ones if not torch.equal(ones[name], others[name])]
    assert not differing


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_a_rate_asked_for_in_each_pass_trains_as_a_model_that_was_built_with_it(rate, tmp_path):
    assert_equal(trained(Asking(rate), tmp_path), trained(Fixed(rate), tmp_path))


def test_no_rate_is_the_one_that_the_model_was_built_with(tmp_path):
    assert_equal(trained(Asking(None), tmp_path), trained(Fixed(0.6), tmp_path))


def test_the_attribute_may_change_during_training_and_a_resumed_run_goes_on_with_it(tmp_path):
    unbroken, broken, resumed = (DropDigits(Rising()) for _ in range(3))
    train(unbroken, 7, tmp_path)
    train(broken, 4, tmp_path).save_checkpoint(tmp_path / "stopped.ckpt")
    train(resumed, 7, tmp_path, checkpoint=tmp_path / "stopped.ckpt")
    assert unbroken.submission.dropout == pytest.approx(0.7)
    assert_equal(unbroken.network.state_dict(), resumed.network.state_dict())
    assert any(not torch.equal(p, q) for p, q in zip(unbroken.network.parameters(), kept(tmp_path), strict=True))


def kept(folder):
    """Where the same number of steps ends without dropout."""
    workload = DropDigits(Fixed(0.0))
    train(workload, 7, folder)
    return workload.network.parameters()


def changes_seen(submission, folder, **options):
    budget = TimeBudget(eval_period=1e-6)
    train(DropDigits(submission, **options), 3, folder, callbacks=[budget])
    return [warning for warning in budget.result.warnings if "changed during the run" in warning]


@pytest.mark.parametrize("version", ["0.6", "1.0"])
def test_a_rate_asked_for_breaks_no_rule_and_one_set_behind_the_workloads_back_does(version, tmp_path):
    assert changes_seen(Rising(), tmp_path, version=version) == []
    assert changes_seen(Asking(0.3), tmp_path, version=version) == []
    found = changes_seen(ByHand(), tmp_path, version=version)
    assert len(found) == 3  # of channels, of attention, of values
    expected = (
        r"The model's structure changed during the run: dropout attention was 0.1 and is now 0.3\..* dropout=\.\.\."
    )
    assert any(re.match(expected, warning) for warning in found)


def test_version_05_fixes_the_rate_when_the_model_is_built(tmp_path):
    trained(Fixed(0.3), tmp_path, version="0.5")  # the attribute, unchanged
    with pytest.raises(BadInputError, match=r"AlgoPerf 0.5 fixes the rate .* got dropout=0.2 .*from 0.6 on"):
        trained(Asking(0.2), tmp_path, version="0.5")


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "0.1"])
def test_what_is_no_rate_is_refused(rate, tmp_path):
    with pytest.raises(BadInputError, match="dropout must be a number from 0 to 1, but got"):
        trained(Asking(rate), tmp_path)


def test_a_model_without_dropout_ignores_the_rate(tmp_path):
    ends = []
    for submission in (Asking(0.9), Fixed(None)):
        workload = Digits(submission)
        train(workload, 3, tmp_path)
        ends.append(workload.network.state_dict())
    assert_equal(*ends)


def test_rates_of_a_model_that_makes_several_of_one_come_back():
    model = nn.Sequential(Dropout(0.2), nn.Dropout(0.1), Dropout2d(0.4))
    rates = DropoutRates(model, built_with=0.2)
    assert not rates.differ_from(0.2)

    def fail():
        with rates.all_at(0.7):
            assert [module.p for module in model] == [0.7] * 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [module.p for module in model] == [0.2, 0.1, 0.4]


# Compiled


def test_a_compiled_model_is_compiled_once_more_for_all_rates_together():
    model, counter = DropNet(0.1), CompileCounterWithBackend("aot_eager")
    rates = DropoutRates(model, 0.1)
    model.compile(backend=counter, fullgraph=True)
    images = torch.randn(8, 1, 8, 8)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        model(images)
        for rate in RATES:
            with rates.all_at(rate):
                model(images).sum().backward()
        model(images)
    assert counter.frame_count == 2


@pytest.mark.parametrize("module", [Dropout, Dropout2d])
def test_compiled_it_drops_as_much_and_the_gradient_is_of_what_was_kept(module):
    model = nn.Sequential(module(0.1))
    rates = DropoutRates(model, 0.1)
    model.compile(backend="aot_eager", fullgraph=True)
    for rate in RATES:
        values = (torch.rand(40, 50, 3, 3) + 1).requires_grad_()
        with rates.all_at(rate):
            dropped = model(values)
        dropped.sum().backward()  # after the rate was set back, as in a run
        found = dropped.detach()
        kept = found != 0
        by_channel = kept.float().mean((2, 3))
        assert kept.float().mean().item() == pytest.approx(1 - rate, abs=0.05)
        assert bool(((by_channel == 0) | (by_channel == 1)).all()) == (module is Dropout2d or rate in (0.0, 1.0))
        expected = torch.where(kept, torch.full_like(found, 1 / (1 - rate) if rate < 1 else 0.0), 0.0)
        torch.testing.assert_close(values.grad, expected)
        torch.testing.assert_close(found, (values * expected).detach())
    with torch.no_grad():
        assert torch.equal(model.eval()(values), values)


@pytest.mark.parametrize("bias", [False, True])
def test_compiled_attention_without_dropout_is_torchs_and_with_it_right_in_the_mean(bias):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = Dropout(0.1)

        def forward(self, *inputs, **options):
            return attend(*inputs, self.dropout, **options)

    model = Attention()
    rates = DropoutRates(model, 0.1)
    model.compile(backend="aot_eager", fullgraph=True)
    queries, keys, values = (torch.randn(2, 3, length, 8) for length in (5, 6, 6))
    options = {"bias": torch.randn(2, 1, 5, 6), "scale": 0.7} if bias else {}
    expected = F.scaled_dot_product_attention(queries, keys, values, options.get("bias"), scale=options.get("scale"))
    with rates.all_at(0.0):
        torch.testing.assert_close(model(queries, keys, values, **options), expected)
    with rates.all_at(0.5):
        several = torch.stack([model(queries, keys, values, **options) for _ in range(1500)])
    assert several.std(0).min() > 0.01
    assert (several.mean(0) - expected).abs().max() < 0.15
    torch.testing.assert_close(model.eval()(queries, keys, values, **options), expected)


def test_a_compiled_run_follows_its_submission(tmp_path):
    """Rate 1 leaves the bias of the last layer alone to be trained; rate 0 is the plain model."""
    workload, plain = DropDigits(Asking(0.0)), DropDigits(Fixed(0.0))
    workload.configure_model()
    workload.network.compile(backend="aot_eager", fullgraph=True)
    for each in (workload, plain):
        train(each, 5, tmp_path)
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(workload.network.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    still = DropDigits(Asking(1.0))
    still.configure_model()
    start = {name: value.clone() for name, value in still.network.state_dict().items()}
    still.network.compile(backend="aot_eager", fullgraph=True)
    train(still, 2, tmp_path)
    moved = [name for name, value in still.network.state_dict().items() if not torch.equal(value, start[name])]
    assert moved == ["head.bias"]


@pytest.mark.slow
def test_two_ranks_follow_too(tmp_path):
    run_on_ranks(Path(__file__).parent / "ranks_dropout.py", tmp_path)
    expected = ranks_dropout.run(Fixed(0.0), tmp_path, compiled=False)
    for compiled in (False, True):
        found = torch.load(tmp_path / f"2_{compiled}.pt", weights_only=True)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=f"{name}, compiled: {compiled}")
