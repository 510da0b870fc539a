"""Our optimizers against public implementations of the same methods: time of a step, on one workload's parameters.

    python tests/benchmarks/optimizer_libraries.py [--workload ogbg] [--names muon soap] [--rounds 15]

Of some methods there is no public implementation to compare with: what ``heavyball`` calls KL-SOAP and KL-Shampoo are
other rules. Amos in ``pytorch_optimizer`` is the paper's form, whose work is that of the style ``reduced``.

Each pair takes turns on copies of the same parameters, with the same random gradients; the ratio of the medians of
processor times is printed: below 1, ours is faster. Methods that a library has for matrices only get the matrices only.
What is done every so many steps, as the decompositions of Shampoo and SOAP, is not in a median. Libraries that are not
installed are left out; on PyPI, beside the development requirements, are ``kron-torch`` and
``prodigy-plus-schedule-free``. ``kron-torch`` needs ``opt_einsum``, or its products take hundreds of GB, and compiles
for minutes unless ``TORCHDYNAMO_DISABLE=1`` is set. For the settings of the allocator and the clock see
``optimizer_cost.py``.
"""

import argparse
import datetime
import importlib.util
import json
import math
import statistics

import torch
from optimizer_cost import build, timed_step
from submission_table import processor

from algoperf_lightning import get_submission, optim

MATRICES_ONLY = ("muon", "normuon", "scion")


def library(module, name, *, of_group=None, **options):
    """A factory of another package's optimizer, perhaps of a group with options; None if the package is missing."""
    if importlib.util.find_spec(module) is None:
        return None

    def make(parameters):
        package = importlib.import_module(module)
        return getattr(package, name)([{"params": parameters, **of_group}] if of_group else parameters, **options)

    return make


ADAM = {"lr": 1e-6, "betas": (0.9, 0.99), "weight_decay": 0.1}
PAIRS = {
    "adabelief": (lambda p: optim.AdaBelief(p, lr=1e-6), library("timm.optim", "AdaBelief", lr=1e-6)),
    "adabound": (lambda p: optim.AdaBound(p, lr=1e-6), library("pytorch_optimizer", "AdaBound", lr=1e-6)),
    "adafactor": (
        lambda p: optim.Adafactor(p, lr=1e-6, weight_decay=0.1),
        library("timm.optim", "AdafactorBigVision", lr=1e-6, weight_decay=0.1, min_dim_size_to_factor=1),
    ),
    "ademamix": (
        lambda p: optim.AdEMAMix(p, lr=1e-6, weight_decay=0.1),
        library("pytorch_optimizer", "AdEMAMix", lr=1e-6, weight_decay=0.1, weight_decouple=True),
    ),
    "amos": (
        lambda p: optim.Amos(p, lr=1e-6, style="reduced"),
        library("pytorch_optimizer", "Amos", lr=1e-6, momentum=0.9),
    ),
    "cautious_nadamw": (
        lambda p: optim.CautiousNadamW(p, **ADAM),
        library("timm.optim", "NAdamW", caution=True, **ADAM),
    ),
    "lamb": (lambda p: optim.Lamb(p, **ADAM), library("timm.optim", "Lamb", max_grad_norm=None, **ADAM)),
    "lion": (lambda p: optim.Lion(p, **ADAM), library("timm.optim", "Lion", **ADAM)),
    "muon": (
        lambda p: optim.Muon(p, lr=1e-6, newton_schulz_dtype="bfloat16"),
        library("torch.optim", "Muon", lr=1e-6, weight_decay=0.0),
    ),
    "nadamw": (lambda p: optim.NadamW(p, **ADAM), library("timm.optim", "NAdamW", **ADAM)),
    "normuon": (
        lambda p: optim.NorMuon(p, lr=1e-6, newton_schulz_dtype="bfloat16"),
        library("pytorch_optimizer", "NorMuon", of_group={"use_muon": True}, lr=1e-6),
    ),
    "prodigy": (lambda p: optim.Prodigy(p), library("prodigyopt", "Prodigy")),
    "psgd_kron": (
        lambda p: optim.PSGDKron(p, lr=1e-6, flatten_kernels=False, update_probability=1.0),
        library("kron_torch", "Kron", lr=1e-6, preconditioner_update_probability=1.0),
    ),
    "radam": (lambda p: optim.RAdam(p, lr=1e-6), library("torch.optim", "RAdam", lr=1e-6)),
    "schedule_free_adamw": (
        lambda p: optim.ScheduleFreeAdamW(p, lr=1e-6),
        library("schedulefree", "AdamWScheduleFree", lr=1e-6),
    ),
    "schedule_free_prodigy": (
        lambda p: optim.ScheduleFreeProdigy(p, low_precision=False),
        library("prodigyplus", "ProdigyPlusScheduleFree", use_stableadamw=False),
    ),
    "schedule_free_sgd": (
        lambda p: optim.ScheduleFreeSGD(p, lr=1e-6),
        library("schedulefree", "SGDScheduleFree", lr=1e-6),
    ),
    "scion": (
        lambda p: optim.Scion(p, lr=1e-6, norm="spectral", newton_schulz_dtype="bfloat16"),
        library("pytorch_optimizer", "SCION", lr=1e-6, norm_type=1, constraint=True),
    ),
    "shampoo": (
        lambda p: optim.Shampoo(p, lr=1e-6, shard=False),
        library(
            "pytorch_optimizer",
            "ScalableShampoo",
            lr=1e-6,
            block_size=1024,
            start_preconditioning_step=1,
            preconditioning_compute_steps=100,
        ),
    ),
    "soap": (
        lambda p: optim.Soap(p, lr=1e-6),
        library("pytorch_optimizer", "SOAP", lr=1e-6, precondition_frequency=10),
    ),
}


def copies(workload, matrices_only, most):
    """Parameters of their own, each with the same gradient: the first ones, with so many numbers at most."""
    made, count = [], 0
    for p in workload.network.parameters():
        if (not matrices_only or p.ndim == 2) and count + p.numel() <= most:
            made.append(torch.nn.Parameter(p.detach().clone()))
            made[-1].grad = p.grad.clone()
            count += p.numel()
    return made


def measure(name, workload, options):
    ours, theirs = PAIRS[name]
    if theirs is None:
        return None
    sets = [copies(workload, name in MATRICES_ONLY, options.millions * 1e6) for _ in range(2)]
    optimizers = [make(parameters) for make, parameters in zip((ours, theirs), sets, strict=True)]
    for optimizer in optimizers:
        getattr(optimizer, "train", lambda: None)()
    times = [[], []]
    for round_ in range(options.rounds + 2):
        for index, optimizer in enumerate(optimizers):
            taken = timed_step(optimizer, options.device)
            if round_ >= 2:
                times[index].append(taken)
    mine, other = (1000 * statistics.median(each) for each in times)
    count = sum(p.numel() for p in sets[0]) / 1e6
    return f"| `{name}` | {mine:.1f} | {other:.1f} | {mine / other:.2f} | {count:.2f} M |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="ogbg")
    parser.add_argument("--names", nargs="+", default=list(PAIRS))
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--millions", type=float, default=math.inf, help="of parameters, at most: the first ones")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    workload = build(options.workload, get_submission("adamw")(), options.device)
    print("| method | ours, ms | public, ms | ours / public | parameters |\n|---|---|---|---|---|")
    for name in options.names:
        try:
            row = measure(name, workload, options)
        except RuntimeError as error:  # such as too little memory
            row = f"| `{name}` | | cannot run: {str(error).splitlines()[0][:80]} | | |"
        if row is not None:
            print(row, flush=True)
    machine = {"cpu": processor(), "threads": options.threads, "torch": torch.__version__}
    print(f"\n{options.workload}, {datetime.date.today()}, {options.device}, {json.dumps(machine)}")


if __name__ == "__main__":
    main()
