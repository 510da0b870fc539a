"""Batches arrive as they were read, and evaluations of one model are the same on all devices."""

import pytest
import torch
from gpu_runs import submission_for

from algoperf_lightning import get_workload
from algoperf_lightning.callbacks import TrialRecorder


class Copies:
    """Lets the device work while batches are drawn, as a step does: memory that is used again too early is seen."""

    def __init__(self, device):
        self.device = device
        self.matrix = torch.full((2048 if device == "cuda" else 64,) * 2, 1e-3, device=device)

    def __call__(self, batch):
        torch.mm(self.matrix, self.matrix)
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_arrive_as_they_were_read(workers, runs, device, small):
    workload = runs.tiny("digits", submission_for("adamw", get_workload("digits"), 64))
    workload.data.workers = workers
    number = 20 if small else 200

    def drawn(to_device):
        stream = workload.data.training_batches(64, 0, 1, next, to_device)
        batches = iter(stream)
        return [next(batches) for _ in range(number)]

    expected = [{k: v.clone() for k, v in batch.items()} for batch in drawn(None)]
    copied = drawn(Copies(device))
    for got, read in zip(copied, expected, strict=True):
        assert got.keys() == read.keys()
        for name, value in got.items():
            assert value.device.type == device
            assert torch.equal(value.cpu(), read[name]), name


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_for_a_gpu_are_pinned(workers, runs, device):
    """Copies from other memory wait until the device has done all that was queued before."""
    workload = runs.tiny("digits", submission_for("adamw", get_workload("digits"), 64))
    workload.data.workers = workers
    pinned = []

    def to_device(batch):
        pinned.extend(value.is_pinned() for value in batch.values())
        return batch

    next(iter(workload.data.training_batches(64, 0, 1, next, to_device)))
    assert pinned == [device == "cuda"] * len(pinned)
    assert pinned
    for loader in workload.data.evaluation_batches(0, 1):
        assert all(value.is_pinned() == (device == "cuda") for value in next(iter(loader)).values())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_model_has_the_metrics_it_has_on_the_cpu(precision, runs, device):
    def workload():
        return runs.tiny("imagenet_vit", submission_for("adamw", get_workload("imagenet_vit"), 16))

    recorder = TrialRecorder(runs.folder / "trial")
    result = runs.fit(workload(), 8, recorder=recorder, precision=precision)
    on_cpu = workload()
    options = {"accelerator": "cpu", "precision": "32-true"}
    runs.trainer(**options).validate(on_cpu, ckpt_path=recorder.checkpoint_path, verbose=False, weights_only=True)
    metrics = result.evaluations[-1].metrics
    assert set(metrics) == set(on_cpu.evaluation)
    for name, value in on_cpu.evaluation.items():
        assert metrics[name] == pytest.approx(value, rel=0.05 if precision == "bf16-mixed" else 1e-3, abs=0.02), name
