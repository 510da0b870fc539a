"""Three steps and an evaluation of fastmri on some ranks; rank 0 writes the metrics."""

import argparse
import json
from pathlib import Path
from typing import ClassVar

import torch

from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads import FastMRI

torch.set_num_threads(1)


class EightAtOnce(PlainSGD):
    batch_sizes: ClassVar = {"fastmri_tiny": 8}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ranks", type=int, required=True)
    options = parser.parse_args()
    workload = FastMRI(EightAtOnce(), tiny=True, data_dir=options.data_dir, seed=3)
    strategy = {"strategy": "ddp"} if options.ranks > 1 else {}
    trainer = train(
        workload,
        3,
        options.data_dir,
        devices=options.ranks,
        val_check_interval=3,
        check_val_every_n_epoch=None,
        **strategy,
    )
    if trainer.is_global_zero:
        options.out.write_text(json.dumps(workload.evaluation))


if __name__ == "__main__":
    main()
