"""Runs that a diagnosis is measured on: learning rates from far too low to far too high, every baseline at its default
point, and runs made to have one fault.

    python tests/benchmarks/diagnosis_runs.py run FOLDER --data-dir D [--workloads digits ...] [--kinds rates baselines]
    python tests/benchmarks/diagnosis_runs.py table FOLDER
    python tests/benchmarks/diagnosis_runs.py pack FOLDER

`run` trains what is not in FOLDER yet, on one thread, with everything counted in steps; several processes can do
different workloads at once. `table` prints the findings of each run, and how many healthy runs have one. `pack`
writes what the rules read to the file that the tests of the diagnosis read, for runs of which it is known what ought to
be said.

A run at a default point is healthy if it reached the target, or if its best evaluation made at least 90 % of the
progress that the best of all runs at default points made, from the untrained model in the metric of the target. A
default point is one point for all workloads, and may be a bad one: others have a fault or not, which nobody knows. A
learning rate 10 times or more from the best has a fault, unless it reached the target or made 90 % of that progress.
"""

import argparse
import logging
import math
import statistics
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

STEPS = {"digits": 300, "mnist_tiny": 400, "ogbg_tiny": 200, "criteo1tb_tiny": 200, "imagenet_vit_tiny": 60}
"""Steps of a run where the step hint would take a minute or more."""
NEAR_BEST = 0.9
"""Share of the best run's progress from which on a run is healthy."""
POWERS = {"adamw": range(-5, 1), "momentum": range(-4, 2)}
"""Learning rates are these powers of 10."""
WORKLOADS = ("digits", "mnist_tiny", "ogbg_tiny", "quadratic_deep", "criteo1tb_tiny", "imagenet_vit_tiny")


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
    folders = sorted(each.parent for each in root.glob("*/*/instruments.jsonl"))
    runs = {}
    for folder in folders:
        if not (ran(folder) and TrialResult.read(folder).status.final):
            continue
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
        return "" if progress(name, runs) >= NEAR_BEST else None
    if progress(name, runs) >= NEAR_BEST:
        return None  # far off, but nearly as good as the best
    alike = [each for each in runs if each.startswith(f"{workload}/{submission} ") and " default " not in each]
    best = max(alike, key=lambda each: quality(runs[each][0]))
    ratio = float(setting) / float(best.partition("/")[2].split()[1])
    return "rate_too_high" if ratio > 9 else "rate_too_low" if ratio < 0.11 else None


def progress(name, runs):
    """Share of the best run's progress, among the runs of the same kind on the same workload."""
    alike = [runs[each][0] for each in runs if kind_of(each) == kind_of(name)]
    alike = [each for each in alike if each.budget == runs[name][0].budget]
    untrained = statistics.median(signed(each)[0] for each in alike)
    return (quality(runs[name][0]) - untrained) / (max(map(quality, alike)) - untrained)


def quality(result):
    """The best evaluation; larger is better."""
    return max((value for value in signed(result) if math.isfinite(value)), default=-math.inf)


def signed(result):
    """The metric of the target at each evaluation; larger is better. The first one is that after the first step."""
    values = [each.metrics.get(f"validation/{result.metric}", math.nan) for each in result.evaluations]
    return [value if result.direction == "max" else -value for value in values]


def table(options):
    """Print what is said of each run and what ought to be said; then a row for each kind of run and workload."""
    runs = read(options.folder)
    rows = {}
    for name, (result, _, said) in runs.items():
        wanted = expected(name, runs)
        names = {"rate_too_high", "diverged", "warmup_divergence"} if wanted == "rate_too_high" else {wanted}
        right = None if wanted is None else not said if wanted == "" else bool(names & set(said))
        kind = "" if wanted is None else "right" if right else "silent" if wanted else "false alarm"
        share = f"{progress(name, runs):6.1%}" if " default " in name else " " * 6
        print(f"{name:52} {abs(quality(result)):8.4g} of {result.validation_target:<8.4g} {share} {kind:12}", *said)
        rows.setdefault(kind_of(name), []).append((result.status is Status.REACHED, wanted, said, right))
    heads = ("runs", "workload", "number", "reached", "healthy", "false alarms", "with a fault", "recognised", "others")
    print(f"| {' | '.join(heads)} | with a finding |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for kind, found in rows.items():
        healthy = [each for each in found if each[1] == ""]
        faulty = [each for each in found if each[1]]
        others = [each for each in found if each[1] is None]
        numbers = (len(found), sum(each[0] for each in found), len(healthy), sum(not each[3] for each in healthy))
        numbers += (len(faulty), sum(each[3] for each in faulty), len(others), sum(bool(each[2]) for each in others))
        print("| " + " | ".join([*kind, *map(str, numbers)]) + " |")


def kind_of(name):
    workload, _, what = name.partition("/")
    if workload == "faults":
        return "faults", "several"
    return "default points" if " default " in what else "learning rates", workload


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
        wanted = {name: expected(name, runs) for name in runs}
        pack({name: (wanted[name], run) for name, (_, run, _) in runs.items() if wanted[name] is not None})
    for kind in options.kinds if options.command == "run" else ():
        for workload in options.workloads:
            KINDS[kind](workload, options)


if __name__ == "__main__":
    main()
