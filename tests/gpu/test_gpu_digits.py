"""The smallest workload, to its target on the device, as a user runs it."""

import pytest
import torch

from algoperf_lightning.cli import main
from algoperf_lightning.result import Status, TrialResult


@pytest.mark.parametrize("unit", ["steps", "seconds"])
def test_digits_reach_their_target(unit, device, small, tmp_path):
    if small and unit == "seconds":
        pytest.skip("its seconds are for machines that do nothing else; steps are counted instead")
    accelerator = "gpu" if device == "cuda" else "cpu"
    options = [f"--trainer.accelerator={accelerator}", "--trainer.devices=1", f"--time_budget.unit={unit}"]
    main(["fit", "--config", "digits", *options, "--recorder.folder", str(tmp_path / "trial")])
    result = TrialResult.read(tmp_path / "trial")
    assert result.status is Status.REACHED, result.message
    assert result.warnings == []
    gpus = result.environment["gpus"]
    assert gpus[:1] == ([torch.cuda.get_device_name()] if device == "cuda" else [])
