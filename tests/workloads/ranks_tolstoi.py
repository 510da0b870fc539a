"""Train tiny tolstoi_char_rnn for a few steps on one rank or two, and write down the last evaluation and the state."""

import json
import sys
from pathlib import Path

import torch

from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads import TolstoiCharRnn

torch.set_num_threads(1)


class WithoutDropout(PlainSGD):
    """Masks would be others on each rank."""

    dropout = 0.0


def main():
    data, folder, ranks = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    workload = TolstoiCharRnn(WithoutDropout(lr=0.1), tiny=True, data_dir=data)
    options = {"devices": ranks, "strategy": "ddp"} if ranks > 1 else {}
    trainer = train(workload, 6, folder, val_check_interval=6, check_val_every_n_epoch=None, **options)
    trainer.save_checkpoint(folder / "end.ckpt")
    if trainer.is_global_zero:
        (folder / "evaluation.json").write_text(json.dumps(workload.evaluation))
        torch.save(workload.state_dict(), folder / "final.pt")


if __name__ == "__main__":
    main()
