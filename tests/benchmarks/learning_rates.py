"""Steps to the target for every baseline, each at the best of its learning rates: octaves around the default.

    python tests/benchmarks/learning_rates.py RUNS [--workloads mnist_tiny] [--submissions adamw muon] [--data-dir D]

First `algoperf tune --sweep`: 5 octaves, from a quarter of the default to 4 times it, with one seed, and 2 octaves more
beyond an end at which the best one lies, as often as needed. If none reached the target, the same around a sixteenth of
the default: runs that all diverged do not show where to go. Then the best one again, with 3 other seeds: what was
chosen by its luck does not keep it. All else keeps its default. Budgets are in steps. It can be interrupted, and goes
on where it was; what is recorded is printed as a table.

Amos computes its learning rate from the steps to converge, so ``converge_factor`` is swept. A wrapper is swept around
the default of the submission that it wraps. ``nadamw_sequential`` has no learning rate that could be set.
"""

import argparse
import json
import statistics
from collections import defaultdict
from math import inf, isfinite, isnan, nan
from pathlib import Path

from algoperf_lightning import get_submission
from algoperf_lightning.cli import main as algoperf
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.result import TRIAL_FILE, TrialResult

OTHERS = {"amos": "converge_factor"}
WITHOUT = {"nadamw_sequential"}


def swept(name):
    """What is swept, as `algoperf tune --sweep` takes it."""
    hyperparameters = get_submission(name)().hyperparameters
    if "base" not in hyperparameters:
        return OTHERS.get(name, "learning_rate")
    return f"learning_rate={get_submission(hyperparameters['base'])().hyperparameters['learning_rate']}"


def sweep(workload, options):
    """Run what is not recorded yet: one command for all submissions of which the same is swept."""
    together = defaultdict(list)
    for name in options.submissions:
        together[swept(name)].append(name)
    for number, (what, names) in enumerate(together.items()):
        arguments = ["--sweep", what, "--trials", "5", "--studies", "1"]
        tune(workload, names, options.runs / "sweep" / str(number), arguments, options)
        for name, by_value in recorded(options.runs / "sweep" / str(number), workload).items():
            if all(not isfinite(goodness(each)[0]) for each in by_value.values()):
                centre = what.partition("=")[2] or get_submission(name)().hyperparameters[what]
                lower = ["--sweep", f"{what.partition('=')[0]}={float(centre) / 16}", *arguments[2:]]
                tune(workload, [name], options.runs / "sweep" / "lower" / name, lower, options)


def confirm(workload, options):
    """Run the best of each sweep with other seeds."""
    spaces = options.runs / "best" / workload
    spaces.mkdir(parents=True, exist_ok=True)
    for name, by_value in recorded(options.runs / "sweep", workload).items():
        if name in options.submissions:
            point = {swept(name).partition("=")[0]: min(by_value, key=lambda value: goodness(by_value[value]))}
            (spaces / f"{name}.json").write_text(json.dumps([point]))
    arguments = ["--search-space", str(spaces), "--trials", "1", "--studies", "3", "--seed", "1"]
    tune(workload, options.submissions, options.runs / "again", arguments, options)


def tune(workload, names, output, arguments, options):
    command = ["tune", workload, "--submission", *names, *arguments, "--unit", "steps", "--output", str(output)]
    algoperf([*command, "--data-dir", str(options.data_dir), "--plain", "--", "--recorder.checkpoint", "false"])


def recorded(runs, workload):
    """Results by submission and value of what was swept."""
    found = defaultdict(lambda: defaultdict(list))
    for path in sorted(runs.rglob(f"{workload}/*/{TRIAL_FILE}")):
        result = TrialResult.read(path.parent)
        if result.status.final:
            value = result.hyperparameters[swept(result.submission).partition("=")[0]]
            found[result.submission][value].append(result)
    return found


def steps(results):
    """Steps to the target of each seed, ascending; infinite where it was missed."""
    return sorted(inf if each.step_to_target is None else each.step_to_target for each in results)


def in_words(number):
    return f"{number:,.0f}" if isfinite(number) else "missed"


def goodness(results):
    """What the best value is chosen by, smaller is better: median steps, then the median of the best validation."""
    sign = 1 if results[0].direction == "min" else -1
    return statistics.median_high(steps(results)), sign * statistics.median(result.best for result in results)


def rows(workload, runs):
    """A row for each submission: median steps of the other seeds, to sort by, and its text."""
    again = recorded(runs / "again", workload)
    for name, by_value in recorded(runs / "sweep", workload).items():
        what, _, centre = swept(name).partition("=")
        default = float(centre) if centre else get_submission(name)().hyperparameters[what]
        best = min(by_value, key=lambda value: goodness(by_value[value]))
        least = goodness(by_value[best])[0]
        good = [value for value, each in by_value.items() if isfinite(least) and goodness(each)[0] <= 1.25 * least]
        low, middle, high = steps(again[name][best]) if len(again[name][best]) == 3 else (nan, nan, nan)
        at_default = in_words(goodness(by_value[default])[0])
        others = "not run" if isnan(middle) else f"{in_words(middle)} ({in_words(low)} to {in_words(high)})"
        cells = (f"`{name}`", f"{default:.2g}", at_default, f"{best:.2g}", in_words(least), others)
        yield middle, f"| {' | '.join(cells)} | {len(good)} of {len(by_value)} |"


def table(workload, runs):
    print(f"\n{workload}\n\n| submission | default | steps | best | steps | other seeds | octaves within 1.25 |")
    print("|---|---|---|---|---|---|---|")
    for _, row in sorted(rows(workload, runs)):
        print(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--workloads", nargs="+", default=["mnist_tiny", "imagenet_resnet_tiny"])
    baselines = [name for name in plugins(SUBMISSIONS) if not name.startswith("valley_") and name not in WITHOUT]
    parser.add_argument("--submissions", nargs="+", default=baselines)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--table", action="store_true", help="only print what is recorded")
    options = parser.parse_args()
    for workload in options.workloads:
        if not options.table:
            sweep(workload, options)
            confirm(workload, options)
        table(workload, options.runs)


if __name__ == "__main__":
    main()
