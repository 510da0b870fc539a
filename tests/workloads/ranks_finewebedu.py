"""An evaluation and three steps of finewebedu_lm in processes of their own; test_finewebedu.py compares one with two.

    python ranks_finewebedu.py FOLDER RANKS

Each rank writes ``rank_<r>.json``: valid tokens and summed loss of its share of each step, the loss it differentiates,
the evaluation before training; the first the weights too.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import ClassVar

import lightning as L
import torch

from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads import FineWebEduLM


class Uneven(PlainSGD):
    """SGD on eight windows of which some count as a whole, others with a few tokens, as their content says."""

    batch_sizes: ClassVar = {"finewebedu_lm_tiny": 8}

    def __init__(self):
        super().__init__(lr=0.3)
        self.steps = []

    def training_step(self, workload, batch):
        kept = torch.where(batch["targets"][:, :8].sum(1) % 2 == 0, 64, 5)
        weights = (torch.arange(64) < kept[:, None]).float()
        loss = workload.loss({**batch, "weights": weights})
        mean = workload.mean(loss)
        self.steps.append([loss.weight.sum().item(), loss.per_example.sum().item(), mean.item()])
        return mean


def main():
    torch.set_num_threads(1)
    folder, ranks = Path(sys.argv[1]), int(sys.argv[2])
    workload = FineWebEduLM(Uneven(), tiny=True, data_dir=folder)
    # 50 windows do not fill the last batch, on one rank or two.
    workload.data.spec = dataclasses.replace(
        workload.spec, eval_batch_size=12, splits={**workload.spec.splits, "eval_train": 12, "validation": 50}
    )
    options = {"devices": ranks, "strategy": "ddp"} if ranks > 1 else {"devices": 1}
    quiet = {"logger": False, "enable_progress_bar": False, "default_root_dir": folder}
    L.Trainer(accelerator="cpu", **options, **quiet).validate(workload, verbose=False)
    evaluation = workload.evaluation
    trainer = train(workload, 3, folder, **options)
    out = folder / f"{ranks}_ranks"
    out.mkdir(exist_ok=True)
    report = {"steps": workload.submission.steps, "evaluation": evaluation}
    (out / f"rank_{trainer.global_rank}.json").write_text(json.dumps(report))
    if trainer.is_global_zero:
        torch.save(workload.network.state_dict(), out / "weights.pt")


if __name__ == "__main__":
    main()
