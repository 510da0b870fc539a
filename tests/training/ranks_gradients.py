"""All cases of gradients on as many ranks as the launcher says; writes where each ends. Started by tests.

python -m torch.distributed.run --nproc-per-node 2 tests/training/ranks_gradients.py FOLDER
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from smooth_digits import CASES, LineSearch, Smooth
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from algoperf_lightning.launch import trainer_options
from algoperf_lightning.testing import train

torch.set_num_threads(1)

STEPS = 4
NUMBERS = (1, 3)
STRATEGIES = ("ddp", "ddp_find_unused_parameters_true")


class Counted(Smooth):
    """Counts the reductions of gradients, and notes the mean loss of a batch that the ranks have different parts of."""

    def __init__(self, submission):
        super().__init__(submission)
        self.reductions, self.values = 0, []

    def on_train_start(self):
        super().on_train_start()

        def counting(state, bucket):
            self.reductions += 1
            return allreduce_hook(state, bucket)

        self.trainer.strategy.model.register_comm_hook(None, counting)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        loss = self.view.loss({name: rows[: 1 + self.trainer.global_rank] for name, rows in batch.items()})
        value = self.view.mean_value(loss)
        assert not value.requires_grad
        count = len(loss.per_example) if loss.weight is None else loss.weight.sum().item()
        sums = [None] * dist.get_world_size()
        dist.all_gather_object(sums, (loss.per_example.sum().item(), count, value.item()))
        self.values.append(sums)


def run(name, cls, number, strategy, folder, **options):
    workload = Counted(cls(number))
    trainer = train(workload, STEPS, folder, **{**trainer_options(), "strategy": strategy, **options})
    final = [p.detach().clone() for p in workload.network.parameters()]
    others = [None] * trainer.world_size
    dist.all_gather_object(others, final)
    if trainer.is_global_zero:
        state = {"ranks": others, "reductions": workload.reductions, "values": workload.values}
        torch.save(state, folder / f"{name}_{number}_{strategy}.pt")


if __name__ == "__main__":
    for strategy in STRATEGIES:
        for name in CASES:
            for number in NUMBERS:
                run(name, CASES[name][0], number, strategy, Path(sys.argv[1]))
    for number in NUMBERS:
        run("line search", LineSearch, number, "ddp", Path(sys.argv[1]), precision="64-true")
