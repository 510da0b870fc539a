"""ogbg in processes of its own, on one rank or more: trains some steps, evaluates, and writes what came out of it.

python ranks_ogbg.py DATA_DIR OUT.json --ranks 2
"""

import argparse
import json
from pathlib import Path

import lightning as L
import torch

from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import OGBG
from algoperf_lightning.workloads.ogbg.metric import MeanAveragePrecision

torch.set_num_threads(1)


class Watched(OGBG):
    """Counts the molecules that are evaluated on this rank."""

    def evaluate(self, batch, metrics):
        self.counted = getattr(self, "counted", 0) + int((batch["weights"] > 0).any(1).sum())
        super().evaluate(batch, metrics)


class Uneven(L.Callback):
    """Metrics whose ranks have seen different numbers of examples, and different numbers of batches."""

    def on_validation_epoch_end(self, trainer, pl_module):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(60, 128, generator=generator)
        targets = (torch.rand(60, 128, generator=generator) < 0.2).float()
        weights = (torch.rand(60, 128, generator=generator) < 0.6).float()
        rows = torch.arange(60)
        shares = [rows] if trainer.world_size == 1 else [rows[:7], rows[7:]]
        metric = MeanAveragePrecision()
        for part in shares[trainer.global_rank].split(20):
            metric.update(logits[part], targets[part], weights[part])
        self.value = metric.compute().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ranks", type=int, default=1)
    options = parser.parse_args()
    submission = PlainSGD(lr=0.5)
    submission.dropout = 0.0
    submission.label_smoothing = 0.1
    workload = Watched(submission, tiny=True, data_dir=options.data_dir)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=options.ranks,
        strategy="ddp" if options.ranks > 1 else "auto",
        max_steps=6,
        max_epochs=-1,
        val_check_interval=6,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=[uneven := Uneven()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=options.out.parent,
    )
    trainer.fit(workload)
    counted = trainer.strategy.reduce(torch.tensor(float(workload.counted)), reduce_op="sum")
    if trainer.is_global_zero:
        torch.save(workload.network.state_dict(), options.out.with_suffix(".pt"))
        out = {"evaluation": workload.evaluation, "counted": counted.item(), "uneven": uneven.value}
        options.out.write_text(json.dumps(out))


if __name__ == "__main__":
    main()
