"""Two ranks share the device through gloo, and one has NCCL: all train as one process does."""

from pathlib import Path

import pytest
import torch
from gpu_runs import submission_for
from on_ranks import run_on_ranks

from algoperf_lightning.workloads import Digits

SCRIPT = str(Path(__file__).parent / "ranks_gpu.py")


@pytest.mark.parametrize("ranks", [2, 1], ids=["two ranks, gloo", "one rank, the device's backend"])
def test_ranks_train_as_one_process_does(ranks, runs, device, tmp_path):
    (tmp_path / "device").write_text(device)
    run_on_ranks(SCRIPT, str(tmp_path), ranks)
    found = [torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True) for rank in range(ranks)]
    alone = Digits(submission_for("nadamw", Digits, 64))
    result = runs.fit(alone, 8)
    for each in found:
        assert each["device"] == ("cuda:0" if device == "cuda" else "cpu")
        for name, value in alone.network.state_dict().items():
            assert torch.equal(each["state"][name], found[0]["state"][name]), f"{name} differs between ranks"
            torch.testing.assert_close(each["state"][name], value.cpu(), rtol=1e-3, atol=1e-4)
    for metrics, evaluation in zip(found[0]["metrics"], result.evaluations, strict=True):
        assert metrics == pytest.approx(evaluation.metrics, abs=5e-3)
