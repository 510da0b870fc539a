"""Targets of the tiny suite, by the benchmark's own method in miniature.

    python tests/benchmarks/tiny_targets.py OUTPUT --data-dir D [--workloads digits wmt ...] [--trials 10] [--seeds 5]

AlgoPerf's method: tune four training algorithms, each with the same number of points, with schedules that end at three
quarters of the step hint; take the point with the best validation value and run it with several seeds. The validation
target is the median of the seeds' best values, the test target the worst test value among the runs that met the former.
Here: AdamW, NadamW, Nesterov and heavy-ball momentum, 10 points of the packaged search spaces each (AlgoPerf: 200), and
5 seeds (AlgoPerf: 20). Everything is counted in steps, so that a busy machine changes nothing but the seconds.

Each run is a line in OUTPUT/WORKLOAD.jsonl, and is not done again; the last lines printed are the targets. Several
processes can do different workloads at once. One thread.
"""

import argparse
import dataclasses
import datetime
import json
import logging
import math
import statistics
import time
import warnings
from importlib.resources import files
from pathlib import Path

import lightning as L
import torch

from algoperf_lightning import get_submission
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import find_workload
from algoperf_lightning.rng import derive_seed
from algoperf_lightning.testing import at_tiny_size
from algoperf_lightning.tuning.points import draw_points
from algoperf_lightning.tuning.search_space import SearchSpace
from algoperf_lightning.tuning.suites import get_suite

SPACES = Path(str(files("algoperf_lightning.configs"))) / "search_spaces"
ALGORITHMS = ("adamw", "nadamw", "nesterov", "momentum")
HORIZON = 0.75
"""Share of the step hint at which the schedules of the algorithms that set targets end."""
EVALUATIONS = 10
"""Evaluations of a run while points are chosen; the runs with other seeds have the suite's."""


class Runs:
    """The runs of one workload, kept in a file of one line each."""

    def __init__(self, name, options):
        self.name, self.options = name, options
        self.file = options.output / f"{name}.jsonl"
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.known = {(row["algorithm"], row["trial"], row["seed"]): row for row in map(json.loads, lines)}

    def run(self, algorithm, trial, point, seed, *, evaluations):
        """The best validation and test value of a run, from the file if it is there."""
        key = (algorithm, trial, seed)
        if key not in self.known:
            row = {
                "algorithm": algorithm,
                "trial": trial,
                "seed": seed,
                **self._train(algorithm, point, seed, evaluations),
            }
            row["point"] = point
            self.known[key] = row
            with self.file.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(self.name, *key, {k: row[k] for k in ("validation", "test", "seconds")}, flush=True)
        return self.known[key]

    def _train(self, algorithm, point, seed, evaluations):
        cls = get_workload(find_workload(self.name).name)
        workload = cls(
            get_submission(algorithm)(**point), data_dir=self.options.data_dir, seed=seed, **at_tiny_size(cls)
        )
        steps = int(HORIZON * workload.spec.step_hint)
        period = max(1, steps // evaluations)
        workload.spec = dataclasses.replace(workload.spec, step_hint=steps)
        never = 1e9 if workload.spec.direction == "max" else 1e-9
        clock = TimeBudget(unit="steps", budget=steps, eval_period=period, target=never, clock=time.process_time)
        trainer = L.Trainer(
            callbacks=[clock],
            accelerator="cpu",
            max_epochs=-1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(workload)
        best = {
            split: best_of(
                [row.metrics.get(f"{split}/{workload.spec.metric}", math.nan) for row in rows], workload.spec
            )
            for rows in [clock.result.evaluations]
            for split in ("validation", "test")
        }
        return {**best, "steps": clock.result.steps, "seconds": round(clock.result.submission_seconds, 2)}


def best_of(values, spec):
    values = [value for value in values if not math.isnan(value)]
    return (max if spec.direction == "max" else min)(values) if values else math.nan


def targets_of(name, options):
    """Tune, run the seeds, and return what was found."""
    spec = find_workload(name)
    runs = Runs(name, options)
    tried = []
    for algorithm in ALGORITHMS:
        space = SearchSpace.load(SPACES / f"{algorithm}.json", get_submission(algorithm))
        points = draw_points(space, options.trials, options.seed)
        for trial, point in enumerate(points, start=1):
            if spec.metric in ("loss", "ppl"):  # smoothed labels train another quantity than these
                point = {**point, "label_smoothing": 0.0}
            seed = derive_seed(options.seed, "tiny targets", name, algorithm, trial) % 2**32
            tried.append(runs.run(algorithm, trial, point, seed, evaluations=EVALUATIONS))
    sign = 1 if spec.direction == "max" else -1
    finished = [row for row in tried if not math.isnan(row["validation"])]
    best = max(finished, key=lambda row: sign * row["validation"])
    evaluations = round(HORIZON * spec.budget / spec.eval_period)
    seeds = [
        runs.run(best["algorithm"], best["trial"], best["point"], seed, evaluations=evaluations)
        for seed in range(1, options.seeds + 1)
    ]
    target = statistics.median(row["validation"] for row in seeds)
    met = [row["test"] for row in seeds if sign * row["validation"] >= sign * target]
    return {
        "workload": name,
        "step_hint": spec.step_hint,
        "metric": spec.metric,
        "validation_target": target,
        "test_target": None if math.isnan(met[0]) else (min if sign > 0 else max)(met),
        "best": {
            algorithm: best_of([r["validation"] for r in tried if r["algorithm"] == algorithm], spec)
            for algorithm in ALGORITHMS
        },
        "algorithm": best["algorithm"],
        "point": best["point"],
        "seconds_to_step_hint": round(statistics.median(row["seconds"] for row in seeds) / HORIZON, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--workloads", nargs="+", help="of the suite (default: all), or others")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--trials", type=int, default=10, help="points of each algorithm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    suite = get_suite("tiny", "1.0").workloads
    for name in [suite.get(name, name) for name in options.workloads or suite]:
        found = targets_of(name, options) | {"trials": options.trials, "seeds": options.seeds}
        found["date"] = str(datetime.date.today())
        (options.output / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
