"""Every workload on the device: losses, gradients and metrics of the CPU, and those of autocast near them."""

import math

import pytest
import torch
from gpu_runs import submission_for

from algoperf_lightning import get_workload
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.testing.runs import training_batch

SMALL = ("digits",)


def moved(batch, device):
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


@pytest.fixture(params=plugins(WORKLOADS))
def name(request, small):
    if small and request.param not in SMALL:
        pytest.skip("on the CPU they are tested elsewhere")
    return request.param


def gradients(workload, batch):
    workload.zero_grad()
    loss = workload.loss(batch).per_example.mean()
    loss.backward()
    return float(loss.detach()), [p.grad.cpu() for p in workload.network.parameters()]


def test_losses_and_gradients_are_those_of_the_cpu(name, runs, device, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # torch's default for convolutions
    ones, others = (runs.tiny(name, submission_for("adamw", get_workload(name), 8)) for _ in range(2))
    for workload in (ones, others):
        workload.configure_model()
        workload.eval()  # dropout draws from another generator there
    batch = training_batch(ones)
    others.to(device)
    expected, wanted = gradients(ones, batch)
    loss, found = gradients(others, moved(batch, device))
    assert loss == pytest.approx(expected, rel=1e-3)
    total = math.sqrt(sum(float(g.double().square().sum()) for g in wanted))
    apart = math.sqrt(sum(float((a - b).double().square().sum()) for a, b in zip(found, wanted, strict=True)))
    assert apart <= 1e-2 * total


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_trains_and_evaluates(name, precision, runs, device):
    workload = runs.tiny(name, submission_for("adamw", get_workload(name), 8))
    result = runs.fit(workload, 2, precision=precision)
    assert [evaluation.step for evaluation in result.evaluations] == [1, 2]
    assert result.nonfinite_loss_step is None
    for evaluation in result.evaluations:
        assert set(evaluation.metrics) == set(workload.metric_names())
        assert all(math.isfinite(value) for value in evaluation.metrics.values()), evaluation.metrics
