"""A few steps of a LibriSpeech workload at tiny size on one or two ranks; writes what came of it, one file a rank.

Nothing is drawn at random (no dropout, no SpecAugment), so the number of ranks must make no difference. The Conformer's
batch norm sees each rank's share alone: ``--halves`` makes one process do the same.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import ClassVar

import lightning as L
import torch

from algoperf_lightning import get_workload
from algoperf_lightning.testing import PlainSGD, train

torch.set_num_threads(1)


class Plain(PlainSGD):
    batch_sizes: ClassVar = {"librispeech_conformer_tiny": 8, "librispeech_deepspeech_tiny": 8}
    dropout = 0.0


class Halves(Plain):
    """Run the model on each half of the batch."""

    def training_step(self, workload, batch):
        losses = [workload.loss({name: value[rows] for name, value in batch.items()}) for rows in HALVES]
        return sum(loss.per_example.sum() for loss in losses) / sum(loss.weight.sum() for loss in losses)


HALVES = (slice(None, 4), slice(4, None))


class Statistics(L.Callback):
    """Keep the running statistics of this rank as the last step left them, before the evaluation."""

    def on_train_batch_end(self, trainer, pl_module, *args):
        buffers = pl_module.network.named_buffers()
        self.trained = {name: buffer.clone() for name, buffer in buffers if "running_" in name}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    submission = (Halves if options.halves else Plain)(lr=0.05)
    workload = get_workload(options.workload)(submission, tiny=True, data_dir=options.data)
    model = {**workload.spec.model, "frequency_masks": 0, "time_masks": 0}
    workload.spec = dataclasses.replace(workload.spec, model=model)
    if options.compile:
        workload.configure_model()
        workload.network.compile(backend="aot_eager")
    evaluations = {"val_check_interval": options.steps, "check_val_every_n_epoch": None}
    ranks = {"devices": options.ranks, "strategy": "ddp"} if options.ranks > 1 else {}
    statistics = Statistics()
    trainer = train(workload, options.steps, options.out, callbacks=[statistics], **evaluations, **ranks)
    state = {
        "evaluation": workload.evaluation,
        "model": dict(workload.network.state_dict()),
        "trained": statistics.trained,
    }
    torch.save(state, options.out / f"rank_{trainer.global_rank}.pt")


if __name__ == "__main__":
    main()
