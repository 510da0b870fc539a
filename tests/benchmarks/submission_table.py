"""Steps and seconds to the target for every submission, at its default point and, where that misses, at others.

    python tests/benchmarks/submission_table.py RUNS [--workloads digits mnist ...] [--data-dir D] [--output FILE.md]

Workloads are taken at tiny size where they have one; their tiny data sets must lie in the data directory (``algoperf
data tiny``). Budgets are in steps, so that the table is the same on every machine but for its seconds. After the
default point come the points of the submission's list, or the five that ``algoperf tune`` draws first from its ranges;
then ``submissions/<name>_<workload>`` among the packaged configs. The first that reaches the target in most studies is
shown, by its medians over the studies; else the one whose median came nearest. A study has a seed of its own. Seconds
are processor time of one thread; others' work on the machine changes them less than those of the wall, but does.

Trials are recorded under RUNS as studies of each submission, so that an interrupted table goes on where it was, and
``algoperf score RUNS`` makes scores and a performance profile of it.
"""

import argparse
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
import yaml

from algoperf_lightning import get_submission, get_workload
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.result import TrialResult
from algoperf_lightning.testing import at_tiny_size
from algoperf_lightning.tuning.points import draw_points
from algoperf_lightning.tuning.search_space import SearchSpace


def points_of(name, workload):
    """Points to try, best known first: what to call each, and its hyperparameters."""
    yield "default", {}
    submission = get_submission(name)
    defaults = submission().hyperparameters
    space = SearchSpace.of(submission)
    points = () if space is None else space.points or draw_points(space, 5, seed=0)
    for number, point in enumerate(points, start=1):
        if any(defaults[key] != value for key, value in point.items()):
            yield f"point {number}", point
    config = Path(str(files("algoperf_lightning.configs"))) / "submissions" / f"{name}_{workload}.yaml"
    if config.exists():
        yield f"{config.stem}", yaml.safe_load(config.read_text())["submission"]["init_args"]


def trial(workload, name, study, number, hyperparameters, options):
    """The result of a trial, which is run unless it is recorded."""
    cls = get_workload(workload)
    submission = get_submission(name)(**hyperparameters)
    instance = cls(submission, data_dir=options.data_dir, seed=study - 1, **at_tiny_size(cls))
    folder = options.runs / name / f"study_{study}" / instance.spec.full_name / f"trial_{number}"
    if (folder / "trial.json").exists():
        result = TrialResult.read(folder)
        if result.status.final:
            return result
    trainer = L.Trainer(
        max_epochs=-1,
        callbacks=[budget := TimeBudget(unit="steps", clock=time.process_time), recorder := TrialRecorder(folder)],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(instance, ckpt_path=recorder.checkpoint_path, weights_only=True)
    (folder / "last.ckpt").unlink(missing_ok=True)
    return budget.result


def best_cell(workload, name, options):
    """A cell of the table: the first point that reaches the target in most studies, else the best."""
    tried = []
    for number, (point, hyperparameters) in enumerate(points_of(name, workload), start=1):
        studies = range(1, options.studies + 1)
        results = [trial(workload, name, study, number, hyperparameters, options) for study in studies]
        tried.append((results, f"{cell(results)}{'' if point == 'default' else f' ({point})'}"))
        print(workload, name, point, cell(results), flush=True)
        if math.isfinite(median(results)):
            return tried[-1][1]
    return max(tried, key=lambda pair: statistics.median(map(goodness, pair[0])))[1]


def median(results):
    """Median of the steps to the target; infinite if most missed it."""
    return statistics.median_high(math.inf if r.step_to_target is None else r.step_to_target for r in results)


def goodness(result):
    if math.isnan(result.best):
        return -math.inf
    return result.best if result.direction == "max" else -result.best


def cell(results):
    if math.isfinite(steps := median(results)):
        return f"{steps:,} steps, {statistics.median_high(r.time_to_target for r in results):.1f} s"
    best = statistics.median(result.best for result in results)
    return f"missed: {best:.4g} in {max(result.steps for result in results):,} steps"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--workloads", nargs="+", default=["digits"])
    parser.add_argument("--submissions", nargs="+", default=list(plugins(SUBMISSIONS)))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--studies", type=int, default=3)
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
        cells = [best_cell(workload, name, options) for workload in options.workloads]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    hardware = json.dumps({"cpu": processor(), "threads": 1, "torch": torch.__version__})
    text = "\n".join([*lines, "", f"{datetime.date.today()}, {options.studies} studies, {hardware}"]) + "\n"
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
