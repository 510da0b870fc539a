"""What instruments cost at the default schedule: wall time and submission time over those of a run without them.

Runs are interleaved, and ratios are medians of rounds. `python tests/benchmarks/instruments_overhead.py digits mnist`
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import lightning as L
import torch

from algoperf_lightning.callbacks import Instruments, TimeBudget
from algoperf_lightning.plugins import get_submission, get_workload
from algoperf_lightning.testing.runs import at_tiny_size, with_tiny_data


def seconds(name, folder, measure, steps, evaluations):
    """Return wall seconds of the process's work, submission seconds, and seconds of measuring."""
    workload = get_workload(name)
    submission = get_submission("adamw")()
    budget = TimeBudget(unit="steps", budget=steps, eval_period=max(1, steps // evaluations), stop_at="budget")
    trainer = L.Trainer(
        callbacks=[budget, Instruments(measure)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    arguments = with_tiny_data(workload, folder) if workload.spec.files else at_tiny_size(workload)
    instance = workload(submission, **arguments)
    begun = time.process_time()
    trainer.fit(instance)
    used = time.process_time() - begun
    measured = budget.result.environment.get("instruments", {}).get("seconds", 0.0)
    return used, budget.result.processor_seconds, measured


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="+")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--evaluations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--presets", nargs="+", default=["light", "economy", "business", "full"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    for name in options.workloads:
        found = {preset: [] for preset in options.presets}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.rounds):
                plain = seconds(name, Path(folder), None, options.steps, options.evaluations)
                for preset in options.presets:
                    used = seconds(name, Path(folder), preset, options.steps, options.evaluations)
                    found[preset].append([used[0] / plain[0], used[1] / plain[1]])
        for preset, ratios in found.items():
            whole, clock = (statistics.median(column) for column in zip(*ratios, strict=True))
            print(f"{name:24} {preset:10} whole run x{whole:.3f}   on the clock x{clock:.3f}", flush=True)


if __name__ == "__main__":
    main()
