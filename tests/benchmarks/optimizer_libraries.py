"""Our optimizers against public implementations of the same methods: time of a step, on one workload's parameters.

    python tests/benchmarks/optimizer_libraries.py [--workload ogbg] [--names muon soap] [--rounds 15]

Each pair takes turns on copies of the same parameters, with the same random gradients; the ratio of the medians of
processor times is printed: below 1, ours is faster. Methods that a library has for matrices only get the matrices only.
Libraries that are not installed are left out; ``kron_torch`` is on PyPI. For the settings of the allocator and the
clock see ``optimizer_cost.py``.
"""

import argparse
import datetime
import importlib.util
import json
import statistics

import torch
from optimizer_cost import build, timed_step
from submission_table import processor

from algoperf_lightning import get_submission, optim

MATRICES_ONLY = ("muon", "normuon", "scion")


def library(module, name, **options):
    """A factory of another package's optimizer; None where the package is not installed."""
    if importlib.util.find_spec(module) is None:
        return None

    def make(parameters):
        package = importlib.import_module(module)
        return getattr(package, name)(parameters, **options)

    return make


ADAM = {"lr": 1e-6, "betas": (0.9, 0.99), "weight_decay": 0.1}
PAIRS = {
    "ademamix": (
        lambda p: optim.AdEMAMix(p, lr=1e-6, weight_decay=0.1),
        library("pytorch_optimizer", "AdEMAMix", lr=1e-6, weight_decay=0.1, weight_decouple=True),
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
        library("pytorch_optimizer", "NorMuon", lr=1e-6),
    ),
    "prodigy": (lambda p: optim.Prodigy(p), library("prodigyopt", "Prodigy")),
    "psgd_kron": (
        lambda p: optim.PSGDKron(p, lr=1e-6, flatten_kernels=False, update_probability=1.0),
        library("kron_torch", "Kron", lr=1e-6, preconditioner_update_probability=1.0),
    ),
    "schedule_free_adamw": (
        lambda p: optim.ScheduleFreeAdamW(p, lr=1e-6),
        library("schedulefree", "AdamWScheduleFree", lr=1e-6),
    ),
    "schedule_free_sgd": (
        lambda p: optim.ScheduleFreeSGD(p, lr=1e-6),
        library("schedulefree", "SGDScheduleFree", lr=1e-6),
    ),
    "scion": (
        lambda p: optim.Scion(p, lr=1e-6, norm="spectral", newton_schulz_dtype="bfloat16"),
        library("pytorch_optimizer", "Scion", lr=1e-6, norm_type=1, constraint=True),
    ),
    "soap": (
        lambda p: optim.Soap(p, lr=1e-6),
        library("pytorch_optimizer", "SOAP", lr=1e-6, precondition_frequency=10),
    ),
}


def copies(workload, matrices_only):
    """Parameters of their own, each with the same gradient."""
    made = []
    for p in workload.network.parameters():
        if not matrices_only or p.ndim == 2:
            made.append(torch.nn.Parameter(p.detach().clone()))
            made[-1].grad = p.grad.clone()
    return made


def measure(name, workload, options):
    ours, theirs = PAIRS[name]
    if theirs is None:
        return None
    sets = [copies(workload, name in MATRICES_ONLY) for _ in range(2)]
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
