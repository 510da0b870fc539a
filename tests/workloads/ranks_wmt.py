"""Three steps and an evaluation of wmt in processes of their own; test_wmt.py compares one with two.

    python ranks_wmt.py FOLDER RANKS

Each rank writes ``rank_<r>.json``: target tokens in its share of each batch, the evaluation; the first the weights too.
"""

import json
import sys
from pathlib import Path
from typing import ClassVar

import torch

from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads import WMT


class Echoing(WMT):
    """Says the German again behind each translation: an untrained model's own would score 0 on any number of ranks."""

    def translate(self, inputs):
        return [f"{said} {german}" for said, german in zip(super().translate(inputs), self._text(inputs), strict=True)]


class Counted(PlainSGD):
    """SGD on eight rows, without dropout, that notes the tokens of each step."""

    batch_sizes: ClassVar = {"wmt_tiny": 8}
    dropout = 0.0

    def __init__(self):
        super().__init__(lr=0.5)
        self.tokens = []

    def training_step(self, workload, batch):
        self.tokens.append(int((batch["targets"] > 0).sum()))
        return super().training_step(workload, batch)


def main():
    torch.set_num_threads(1)
    folder, ranks = Path(sys.argv[1]), int(sys.argv[2])
    workload = Echoing(Counted(), tiny=True, data_dir=folder)
    strategy = {"devices": ranks, "strategy": "ddp"} if ranks > 1 else {}
    trainer = train(workload, 3, folder, val_check_interval=3, check_val_every_n_epoch=None, **strategy)
    out = folder / f"{ranks}_ranks"
    out.mkdir(exist_ok=True)
    report = {"tokens": workload.submission.tokens, "evaluation": workload.evaluation}
    (out / f"rank_{trainer.global_rank}.json").write_text(json.dumps(report))
    if trainer.is_global_zero:
        torch.save(workload.network.state_dict(), out / "weights.pt")


if __name__ == "__main__":
    main()
