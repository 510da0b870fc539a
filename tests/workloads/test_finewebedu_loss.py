"""The cross-entropy of finewebedu_lm, which makes its logits some rows at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from algoperf_lightning.workloads.finewebedu import cross_entropy
from algoperf_lightning.workloads.finewebedu.cross_entropy import linear_cross_entropy

CLASSES, WIDTH = 301, 16


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(cross_entropy, "ROWS", 8)


def example(rows=(3, 7), dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(*rows, WIDTH, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(CLASSES, WIDTH, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(0, CLASSES, rows, generator=generator)
    return hidden, weight, targets, torch.randn(rows, generator=generator).to(dtype)


def plain(hidden, weight, targets, smoothing):
    logits = F.linear(hidden, weight)
    losses = F.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, -2),
        targets.flatten(),
        reduction="none",
        label_smoothing=smoothing,
    )
    return losses.view_as(targets)


def gradients(function, hidden, weight, targets, upstream, smoothing):
    losses = function(hidden, weight, targets, smoothing)
    return losses.detach(), *torch.autograd.grad(losses, (hidden, weight), upstream)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [(1, 1), (2, 4), (3, 7)], ids=["one row", "one piece", "pieces and a rest"])
def test_it_is_the_plain_cross_entropy(rows, smoothing):
    hidden, weight, targets, upstream = example(rows)
    found = gradients(linear_cross_entropy, hidden, weight, targets, upstream, smoothing)
    expected = gradients(plain, hidden, weight, targets, upstream, smoothing)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences():
    hidden, weight, targets, _ = example((2, 5), torch.float64)
    weight = weight.detach()[:11].requires_grad_()
    for smoothing in (0.0, 0.1):
        inputs = (lambda h, w, a=smoothing: linear_cross_entropy(h, w, targets % 11, a)), (hidden, weight)
        assert torch.autograd.gradcheck(*inputs)
        assert torch.autograd.gradgradcheck(*inputs)


@pytest.mark.parametrize("case", ["fixed hidden", "fixed weight", "tied"])
def test_second_derivatives_are_those_of_the_plain_loss(case):
    hidden, weight, targets, upstream = example()
    products = []
    for function in (linear_cross_entropy, plain):
        if case == "tied":  # as in the model, where one matrix is the embedding too
            variable = weight
            losses = function(F.embedding((targets * 3) % CLASSES, weight).tanh(), weight, targets, 0.1)
        elif case == "fixed hidden":
            variable = weight
            losses = function(hidden.detach(), weight, targets, 0.1)
        else:
            variable = hidden
            losses = function(hidden, weight.detach(), targets, 0.1)
        (first,) = torch.autograd.grad((losses * upstream).sum(), variable, create_graph=True)
        products.append((first.detach(), *torch.autograd.grad(first.pow(2).sum(), variable)))
    torch.testing.assert_close(*products, rtol=1e-4, atol=1e-4)


def test_under_autocast_it_differs_by_roundings_only():
    hidden, weight, targets, upstream = example((4, 16))
    exact = gradients(plain, hidden, weight, targets, upstream, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(linear_cross_entropy, hidden, weight, targets, upstream, 0.1)
        expected = gradients(plain, hidden, weight, targets, upstream, 0.1)
    assert torch.equal(found[0], expected[0]) or torch.allclose(found[0], expected[0], rtol=1e-6)
    for one, other, truth in zip(found[1:], expected[1:], exact[1:], strict=True):
        assert one.dtype == torch.float32
        error, usual = (one - truth).norm(), (other - truth).norm()
        assert 0 < error <= 1.2 * usual


def test_large_logits_do_not_overflow():
    hidden, weight, targets, _ = example()
    with torch.no_grad():
        losses = linear_cross_entropy(1e4 * hidden, weight, targets)
        torch.testing.assert_close(losses, plain(1e4 * hidden, weight, targets, 0.0))
    assert losses.isfinite().all()


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any result had."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize(("function", "small"), [(linear_cross_entropy, True), (plain, False)])
def test_there_are_never_logits_of_more_than_some_rows(function, small):
    hidden, weight, targets, upstream = example((8, 16))
    with LargestTensor() as largest, torch.autocast("cpu", torch.bfloat16):
        gradients(function, hidden, weight, targets, upstream, 0.1)
    limit = max(cross_entropy.ROWS * CLASSES, CLASSES * WIDTH)
    assert (largest.elements <= limit) is small
