"""Targets of the tiny and the small suite, by the benchmark's own method in miniature.

    python tests/benchmarks/suite_targets.py OUTPUT --suite tiny|small --data-dir D [--workloads wmt ...]
        [--stages screen seeds confirm] [--trials 30] [--top 3] [--seeds 5] [--confirm 10]

AlgoPerf's method: tune four training algorithms, each with the same number of points, with schedules that end at three
quarters of the step hint; take the point with the best validation value and run it with several seeds. The validation
target is the median of the seeds' best values, the test target the worst test value among the runs that met the former.
Here: AdamW, NadamW, Nesterov and heavy-ball momentum, with points of the packaged search spaces (AlgoPerf: 200 each),
and 5 seeds (AlgoPerf: 20). Everything is counted in steps, so that a busy machine changes nothing but the seconds.

Stages: `screen` runs all points with one seed; `seeds` runs the best `--top` of them with further seeds, and takes the
one with the best median; `confirm` runs the best points of AdamW and NadamW with the whole step hint, and counts the
seeds that reach the target.

A run of the first stage ends early by the median stopping rule (Golovin et al., Google Vizier, 2017): at three tenths
of its steps and at each later evaluation, if its best value is not better than the median, over the other runs that
came so far, of their best value until then. Most of these have far too large or too small learning rates.

Each run is a line of OUTPUT/WORKLOAD.jsonl, with its evaluations, and is not done again; a run that is interrupted
starts again. A stage includes those before it. The result is in OUTPUT/WORKLOAD.json. Several processes can do
different workloads at once. One thread.
"""

import argparse
import dataclasses
import datetime
import json
import logging
import math
import platform
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
from algoperf_lightning.sizes import at_size
from algoperf_lightning.spec import meets_target
from algoperf_lightning.tuning.points import draw_points
from algoperf_lightning.tuning.search_space import SearchSpace
from algoperf_lightning.tuning.suites import get_suite

SPACES = Path(str(files("algoperf_lightning.configs"))) / "search_spaces"
ALGORITHMS = ("adamw", "nadamw", "nesterov", "momentum")
CONFIRMED = ("adamw", "nadamw")
HORIZON = 0.75
"""Share of the step hint at which the schedules of the algorithms that set targets end."""
EVALUATIONS = 10
"""Evaluations of a run while points are chosen; the runs with other seeds have the suite's."""


FIRST_CUT, RUNS_BEFORE_CUTS = 4, 8
"""The evaluation from which runs of the first stage may be stopped, and the number of runs that must have come so far.
One evaluation is after the first step, so that the fourth is at three tenths."""


class StopIfWorse(L.Callback):
    """Ends a run after an evaluation if ``worse()``."""

    def __init__(self, worse):
        self.worse = worse

    def on_train_batch_end(self, trainer, *arguments):
        trainer.should_stop = trainer.should_stop or self.worse()


class Calibration:
    """The runs of one workload."""

    def __init__(self, name, options):
        self.name, self.options, self.spec = name, options, find_workload(name)
        self.sign = 1 if self.spec.direction == "max" else -1
        self.file = options.output / f"{name}.jsonl"
        lines = map(json.loads, self.file.read_text(encoding="utf-8").splitlines()) if self.file.exists() else ()
        self.lines = {(line["stage"], line["algorithm"], line["trial"], line["seed"]): line for line in lines}

    def points(self, algorithm):
        space = SearchSpace.load(SPACES / f"{algorithm}.json", get_submission(algorithm))
        for trial, point in enumerate(draw_points(space, self.options.trials, self.options.seed), start=1):
            # Smoothed labels train another quantity than these metrics.
            smoothed = self.spec.metric not in ("loss", "ppl")
            yield trial, point if smoothed else {**point, "label_smoothing": 0.0}

    def run(self, stage, algorithm, trial, point, seed, *, horizon, evaluations, cut=False):
        """The line of a run, which is done unless it is there."""
        key = stage, algorithm, trial, seed
        if key in self.lines:
            return self.lines[key]
        workload = self.workload(algorithm, point, seed)
        steps = int(horizon * workload.spec.step_hint)
        period = max(1, steps // evaluations)
        workload.spec = dataclasses.replace(workload.spec, step_hint=steps)
        clock = TimeBudget(unit="steps", budget=steps, eval_period=period, stop_at="budget", clock=time.process_time)
        trainer = L.Trainer(
            callbacks=[clock, *([StopIfWorse(lambda: self.worse(clock.result))] if cut else [])],
            accelerator="cpu",
            max_epochs=-1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(workload)
        line = {
            "stage": stage,
            "algorithm": algorithm,
            "trial": trial,
            "seed": seed,
            "point": point,
            "seconds": round(clock.result.submission_seconds, 2),
            "evaluations": self.evaluations(clock.result),
        }
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.lines[key] = line
        print(self.name, *key, _rounded(self.best(line)), f"{line['seconds']} s", flush=True)
        return line

    def workload(self, algorithm, point, seed):
        cls = get_workload(self.spec.name)
        submission = get_submission(algorithm)(**point)
        return cls(submission, data_dir=self.options.data_dir, seed=seed, **at_size(self.spec.size))

    def evaluations(self, result):
        """Step, validation and test value of each evaluation."""
        names = [f"{split}/{self.spec.metric}" for split in ("validation", "test")]
        return [
            [row.step, *(_rounded(row.metrics.get(name, math.nan)) for name in names)] for row in result.evaluations
        ]

    def worse(self, result):
        """Whether a run of the first stage is to end, by the median stopping rule."""
        so_far = len(result.evaluations)
        others = [line["evaluations"][:so_far] for line in self.lines.values() if line["stage"] == "screen"]
        others = [self.best_of(rows) for rows in others if len(rows) == so_far]
        if so_far < FIRST_CUT or len(others) < RUNS_BEFORE_CUTS:
            return False
        mine = self.best_of(self.evaluations(result))
        median = statistics.median(self.sign * value if math.isfinite(value) else -math.inf for value in others)
        return not self.sign * mine > median  # also without a value, NaN

    def best(self, line, split="validation"):
        """The best value of a run, NaN if there is none."""
        return self.best_of(line["evaluations"], ("step", "validation", "test").index(split))

    def best_of(self, rows, column=1):
        values = [row[column] for row in rows if row[column] is not None]
        return (max if self.sign > 0 else min)(values) if values else math.nan

    def screen(self):
        """All points with one seed: (algorithm, trial, point) from the best validation value to the worst."""
        found = {}
        for algorithm in ALGORITHMS:
            for trial, point in self.points(algorithm):
                seed = (
                    derive_seed(self.options.seed, f"{self.options.suite} targets", self.name, algorithm, trial) % 2**32
                )
                line = self.run(
                    "screen", algorithm, trial, point, seed, horizon=HORIZON, evaluations=EVALUATIONS, cut=True
                )
                found[algorithm, trial] = point, line
        finished = {key: row for key, row in found.items() if not math.isnan(self.best(row[1]))}
        return dict(sorted(finished.items(), key=lambda item: -self.sign * self.best(item[1][1])))

    def seeds(self, screened):
        """The best points with further seeds: the runs of each."""
        evaluations = round(HORIZON * self.spec.budget / self.spec.eval_period)
        return {
            (algorithm, trial): [
                self.run("seeds", algorithm, trial, point, seed, horizon=HORIZON, evaluations=evaluations)
                for seed in range(1, self.options.seeds + 1)
            ]
            for (algorithm, trial), (point, _) in list(screened.items())[: self.options.top]
        }

    def targets(self, screened, repeated):
        """What the benchmark's rule makes of these runs."""
        medians = {key: statistics.median(map(self.best, runs)) for key, runs in repeated.items()}
        chosen = max(medians, key=lambda key: self.sign * medians[key])
        target = medians[chosen]
        met = [self.best(run, "test") for run in repeated[chosen] if self.sign * self.best(run) >= self.sign * target]
        return {
            "workload": self.name,
            "step_hint": self.spec.step_hint,
            "metric": self.spec.metric,
            "validation_target": target,
            "test_target": None if math.isnan(met[0]) else (min if self.sign > 0 else max)(met),
            "best": {
                algorithm: next((self.best(row) for (name, _), (_, row) in screened.items() if name == algorithm), None)
                for algorithm in ALGORITHMS
            },
            "algorithm": chosen[0],
            "point": screened[chosen][0],
            "best_of_seeds": sorted(map(self.best, repeated[chosen])),
            "seconds_to_step_hint": round(statistics.median(line["seconds"] for line in repeated[chosen]) / HORIZON, 1),
        }

    def confirm(self, screened, target):
        """How many seeds reach the target in the step hint, and the steps they need, of the best points of some."""
        evaluations = round(self.spec.budget / self.spec.eval_period)
        found = {}
        for algorithm in CONFIRMED:
            trial, point = next((trial, row[0]) for (name, trial), row in screened.items() if name == algorithm)
            runs = [
                self.run("confirm", algorithm, trial, point, seed, horizon=1.0, evaluations=evaluations)
                for seed in range(1, self.options.confirm + 1)
            ]
            steps = [self.steps_to(target, run) for run in runs]
            reached = [count for count in steps if count is not None]
            found[algorithm] = {
                "point": point,
                "reached": len(reached),
                "of": len(steps),
                "steps": steps,
                "sd_over_step_hint": statistics.stdev(reached) / self.spec.step_hint if len(reached) > 1 else None,
            }
        return found

    def steps_to(self, target, line):
        reached = (step for step, value, _ in line["evaluations"] if self.meets(value, target))
        return next(reached, None)

    def meets(self, value, target):
        return value is not None and meets_target(value, target, self.spec.direction)


def _rounded(value):
    """A number with six digits; None for those that JSON lacks."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def calibrate(name, options):
    """Do the stages that are asked for."""
    calibration = Calibration(name, options)
    screened = calibration.screen()
    if options.stages[-1] == "screen":
        return
    repeated = calibration.seeds(screened)
    found = calibration.targets(screened, repeated) | {"trials": options.trials, "seeds": options.seeds}
    if "confirm" in options.stages:
        found["confirm"] = calibration.confirm(screened, found["validation_target"])
    found["machine"] = {"cpu": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    found["date"] = str(datetime.date.today())
    (options.output / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--suite", default="small", help="tiny or small (default %(default)s)")
    parser.add_argument("--workloads", nargs="+", help="of the suite (default: all), or others")
    parser.add_argument("--stages", nargs="+", default=["screen", "seeds"], choices=["screen", "seeds", "confirm"])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--trials", type=int, default=30, help="points of each algorithm")
    parser.add_argument("--top", type=int, default=3, help="best points that are run with further seeds")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--confirm", type=int, default=10, help="seeds of the best points of AdamW and NadamW")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    suite = get_suite(options.suite, "1.0").workloads
    for name in [suite.get(name, name) for name in options.workloads or suite]:
        calibrate(name, options)


if __name__ == "__main__":
    main()
