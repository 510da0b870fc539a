"""What instruments take their numbers from, on every workload at tiny size."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from algoperf_lightning.instruments import noise
from algoperf_lightning.instruments.groups import Route
from algoperf_lightning.instruments.probe import Probe, UnmeasurableError
from algoperf_lightning.instruments.undisturbed import undisturbed
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.rng import forked_rng
from algoperf_lightning.spec import LossType
from algoperf_lightning.testing.workloads import ready, training_batch
from algoperf_lightning.viewed import Loss

EVERY_WORKLOAD = pytest.mark.parametrize("name", plugins(WORKLOADS))


@pytest.fixture(scope="module")
def prepared(tiny_folder):
    """Each workload with a batch, made once."""
    made = {}

    def prepare(name):
        if name not in made:
            workload = ready(get_workload(name), tiny_folder(name))
            made[name] = workload, training_batch(workload)
        return made[name]

    return prepare


def probe_of(prepared, name, **options):
    workload, batch = prepared(name)
    return Probe(workload.view, batch, **{"groups": 4, **options})


def distance(one, other):
    return float((one - other).norm() / other.norm())


@EVERY_WORKLOAD
def test_the_gradient_and_the_rows_are_those_of_the_objective(name, prepared):
    workload, batch = prepared(name)
    before = [p.detach().clone() for p in workload.network.parameters()]
    buffers = [b.clone() for b in workload.network.buffers()]
    state = torch.get_rng_state()
    with undisturbed(0):
        probe = probe_of(prepared, name)
        rows, gradient = probe.rows, probe.gradient
        with forked_rng(0):
            loss = workload.view.loss(batch, update_batch_norm=False)
        units = len(loss.per_example) if loss.weight is None else loss.weight.sum()
        objective = loss.per_example.sum() / units
        expected = torch.autograd.grad(objective, list(probe.parameters.values()), allow_unused=True)
        pairs = zip(probe.parameters.values(), expected, strict=True)
        flat = torch.cat([(torch.zeros_like(p) if g is None else g).float().reshape(-1) for p, g in pairs])
    assert probe.loss == pytest.approx(float(objective.detach()), rel=1e-4)
    assert distance(gradient, flat) < 5e-3
    assert distance(rows.mean(dim=0), gradient) < 5e-3
    assert len(rows) * probe.group_size == len(probe.losses)
    assert torch.isfinite(torch.tensor([noise.norm_test(probe.moments), noise.mean_gsnr(probe.moments)])).all()
    assert all(torch.equal(a, b) for a, b in zip(before, workload.network.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers, workload.network.buffers(), strict=True))
    assert all(p.grad is None for p in workload.network.parameters())
    assert torch.equal(state, torch.get_rng_state())


ONE_PASS = {
    *("digits", "mnist", "criteo1tb", "fastmri", "imagenet_vit", "wmt", "cifar10_3c3d", "cifar100_allcnnc"),
    *("fmnist_2c2d", "fmnist_vae", "mnist_vae", "quadratic_deep"),
}
"""Workloads whose examples do not interact, and whose operations can be transformed."""


@EVERY_WORKLOAD
def test_rows_in_one_pass_are_those_of_a_pass_for_each_group(name, prepared):
    route, closed = Route(), Route(at_once=False)
    with undisturbed(0):
        rows, expected = (probe_of(prepared, name, route=each).rows for each in (route, closed))
        general, again = probe_of(prepared, name, route=closed), probe_of(prepared, name, route=route, from_rows=True)
        losses, gradient = again.group_losses, again.gradient
        assert again.loss == pytest.approx(general.loss, rel=1e-4)
    assert route.at_once == (name in ONE_PASS)
    assert distance(rows, expected) < 1e-4
    assert distance(losses, general.group_losses) < 1e-4
    assert distance(gradient, general.gradient) < 1e-4
    assert ("losses" in vars(again)) != route.at_once, "one pass is enough for all"
    assert not closed.at_once


def test_rows_of_examples_that_interact_are_not_taken_in_one_pass():
    """Batch normalisation without running statistics, which no check of the workload's view finds."""

    class Workload:
        model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 1))

        def loss(self, batch, *, parameters=None, **options):
            outputs = functional_call(self.model, parameters or {}, (batch["inputs"],))
            return Loss(outputs.square().sum(dim=1))

    generator = torch.Generator().manual_seed(0)
    batch = {"inputs": torch.randn(16, 4, generator=generator)}
    route = Route()
    with undisturbed(0):
        rows = Probe(Workload(), batch, groups=4, route=route).rows
        forced = Probe(Workload(), batch, groups=4, route=Route(at_once=True))
        with pytest.raises(UnmeasurableError, match="do not add up"):
            _ = forced.rows
    assert not route.at_once
    losses = Workload().loss(batch).per_example
    for row, part in zip(rows, losses.view(4, 4), strict=True):
        expected = torch.autograd.grad(part.mean(), list(Workload.model.parameters()), retain_graph=True)
        assert distance(row, torch.cat([each.flatten() for each in expected])) < 1e-5


@EVERY_WORKLOAD
def test_a_product_with_the_hessian_is_linear_and_symmetric_or_said_not_to_be_there(name, prepared):
    workload, _ = prepared(name)
    with undisturbed(0):
        probe = probe_of(prepared, name)
        one, other = probe.random_signs(0), probe.random_signs(1)
        if workload.spec.loss_type is LossType.CTC:
            with pytest.raises(UnmeasurableError, match="CTC has no second derivative"):
                probe.hessian_product(one)
            return
        products = [probe.hessian_product(vector) for vector in (one, other, one + 2 * other)]
    size = max(float(each.norm()) for each in products) * float(one.norm())
    tolerance = 3e-2 if name == "finewebedu_lm" else 1e-4  # it computes in bfloat16
    assert abs(float(one @ products[1]) - float(other @ products[0])) <= tolerance * size
    assert distance(products[0] + 2 * products[1], products[2]) < tolerance
