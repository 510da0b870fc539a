"""What instruments cost at the default schedule: time of a run with them over that of a run without.

By default, the first step and the step after each evaluation are measured, and evaluations are as far apart as the
workload's evaluation period, in seconds. A run without instruments finds out how many steps that is here, by CPU time;
all runs then have the same number of steps and evaluations, whatever their speed. They are interleaved, on one thread.
Ratios are medians of rounds: of wall time, of CPU time, which other processes on the machine disturb less, and of the
submission's seconds, which exclude all measurements.

    python tests/benchmarks/instruments_overhead.py --json overhead.json
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import lightning as L
import torch

from algoperf_lightning.callbacks import Instruments, TimeBudget, TrialRecorder
from algoperf_lightning.plugins import get_submission, get_workload
from algoperf_lightning.testing.runs import at_tiny_size, with_tiny_data

WORKLOADS = ("digits", "mnist", "ogbg", "tolstoi_char_rnn")


def run(name, folder, measure, period, periods):
    """Train some evaluation periods, given in steps; return wall, CPU and submission seconds, and the result."""
    workload = get_workload(name)
    budget = TimeBudget(unit="steps", budget=periods * period, eval_period=period, stop_at="budget")
    with tempfile.TemporaryDirectory(dir=folder) as trial:
        trainer = L.Trainer(
            callbacks=[budget, Instruments(measure), TrialRecorder(trial, checkpoint=False)],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        instance = workload(get_submission("adamw")(), data_dir=folder, **at_tiny_size(workload))
        wall, cpu = time.monotonic(), time.process_time()
        trainer.fit(instance)
        seconds = time.monotonic() - wall, time.process_time() - cpu, budget.result.submission_seconds
        return seconds, budget.result


def period_of(name, folder):
    """Return the steps in the evaluation period of a workload at tiny size, on this machine."""
    workload = get_workload(name)
    seconds = workload.spec.of(**at_tiny_size(workload)).eval_period
    run(name, folder, None, 5, 1)
    _, result = run(name, folder, None, 40, 1)
    return max(1, round(seconds * result.steps / result.processor_seconds))


def measured(options, folder):
    """Return the steps of a period, and for each preset the ratios of all rounds; with the seconds of plain runs."""
    found = {}
    periods = {name: period_of(name, folder) for name in options.workloads}
    for _ in range(options.rounds):
        for name, period in periods.items():
            plain, _ = run(name, folder, None, period, options.periods)
            for preset in options.presets:
                used, _ = run(name, folder, preset, period, options.periods)
                ratios = [a / b for a, b in zip(used, plain, strict=True)]
                found.setdefault(name, {}).setdefault(preset, []).append(ratios)
            found[name].setdefault("seconds", []).append(plain[0])
    return periods, found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS))
    parser.add_argument("--periods", type=int, default=6, help="evaluation periods of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--presets", nargs="+", default=["light", "economy"])
    parser.add_argument("--json", help="file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.workloads:
            if get_workload(name).spec.files:
                with_tiny_data(get_workload(name), Path(folder))
        periods, found = measured(options, Path(folder))
    columns = " | ".join(f"`{preset}`: wall | CPU | on the clock" for preset in options.presets)
    print(f"| workload | run without | evaluations | {columns} |")
    print(f"|---|---|---|{'---|---|---|' * len(options.presets)}")
    for name, each in found.items():
        medians = [[statistics.median(column) for column in zip(*each[p], strict=True)] for p in options.presets]
        cells = " | ".join(" | ".join(f"{ratio:.3f}" for ratio in ratios) for ratios in medians)
        seconds = statistics.median(each["seconds"])
        print(f"| {name} | {seconds:.1f} s | every {periods[name]} steps | {cells} |", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"periods": periods, "found": found}, indent=1))


if __name__ == "__main__":
    main()
