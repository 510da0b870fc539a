"""A rate of dropout of 0, asked for in each pass, on as many ranks as the launcher says. Started by tests.

python -m torch.distributed.run --nproc-per-node 2 tests/core/ranks_dropout.py FOLDER
"""

import sys
from pathlib import Path

import torch
from dropout_digits import Asking, DropDigits

from algoperf_lightning.launch import trainer_options
from algoperf_lightning.testing import train

torch.set_num_threads(1)


class Compiled(DropDigits):
    def configure_model(self):
        super().configure_model()
        self.network.compile(backend="aot_eager", fullgraph=True)


def run(submission, folder, compiled):
    """Train in float64: whatever is not the same on two ranks as on one is no rounding error."""
    workload = (Compiled if compiled else DropDigits)(submission)
    trainer = train(workload, 6, folder, precision="64-true", **{"devices": 1, **trainer_options()})
    if trainer.is_global_zero:
        torch.save(workload.network.state_dict(), folder / f"{trainer.world_size}_{compiled}.pt")
    return workload.network.state_dict()


if __name__ == "__main__":
    for compiled in (False, True):
        run(Asking(0.0), Path(sys.argv[1]), compiled)
