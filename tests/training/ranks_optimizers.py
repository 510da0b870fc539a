"""Several optimizers, with noise on their gradients, on as many ranks as the launcher says. Started by tests.

python -m torch.distributed.run --nproc-per-node 2 tests/training/ranks_optimizers.py FOLDER
"""

import sys
from pathlib import Path

import torch
from torch.optim import SGD
from two_optimizers import Two, split

from algoperf_lightning import Submission
from algoperf_lightning.launch import trainer_options
from algoperf_lightning.optim import Sam
from algoperf_lightning.testing import train
from algoperf_lightning.workloads import Digits

torch.set_num_threads(1)
STEPS = 8


class Noisy(Two):
    """Two optimizers, noise, clipping, and skipped steps."""

    def before_step(self, model, workload):
        generator = workload.shared_generator()
        for p in model.parameters():
            p.grad.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype), alpha=0.01)
        return self.steps % 4 != 2


class TwoPasses(Submission):
    """Two passes for matrices, one for the rest."""

    gradient_clip = 0.5

    def configure_optimizers(self, model, workload):
        matrices, rest = split(model)
        return [Sam(matrices, rho=0.5, lr=0.01), SGD(rest, lr=0.1, momentum=0.9)]


MADE = {"noisy": Noisy, "two_passes": TwoPasses}


def run(name, folder):
    """Train in float64: whatever is not the same on two ranks as on one is no rounding error."""
    workload = Digits(MADE[name](), seed=3)
    trainer = train(workload, STEPS, folder, precision="64-true", **{"devices": 1, **trainer_options()})
    torch.save(workload.network.state_dict(), folder / f"{name}_{trainer.world_size}_{trainer.global_rank}.pt")


if __name__ == "__main__":
    for name in MADE:
        run(name, Path(sys.argv[1]))
