"""All cases of gradients on as many ranks as the launcher says; writes where each ends. Started by tests.

python -m torch.distributed.run --nproc-per-node 2 tests/training/ranks_gradients.py FOLDER
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import yaml
from lightning.pytorch.strategies import DDPStrategy
from smooth_digits import CASES, HandAdded, InParts, LineSearch, OwnLoss, OwnPart, Smooth
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.launch import trainer_options
from algoperf_lightning.testing import train

torch.set_num_threads(1)

STEPS = 4
NUMBERS = (1, 3)

# Those by name, and the ones of the packaged hardware.
STRATEGIES = ("ddp", "ddp_find_unused_parameters_true", "4gpu", "8gpu")


def strategy_of(name):
    """What a Trainer takes."""
    path = Path(__file__).parents[2] / "configs" / "hardware" / f"{name}.yaml"
    if name == "static":
        return DDPStrategy(static_graph=True, gradient_as_bucket_view=True)
    if not path.exists():
        return name
    return DDPStrategy(**yaml.safe_load(path.read_text())["trainer"]["strategy"]["init_args"])


ONE_PASS = {name: CASES[name][0] for name in ("plain", "chosen", "weights", "by hand", "hand added", "scaled")}
SEVERAL_PASSES = [
    ("plain", InParts, 3),
    ("hand added", HandAdded, 3),
    ("own part", OwnPart, 1),
    ("own loss", OwnLoss, 1),
]
"""What DDP's ``static_graph`` can have, and what it cannot."""


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
    trainer = train(workload, STEPS, folder, **{**trainer_options(), "strategy": strategy_of(strategy), **options})
    final = [p.detach().clone() for p in workload.network.parameters()]
    others = [None] * trainer.world_size
    dist.all_gather_object(others, final)
    if trainer.is_global_zero:
        state = {"ranks": others, "reductions": workload.reductions, "values": workload.values}
        torch.save(state, folder / f"{name}_{number}_{strategy}.pt")


def refuse(name, cls, number, folder):
    """Write down how a static graph is refused, the same on each rank."""
    try:
        train(Smooth(cls(number)), STEPS, folder, **{**trainer_options(), "strategy": strategy_of("static")})
        message = "it trains"
    except BadInputError as error:
        message = str(error)
    dist.barrier()
    messages = [None] * dist.get_world_size()
    dist.all_gather_object(messages, message)
    if dist.get_rank() == 0:
        torch.save(messages, folder / f"refused_{name}_{number}.pt")


if __name__ == "__main__":
    for strategy in STRATEGIES:
        for name in CASES:
            for number in NUMBERS:
                run(name, CASES[name][0], number, strategy, Path(sys.argv[1]))
    for number in NUMBERS:
        run("line search", LineSearch, number, "8gpu", Path(sys.argv[1]), precision="64-true")
    for name, cls in ONE_PASS.items():
        run(name, cls, 1, "static", Path(sys.argv[1]))
    for name, cls, number in SEVERAL_PASSES:
        refuse(name, cls, number, Path(sys.argv[1]))
