"""Steps and seconds to the target for every submission, at its default point and, where that misses, at others.

    python tests/benchmarks/submission_table.py RUNS [--workloads digits mnist ...] [--data-dir D] [--output FILE.md]

Trials are recorded under RUNS, so that an interrupted table goes on where it was, and ``algoperf score RUNS`` makes a
score and a performance profile of it. Workloads are taken at tiny size where they have one; their tiny data sets must
lie in the data directory (``algoperf data tiny``). After the default point come the points of the submission's list,
then ``submissions/<name>_digits`` among the packaged configs; the first that reaches the target is shown. One thread.
"""

import argparse
import datetime
import json
import logging
import math
import platform
import warnings
from importlib.resources import files
from pathlib import Path

import lightning as L
import torch
import yaml

from algoperf_lightning import get_submission, get_workload
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.testing import at_tiny_size


def points_of(name):
    """Points to try, best known first: what to call each, and its hyperparameters."""
    yield "default", {}
    space = get_submission(name).search_space
    defaults = get_submission(name)().hyperparameters
    for number, point in enumerate(space if isinstance(space, list) else (), start=1):
        if any(defaults[key] != value for key, value in point.items()):
            yield f"point {number}", point
    config = Path(str(files("algoperf_lightning.configs"))) / "submissions" / f"{name}_digits.yaml"
    if config.exists():
        yield "digits config", yaml.safe_load(config.read_text())["submission"]["init_args"]


def trial(workload, name, point, hyperparameters, options):
    """The result of a trial, which is run unless it is recorded."""
    made = f"{name} ({point})" if point != "default" else name
    folder = options.runs / workload / made.replace(" ", "_") / f"trial_{options.seed + 1}"
    if (folder / "trial.json").exists():
        result = TrialResult.read(folder)
        if result.status.final:
            return result
    cls = get_workload(workload)
    submission = get_submission(name)(**hyperparameters)
    instance = cls(submission, data_dir=options.data_dir, seed=options.seed, **at_tiny_size(cls))
    trainer = L.Trainer(
        max_steps=instance.spec.step_hint if options.to_step_hint else -1,
        max_epochs=-1,
        callbacks=[
            budget := TimeBudget(budget=options.budget, eval_period=options.eval_period),
            recorder := TrialRecorder(folder),
        ],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(instance, ckpt_path=recorder.checkpoint_path, weights_only=True)
    (folder / "last.ckpt").unlink(missing_ok=True)
    return budget.result


def row(workload, name, options):
    """A cell of the table: the first point that reaches the target, else the best."""
    best = None
    for point, hyperparameters in points_of(name):
        if options.points and point not in options.points:
            continue
        try:
            result = trial(workload, name, point, hyperparameters, options)
        except Exception as error:
            return f"failed: {type(error).__name__}: {error}"
        print(workload, name, point, cell(result), flush=True)
        if not math.isinf(result.time_to_target):
            return f"{cell(result)}{'' if point == 'default' else f' ({point})'}"
        if best is None or better(result, best[1]):
            best = point, result
    if best is None:
        there = ", ".join(point for point, _ in points_of(name))
        return f"not tried: --points names none of {there}"
    return f"{cell(best[1])}{'' if best[0] == 'default' else f' ({best[0]})'}"


def better(one, other):
    if math.isnan(other.best):
        return True
    return one.best > other.best if one.direction == "max" else one.best < other.best


def cell(result):
    if not math.isinf(result.time_to_target):
        return f"{result.step_to_target:,} steps, {result.time_to_target:.0f} s"
    why = {Status.BUDGET_SPENT: "budget spent", Status.STOPPED: "stopped"}.get(result.status, str(result.status))
    return f"missed: {result.best:.4g} in {result.steps:,} steps, {why}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--workloads", nargs="+", default=["digits"])
    parser.add_argument("--submissions", nargs="+", default=list(plugins(SUBMISSIONS)))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, help="seconds, in place of the workload's")
    parser.add_argument("--eval-period", type=float, help="seconds, in place of the workload's")
    parser.add_argument("--to-step-hint", action="store_true", help="end trials there: a busy machine is slow")
    parser.add_argument("--points", nargs="+", help="try these only: default, 'point 2', 'digits config'")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    lines = [
        "| submission |" + "".join(f" {name} |" for name in options.workloads),
        "|---|" + "---|" * len(options.workloads),
    ]
    for name in options.submissions:
        cells = [row(workload, name, options) for workload in options.workloads]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    hardware = json.dumps({"cpu": processor(), "threads": 1, "torch": torch.__version__})
    text = "\n".join([*lines, "", f"{datetime.date.today()}, seed {options.seed}, {hardware}"]) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text)


def processor():
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
