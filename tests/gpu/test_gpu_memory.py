"""A trial leaves no memory of the device behind."""

import gc

import pytest
import torch
from gpu_runs import submission_for

from algoperf_lightning import get_workload
from algoperf_lightning.callbacks import TrialRecorder


def used(device):
    """Bytes of tensors now, and at most since the last call."""
    gc.collect()
    if device == "cpu":
        now = sum(each.untyped_storage().nbytes() for each in gc.get_objects() if type(each) is torch.Tensor)
        return now, now
    torch.cuda.synchronize()
    found = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return found


@pytest.mark.parametrize("name", ["adamw", "shampoo"])
def test_three_trials_use_as_much_as_one(name, runs, device, small):
    if small and name != "adamw":
        pytest.skip("one of them shows that this runs")

    def trial(number):
        workload = runs.tiny("imagenet_vit", submission_for(name, get_workload("imagenet_vit"), 16))
        runs.fit(workload, 6, recorder=TrialRecorder(runs.folder / f"{name}_{number}"))

    trial("warm")  # workspaces of libraries stay
    used(device)
    seen = []
    for number in range(3):
        trial(number)
        seen.append(used(device))
    assert seen[2][0] <= seen[0][0], f"allocated after each trial, at most in each: {seen}"
    assert seen[2][1] <= seen[0][1] * 1.01, f"allocated after each trial, at most in each: {seen}"
