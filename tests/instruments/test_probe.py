"""What instruments take their numbers from, on every workload at tiny size."""

import pytest
import torch

from algoperf_lightning.instruments import noise
from algoperf_lightning.instruments.probe import Probe, UnmeasurableError, undisturbed
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.rng import forked_rng
from algoperf_lightning.spec import LossType
from algoperf_lightning.testing.workloads import ready, training_batch

EVERY_WORKLOAD = pytest.mark.parametrize("name", plugins(WORKLOADS))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Each workload with a batch, made once."""
    made = {}

    def prepare(name):
        if name not in made:
            workload = ready(get_workload(name), tmp_path_factory.mktemp(name))
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
