"""The page's submissions on as many ranks as the launcher says. Started by tests.

python -m torch.distributed.run --nproc-per-node 2 tests/second_order/ranks_page.py FOLDER
"""

import sys
from pathlib import Path

import torch

from algoperf_lightning.launch import trainer_options
from algoperf_lightning.testing import train
from algoperf_lightning.workloads import Digits

torch.set_num_threads(1)
NAMES = ("ByCurvature", "AlongTheGradient")


def run(name, folder):
    """Train in float64: whatever is not the same on two ranks as on one is no rounding error."""
    import by_curvature  # in the folder

    workload = Digits(getattr(by_curvature, name)(), seed=3)
    trainer = train(workload, 12, folder, precision="64-true", **{"devices": 1, **trainer_options()})
    torch.save(workload.network.state_dict(), folder / f"{name}_{trainer.world_size}_{trainer.global_rank}.pt")


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    for name in NAMES:
        run(name, Path(sys.argv[1]))
