"""Train imagenet_resnet at tiny size on two ranks, evaluating as it goes; each rank writes down what it evaluates.

python ranks_imagenet.py FOLDER    (FOLDER/data holds the tiny data set)
"""

import sys
from pathlib import Path
from typing import ClassVar

import lightning as L
import torch
import yaml
from lightning.pytorch.strategies import DDPStrategy

from algoperf_lightning.submission import Submission
from algoperf_lightning.workloads import ImageNetResNet

torch.set_num_threads(1)
STEPS = 4
HARDWARE = Path(__file__).parents[2] / "configs" / "hardware" / "4gpu.yaml"


class Momentum(Submission):
    batch_sizes: ClassVar = {"imagenet_resnet_tiny": 16}

    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


class Journal(L.Callback):
    """Keep the running statistics of each rank: before an evaluation, as they are evaluated, and after it."""

    def __init__(self):
        self.before, self.evaluated, self.metrics = [], [], []

    def statistics(self, pl_module):
        return {name: buffer.clone() for name, buffer in pl_module.network.named_buffers()}

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.before.append(self.statistics(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0 and dataloader_idx == 0:
            self.evaluated.append(self.statistics(pl_module))

    def on_validation_end(self, trainer, pl_module):
        self.metrics.append(dict(pl_module.evaluation))


def main():
    folder = Path(sys.argv[1])
    journal = Journal()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=DDPStrategy(**yaml.safe_load(HARDWARE.read_text())["trainer"]["strategy"]["init_args"]),
        max_steps=STEPS,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=[journal],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    workload = ImageNetResNet(Momentum(), tiny=True, data_dir=folder / "data")
    trainer.fit(workload)
    torch.save(
        {
            "before": journal.before,
            "evaluated": journal.evaluated,
            "metrics": journal.metrics,
            "final": workload.network.state_dict(),
        },
        folder / f"rank_{trainer.global_rank}.pt",
    )


if __name__ == "__main__":
    main()
