"""What instruments cost at the default schedule: CPU time of a run with them over that of a run without.

Each run has the evaluations of its workload, so that the first step and the step after each evaluation are measured.
Runs are interleaved, on one thread; ratios are medians of rounds.

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

from algoperf_lightning.callbacks import Instruments, TimeBudget
from algoperf_lightning.plugins import get_submission, get_workload
from algoperf_lightning.testing.runs import at_tiny_size, with_tiny_data


def period_of(name):
    """Return the steps from one evaluation to the next, of the workload at tiny size."""
    workload = get_workload(name)
    spec = workload.spec.of(**at_tiny_size(workload))
    return max(1, round(spec.step_hint * spec.eval_period / spec.budget))


def cpu_seconds(name, folder, measure, periods):
    """Return CPU seconds of a run of some evaluation periods: all of them, and those on the submission's clock."""
    workload = get_workload(name)
    steps = periods * period_of(name)
    budget = TimeBudget(unit="steps", budget=steps, eval_period=period_of(name), stop_at="budget")
    trainer = L.Trainer(
        callbacks=[budget, Instruments(measure)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    instance = workload(get_submission("adamw")(), data_dir=folder, **at_tiny_size(workload))
    begun = time.process_time()
    trainer.fit(instance)
    return time.process_time() - begun, budget.result.processor_seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["digits", "mnist", "ogbg", "tolstoi_char_rnn"])
    parser.add_argument("--periods", type=int, default=4, help="evaluation periods of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--presets", nargs="+", default=["light", "economy"])
    parser.add_argument("--json", help="file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    found = {name: {preset: [] for preset in options.presets} for name in options.workloads}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.workloads:
            if get_workload(name).spec.files:
                with_tiny_data(get_workload(name), Path(folder))
        for _ in range(options.rounds):
            for name in options.workloads:
                plain = cpu_seconds(name, Path(folder), None, options.periods)
                for preset in options.presets:
                    used = cpu_seconds(name, Path(folder), preset, options.periods)
                    found[name][preset].append([a / b for a, b in zip(used, plain, strict=True)])
    print(f"| workload | evaluations | {' | '.join(f'`{preset}` | on the clock' for preset in options.presets)} |")
    print(f"|---|---|{'---|---|' * len(options.presets)}")
    table = {}
    for name, presets in found.items():
        table[name] = {
            preset: [statistics.median(column) for column in zip(*ratios, strict=True)]
            for preset, ratios in presets.items()
        }
        cells = " | ".join(f"{whole:.3f} | {clock:.3f}" for whole, clock in table[name].values())
        print(f"| {name} | every {period_of(name)} steps | {cells} |", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"rounds": options.rounds, "ratios": table}, indent=1))


if __name__ == "__main__":
    main()
