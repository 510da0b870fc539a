"""The smallest workload, to its target on the device, as a user runs it."""

import torch

from algoperf_lightning.cli import main
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.rules import global_state


def test_digits_reach_their_target(device, small, tmp_path):
    # Seconds are for machines that do nothing else.
    budget = ("unit=steps", "target=0.8") if small else ("unit=seconds",)
    options = ["--trainer.accelerator=" + ("gpu" if device == "cuda" else "cpu"), "--trainer.devices=1"]
    options += [f"--time_budget.{option}" for option in budget]
    main(["fit", "--config", "digits", *options, "--recorder.folder", str(tmp_path / "trial")])
    result = TrialResult.read(tmp_path / "trial")
    assert result.status is Status.REACHED, result.message
    assert result.warnings == []
    assert global_state.differences(global_state.SETTINGS_AT_IMPORT, global_state.settings()) == []
    assert result.environment["gpus"][:1] == ([torch.cuda.get_device_name()] if device == "cuda" else [])
