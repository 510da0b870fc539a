"""Optimizers and Trainers that share work over the ranks of the launcher; writes where each ends. Started by tests.

python -m torch.distributed.run --nproc-per-node 2 tests/baselines/ranks_sharding.py FOLDER
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from odd_digits import OddDigitsWithoutNorm, make
from torch import nn

from algoperf_lightning.launch import trainer_options
from algoperf_lightning.optim import (
    AdaptiveCaspr,
    Amuse,
    KLShampoo,
    KLSoap,
    LionMuon,
    Muon,
    NorMuon,
    PolarGrad,
    Scion,
    Shampoo,
    Soap,
)
from algoperf_lightning.testing import train

torch.set_num_threads(1)

SHAPES = [(5, 3), (3, 5), (40, 64), (5, 3), (4, 3, 2, 2), (64, 40), (40, 64), (7,), ()]
END, HALFWAY = 9, 4


def _muon(parameters, made=Muon, **options):
    groups = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim < 2], "orthogonal": False},
    ]
    return made([group for group in groups if group["params"]], lr=0.01, **options)


OPTIMIZERS = {
    "caspr": lambda parameters, **options: AdaptiveCaspr(
        parameters, precondition_frequency=2, start=3, block_size=48, **options
    ),
    "polar-grad": lambda parameters, **options: PolarGrad(parameters, **options),
    "muon": _muon,
    "muon-bfloat16": lambda parameters, **options: _muon(parameters, newton_schulz_dtype="bfloat16", **options),
    "muon-of-one-matrix": lambda parameters, **options: _muon(parameters[2:3], **options),
    "normuon": lambda parameters, **options: _muon(parameters, NorMuon, **options),
    "scion": lambda parameters, **options: Scion(parameters, lr=0.01, **options),
    "kl-shampoo": lambda parameters, **options: KLShampoo(parameters, precondition_frequency=2, **options),
    "kl-soap": lambda parameters, **options: KLSoap(parameters, precondition_frequency=2, **options),
    "amuse": lambda parameters, **options: Amuse(parameters, lr=0.01, **options),
    "lion-muon": lambda parameters, **options: LionMuon(parameters, **options),
    "shampoo": lambda parameters, **options: Shampoo(
        parameters, precondition_frequency=2, max_preconditioner_dim=48, **options
    ),
    "shampoo-foam": lambda parameters, **options: Shampoo(
        parameters, precondition_frequency=2, refresh="foam", eps=1e-3, max_damping=0.05, **options
    ),
    "soap": lambda parameters, **options: Soap(parameters, precondition_frequency=2, **options),
}


def random(shape, seed, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def begin(name, dtype, **options):
    parameters = [nn.Parameter(random(shape, i, dtype)) for i, shape in enumerate(SHAPES)]
    return parameters, OPTIMIZERS[name](parameters, **options)


def step_until(parameters, optimizer, first, end):
    """The first matrix has no gradient in every third step."""
    for step in range(first, end):
        getattr(optimizer, "go_to_y", lambda: None)()
        for i, p in enumerate(parameters):
            p.grad = None if i == 0 and step % 3 == 1 else random(p.shape, 100 * step + i, p.dtype) + 0.3 * p.detach()
        optimizer.step()


def saved(parameters, optimizer):
    return {"parameters": [p.detach() for p in parameters], "optimizer": optimizer.state_dict()}


def resumed(name, dtype, checkpoint, **options):
    parameters, optimizer = begin(name, dtype, **options)
    for p, value in zip(parameters, checkpoint["parameters"], strict=True):
        p.data.copy_(value)
    optimizer.load_state_dict(checkpoint["optimizer"])
    step_until(parameters, optimizer, HALFWAY, END)
    return parameters


def keep(path, parameters):
    if not dist.is_initialized() or dist.get_rank() == 0:
        torch.save({str(i): p.detach() for i, p in enumerate(parameters)}, path)


def run_optimizer(name, dtype, folder, ranks):
    label = f"{name}_{str(dtype).removeprefix('torch.')}"
    ways = {"here": {"shard": False}, "shared": {"shard": True}}
    if ranks == 3:
        ways["group"] = {"shard": True, "process_group": dist.new_group([0, 2])}
    for way, options in ways.items():
        if way == "group" and dist.get_rank() == 1:
            continue
        parameters, optimizer = begin(name, dtype, **options)
        step_until(parameters, optimizer, 0, HALFWAY)
        if way == "shared" and ranks == 2 and dist.get_rank() == 1:
            torch.save(saved(parameters, optimizer), folder / f"{label}.checkpoint")
        step_until(parameters, optimizer, HALFWAY, END)
        keep(folder / f"{label}_{way}_{ranks}.pt", parameters)
    if ranks == 1:
        checkpoint = torch.load(folder / f"{label}.checkpoint", weights_only=True)
        keep(folder / f"{label}_resumed-on-one.pt", resumed(name, dtype, checkpoint, shard=True))
    if ranks == 2:
        parameters, optimizer = begin(name, dtype, shard=False)
        step_until(parameters, optimizer, 0, HALFWAY)
        keep(folder / f"{label}_resumed-on-two.pt", resumed(name, dtype, saved(parameters, optimizer), shard=True))


def run_trainer(name, folder, ranks):
    options = {"devices": 1, **trainer_options(), "precision": "64-true"}
    if ranks > 1:
        options["strategy"] = "ddp_find_unused_parameters_true"

    def end(shard, steps, label, **more):
        workload = OddDigitsWithoutNorm(make(name, shard=shard, **SHORT_AXES.get(name, {})))
        trainer = train(workload, steps, folder, **options, **more)
        if label is not None and trainer.is_global_zero:
            torch.save(workload.network.state_dict(), folder / f"fit_{name}_{label}_{ranks}.pt")
        return trainer

    for shard in (True, False):
        end(shard, END, shard)
    checkpoint = folder / f"{name}_{ranks}.ckpt"
    end(True, HALFWAY, None).save_checkpoint(checkpoint)
    end(True, END, "resumed", checkpoint=checkpoint)


# The first gradient of a long axis has less rank than the axis is long, so rounding decides SOAP's first basis.
SHORT_AXES = {"soap": {"max_preconditioner_dim": 3}}


def run_all(folder):
    """Run everything on the ranks that there are."""
    options = trainer_options()
    ranks = options.get("devices", 1)
    if ranks < 3:
        for name in ("muon", "shampoo", "soap"):
            run_trainer(name, folder, ranks)
    elif not dist.is_initialized():
        dist.init_process_group("gloo")
    for name in OPTIMIZERS:
        for dtype in (torch.float32, torch.float64):
            run_optimizer(name, dtype, folder, ranks)


if __name__ == "__main__":
    run_all(Path(sys.argv[1]))
