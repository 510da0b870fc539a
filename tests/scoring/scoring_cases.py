"""Made-up runs for the tests of scoring, and the real ones: packaged boards, and an extract of one."""

import csv
import gzip
import io
import math
from pathlib import Path

import numpy as np

from algoperf_lightning.registry import find_workload
from algoperf_lightning.result import Evaluation, Status, TrialResult
from algoperf_lightning.scoring import Benchmark, Runs, ScoredWorkload, Trial
from algoperf_lightning.scoring.boards import find_board

EXTRACT = Path(__file__).parent / "data" / "trials_v05_external.csv.gz"
REAL = find_board("v0.5-external")
"""All evaluations of the v0.5 external leaderboard."""

inf, nan = math.inf, math.nan


def suite(*, base=("a", "b"), held_out=(), studies=1, trials=1, **changes):
    """A benchmark of workloads with an accuracy target of 0.9 in 1000 s; held-out ones as pairs of name and base."""
    fixed = {"metric": "accuracy", "direction": "max", "validation_target": 0.9, "test_target": None, "budget": 1000.0}
    fields = {"name": "a suite", "version": "custom", "ruleset": "external", "budget_factor": 1.0}
    return Benchmark(
        **{**fields, "studies": studies, "trials": trials, **changes},
        base=tuple(ScoredWorkload(name, **fixed) for name in base),
        held_out=tuple(ScoredWorkload(name, **fixed, base=of) for name, of in held_out),
    )


def trial(
    submission="s", workload="a", seconds=100.0, *, study="0", number="1", index=3, metric="accuracy", hit=0.9, **rest
):
    """A trial that reaches its target at an evaluation index and a time; never, if the time is infinite."""
    missed = math.isinf(seconds)
    values = np.full(index + 1, nan)
    times = np.arange(1.0, index + 2) / (index + 1) * (50.0 if missed else seconds)
    if not missed:
        values[index] = hit
    return Trial(
        submission=submission,
        study=study,
        workload=workload,
        number=number,
        framework=rest.pop("framework", "pytorch"),
        steps=np.ceil(1000 * times),  # a steady millisecond a step
        seconds=times,
        metrics={f"validation/{metric}": values, f"test/{metric}": values},
        source=f"{submission}/{study}/{workload}/{number}",
        **rest,
    )


def runs_of(times, **rest):
    """Runs from ``{submission: {workload: seconds or a list of seconds, one a study}}``; None is no log."""
    runs = Runs()
    for submission, by_workload in times.items():
        for workload, studies in by_workload.items():
            for study, seconds in enumerate(studies if isinstance(studies, list) else [studies]):
                if seconds is not None:
                    runs.trials.append(trial(submission, workload, seconds, study=str(study), **rest))
    return runs


def extract(benchmark):
    """The trials of the official v0.5 leaderboard, as the extract has them."""
    workloads = {workload.name: workload for workload in benchmark.workloads}
    runs = Runs()
    for row in csv.DictReader(io.StringIO(gzip.decompress(EXTRACT.read_bytes()).decode())):
        workload = workloads[row["workload"]]
        runs.trials.append(
            trial(
                row["submission"],
                row["workload"],
                float(row["seconds"]),
                study=row["study"],
                number=row["trial"],
                index=max(int(row["evaluation"]), 0),
                metric=workload.metric,
                hit=workload.validation_target,
                framework=row["framework"],
                version="0.5",
                ruleset="external",
            )
        )
    return runs


def own_run(
    folder,
    *,
    values=(0.5, 0.95),
    seconds=(1.6, 2.0),
    steps=(0, 10),
    logged="accuracy",
    status=None,
    **changes,
):
    """Write a run folder of this library and return it; without a status it ended as its evaluations say."""
    rows = [
        Evaluation(step, time, time * 1.5, 0.1, {f"validation/{logged}": value, f"test/{logged}": value})
        for step, time, value in zip(steps, seconds, values, strict=False)
    ]
    fields = {
        "workload": "shapes",
        "version": "1.0",
        "ruleset": "external",
        "submission": "adamw",
        "hyperparameters": {"lr": 1e-3},
        "seed": abs(hash(str(folder))),
        "batch_size": 8,
        "budget": 60.0,
        "eval_period": 1.0,
        "metric": "accuracy",
        "direction": "max",
        "validation_target": 0.9,
        "test_target": None,
        "stop_at": "validation",
        "environment": {"accelerator": "cpu", "cpu": "a CPU", "ranks": 1, "packages": {"torch": "2.11"}},
    }
    result = TrialResult(**{**fields, **changes}, evaluations=rows)
    result.status = status or (Status.REACHED if result.is_reached else Status.BUDGET_SPENT)
    folder.mkdir(parents=True, exist_ok=True)
    result.write_trial(folder)
    result.write_evaluations(folder)
    return folder


def run_on(folder, workload, used, *, unit="seconds", scale=1.0, ruleset="external", **changes):
    """Write a run on a registered workload that reaches the target after so many seconds or steps, or never."""
    spec = find_workload(workload)
    budget, eval_period = spec.allowance(ruleset, unit, scale)
    number = 1.0 if math.isinf(used) else used
    # What does not count is the same for all: scored by it, no submission would be faster than another.
    seconds, steps = (number, 7) if unit == "seconds" else (0.5, int(number))
    names = ("metric", "direction", "validation_target", "test_target")
    fields = {name: getattr(spec, name) for name in names}
    fields |= {"workload": workload, "ruleset": ruleset, "unit": unit, "scale": scale, "tiny_data": spec.is_tiny}
    return own_run(
        folder,
        values=(math.nan, math.nan if math.isinf(used) else spec.validation_target),
        seconds=(seconds * 0.8, seconds),
        steps=(max(1, steps * 4 // 5), steps),
        logged=spec.metric,
        **{**fields, "budget": budget, "eval_period": eval_period, **changes},
    )


def kinds(findings):
    """The kinds of findings, each once, sorted."""
    return sorted({finding.kind for finding in findings})
