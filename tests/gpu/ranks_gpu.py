"""Ranks that share one device, or one rank with the device's own backend: a script that takes a folder."""

import logging
import os
import sys
from pathlib import Path

import lightning as L
import torch
from gpu_runs import GpuRuns, submission_for
from lightning.pytorch.strategies import DDPStrategy

from algoperf_lightning import get_workload
from algoperf_lightning.callbacks import TrialRecorder


class Where(L.Callback):
    """Notes where the model is trained."""

    def on_train_end(self, trainer, workload):
        self.device = str(next(workload.network.parameters()).device)


def main(folder):
    """Train, and leave parameters of each rank and the evaluations of the first."""
    runs = GpuRuns((folder / "device").read_text(), folder)
    ranks = int(os.environ["WORLD_SIZE"])
    device = torch.device("cuda", 0) if runs.device == "cuda" else torch.device("cpu")
    # NCCL refuses two ranks on one device.
    backend = "nccl" if runs.device == "cuda" and ranks == 1 else "gloo"
    strategy = DDPStrategy(parallel_devices=[device] * ranks, process_group_backend=backend)
    workload = get_workload("digits")(submission_for("nadamw", get_workload("digits"), 64))
    recorder = TrialRecorder(folder / "trial")
    result = runs.fit(workload, 8, where := Where(), recorder=recorder, strategy=strategy, devices="auto")
    assert torch.distributed.get_backend() == backend
    rank = torch.distributed.get_rank()
    state = {name: value.cpu() for name, value in workload.network.state_dict().items()}
    metrics = [evaluation.metrics for evaluation in result.evaluations]
    torch.save({"state": state, "metrics": metrics, "device": where.device}, folder / f"rank_{rank}.pt")


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    torch.distributed.destroy_process_group()
