"""Part of each batch, recomputed batch norms and a log, on as many ranks as the launcher says. Started by tests.

python -m torch.distributed.run --nproc-per-node 2 tests/training/ranks_over_time.py FOLDER
"""

import sys
from pathlib import Path
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import nn

from algoperf_lightning.batch_norm import statistics_of
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.launch import trainer_options
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads import Digits

torch.set_num_threads(1)
STEPS = 4


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


def make_norm_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 10))


class Net(Digits):
    output_layer: ClassVar = "3"

    def build_model(self):
        return make_net()


class NormNet(Digits):
    output_layer: ClassVar = "4"

    def build_model(self):
        return make_norm_net()


class Takes(PlainSGD):
    """Trains on 4, 8, 12 and then all 16 examples of a batch; logs what differs between ranks."""

    batch_sizes: ClassVar = {"digits": 16}

    def __init__(self):
        super().__init__(lr=0.1)
        self.batches = []

    def configure_optimizers(self, model, workload):
        self.workload = workload
        return torch.optim.SGD(model.parameters(), lr=self.lr)

    def select_batch(self, batches):
        self.batches.append(next(batches))
        return self.workload.take(self.batches[-1], 4 * len(self.batches))

    def training_step(self, workload, batch):
        self.workload.log({"rank": dist.get_rank(), "examples": len(batch["targets"])})
        return super().training_step(workload, batch)


class Recomputes(Takes):
    """Is evaluated with statistics of all batches so far."""

    def before_evaluation(self, model):
        self.trained = self.workload.update_batch_norm(self.batches)
        self.recomputed = statistics_of(model)
        self.parameters = {name: p.detach().clone() for name, p in model.named_parameters()}


def run(workload, folder):
    """Train, and write what this rank has seen and where it ended."""
    callbacks = [TimeBudget(unit="steps", eval_period=STEPS), TrialRecorder(folder / "trial")]
    trainer = train(workload, STEPS, folder, callbacks=callbacks, enable_checkpointing=True, **trainer_options())
    kept = {"batches": workload.submission.batches, "end": dict(workload.network.named_parameters())}
    for name in ("recomputed", "parameters"):
        kept[name] = getattr(workload.submission, name, {})
    torch.save(kept, folder / f"{trainer.global_rank}.pt")


if __name__ == "__main__":
    for workload, submission in ((Net, Takes), (NormNet, Recomputes)):
        run(workload(submission()), Path(sys.argv[1]) / workload.__name__)
