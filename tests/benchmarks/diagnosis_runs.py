"""Runs that a diagnosis is measured on: learning rates from far too low to far too high, every baseline at its default
point, and runs made to have one fault.

    python tests/benchmarks/diagnosis_runs.py run FOLDER --data-dir D [--workloads digits ...] [--kinds rates baselines]
    python tests/benchmarks/diagnosis_runs.py table FOLDER
    python tests/benchmarks/diagnosis_runs.py pack FOLDER

`run` trains what is not in FOLDER yet, on one thread, with everything counted in steps; several processes can do
different workloads at once. `table` prints what is said of each run, and how often a healthy one is accused. `pack`
writes what the rules read of all runs to the file that the tests of the diagnosis read.
"""

import argparse
import logging
import math
import sys
import warnings
from pathlib import Path

import torch

from algoperf_lightning import get_submission
from algoperf_lightning.instruments.diagnosis import Evidence, diagnose
from algoperf_lightning.registry import SUBMISSIONS, names
from algoperf_lightning.result import Status, TrialResult

sys.path.insert(0, str(Path(__file__).parents[1] / "instruments"))
from faulty_submissions import FAULTS
from instrumented_runs import train
from recorded import pack

STEPS = {"digits": 300, "mnist_tiny": 400, "criteo1tb_tiny": 200, "imagenet_vit_tiny": 60}
"""Steps of a run where the step hint would take a minute or more."""
POWERS = {"adamw": range(-5, 1), "momentum": range(-4, 2)}
"""Learning rates are these powers of 10."""
WORKLOADS = ("digits", "criteo1tb_tiny", "mnist_tiny", "imagenet_vit_tiny")


def ran(folder):
    return (folder / "trial.json").exists() and TrialResult.read(folder).status is not Status.RUNNING


def make(workload, submission, folder, options, **how):
    if ran(folder):
        return
    try:
        train(workload, submission, folder, options.data_dir, seed=options.seed, **how)
    except Exception as error:  # a default point that cannot be run on a workload is a row of the table, too
        print(workload, folder.name, f"{type(error).__name__}: {error}", flush=True)


def rates(workload, options):
    for name, powers in POWERS.items():
        for rate in [10.0**power for power in powers]:
            folder = options.folder / workload / f"{name} {rate:g} seed {options.seed}"
            make(workload, get_submission(name)(learning_rate=rate), folder, options, steps=STEPS.get(workload))


def baselines(workload, options):
    for name in names(SUBMISSIONS):
        folder = options.folder / workload / f"{name} default seed {options.seed}"
        make(workload, get_submission(name)(), folder, options, steps=STEPS.get(workload))


def faults(workload, options):
    for name, fault in FAULTS.items():
        if fault.workload == workload:
            folder = options.folder / "faults" / name
            make(workload, fault.submission, folder, options, steps=fault.steps, batch=fault.batch)


KINDS = {"rates": rates, "baselines": baselines, "faults": faults}


def read(root):
    """All finished runs by name, ``workload/submission setting seed``: record, evidence, rules that speak."""
    folders = sorted(each.parent for each in root.glob("*/*/instruments.jsonl") if ran(each.parent))
    runs = {}
    for folder in folders:
        run = Evidence.read(folder)
        runs[str(folder.relative_to(root))] = TrialResult.read(folder), run, [each.rule for each in diagnose(run)]
    return runs


def expected(name, runs):
    """What a diagnosis ought to say of a run: too high, too low, nothing, or None where it is not known."""
    workload, _, what = name.partition("/")
    if workload == "faults":
        return FAULTS[what].rule
    submission, setting, *_ = what.split()
    if runs[name][0].status is Status.REACHED:
        return ""
    if setting == "default":
        return None
    alike = [each for each in runs if each.startswith(f"{workload}/{submission} ") and " default " not in each]
    best = max(alike, key=lambda each: quality(runs[each][0]))
    ratio = float(setting) / float(best.partition("/")[2].split()[1])
    return "rate_too_high" if ratio > 9 else "rate_too_low" if ratio < 0.11 else None


def quality(result):
    values = [each.metrics.get(f"validation/{result.metric}", math.nan) for each in result.evaluations]
    finite = [value if result.direction == "max" else -value for value in values if math.isfinite(value)]
    return max(finite, default=-math.inf)


def table(options):
    """Print what is said of each run, what ought to be said, and both rates of errors."""
    runs = read(options.folder)
    wrong = {"silent": [], "false alarm": [], "right": []}
    for name, (result, _, said) in runs.items():
        wanted = expected(name, runs)
        names = {"rate_too_high", "diverged", "warmup_divergence"} if wanted == "rate_too_high" else {wanted}
        kind = "right" if (not said if wanted == "" else names & set(said)) else "silent" if wanted else "false alarm"
        if wanted is not None:
            wrong[kind].append(name)
        print(
            f"{name:52} {abs(quality(result)):8.4g} of {result.validation_target:<8.4g}",
            kind if wanted is not None else "",
            ", ".join(said),
        )
    healthy = [name for name in runs if expected(name, runs) == ""]
    print(
        f"{len(healthy)} healthy runs, {len(wrong['false alarm'])} accused; "
        f"{len(runs) - len(healthy)} others, {len(wrong['silent'])} of them with a fault that is not named"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "table", "pack"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--workloads", nargs="+", default=WORKLOADS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    if options.command == "table":
        table(options)
    elif options.command == "pack":
        runs = read(options.folder)
        pack({name: (expected(name, runs), run) for name, (_, run, _) in runs.items()})
    for kind in options.kinds if options.command == "run" else ():
        for workload in options.workloads:
            KINDS[kind](workload, options)


if __name__ == "__main__":
    main()
