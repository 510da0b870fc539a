"""Runs of the boards' submissions on the small suite, in one compact table.

    python tests/benchmarks/small_suite_runs.py OUTPUT --data-dir D [--entries shampoo_submission lion ...]
        [--table docs/small_suite/runs.csv.gz] [--jobs 2] [--studies 3] [--list]

An entry has the name of a submission on a board, so that ``algoperf agreement`` finds it. Entries of the v0.5 board run
under the external ruleset with their official search spaces: five trials in each study, the whole list of five points
or points drawn from ranges. Entries of the v1.0 board run under the self-tuning ruleset at their official points. One
thing is changed: Shampoo and CASPR refresh their preconditioners a twentieth as many steps apart, because these
intervals are absolute numbers of steps, for runs a hundred times longer.

Each entry is one ``algoperf tune`` with its records in OUTPUT/ENTRY, which resumes when it is repeated. After each, the
table has its trials too. Workloads with all studies in the table are not run again, so that OUTPUT can be removed.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import yaml

from algoperf_lightning.scoring import Runs, read_runs, write_compact
from algoperf_lightning.spec import TRIALS
from algoperf_lightning.tuning.suites import get_suite

CONFIGS = Path(str(files("algoperf_lightning.configs")))
TABLE = Path(__file__).parents[2] / "docs" / "small_suite" / "runs.csv.gz"

EXTERNAL = {
    "shampoo_submission": ("shampoo", "shampoo"),
    "schedule_free_adamw": ("schedule_free_adamw", "schedule_free_adamw_v1"),
    "generalized_adam": ("generalized_adam", "generalized_adam"),
    "cyclic_lr": ("cyclic_lr", "cyclic_lr"),
    "nadamp": ("nadamp", "nadamp"),
    "baseline": ("nadamw", "nadamw_full_budget"),
    "amos": ("amos", "amos"),
    "caspr_adaptive": ("caspr_adaptive", "caspr_adaptive"),
    "lawa_queue": ("lawa_queue", "lawa_queue"),
    "lawa_ema": ("lawa_ema", "lawa_ema"),
    "schedule_free_prodigy": ("schedule_free_prodigy", "schedule_free_prodigy"),
}
"""Submission and packaged search space of the entries of the v0.5 board."""
SELF_TUNING = {
    "schedule_free_adamw_v2": "schedule_free_adamw_self_tuning",
    "ademamix": "ademamix",
    "nadamw_baselinev05": "nadamw_self_tuning",
    "muon_torch": "muon",
    "nadamw": "nadamw_self_tuning_v10",
    "cautious_nadamw": "cautious_nadamw",
    "muon": "muon_jax",
    "lion": "lion",
    "nadamw_resnet": "nadamw_resnet_self_tuning_v10",
}
"""Packaged configs with the points of the entries of the v1.0 board."""
CHANGED = {
    "shampoo_submission": {"precondition_frequency": 5},
    "caspr_adaptive": {"precondition_frequency": 1, "preconditioning_start": 5},
}


def command(entry, workloads, options):
    """The arguments of ``algoperf tune`` for an entry."""
    folder = options.output / entry
    folder.mkdir(parents=True, exist_ok=True)
    if entry in EXTERNAL:
        name, space = EXTERNAL[entry]
        points = json.loads((CONFIGS / "search_spaces" / f"{space}.json").read_text(encoding="utf-8"))
        changed = CHANGED.get(entry, {})
        points = [{**point, **changed} for point in points] if isinstance(points, list) else {**points, **changed}
        file = folder / "points.json"
        rules = ["--search-space", str(file), "--trials", str(TRIALS["external"]), "--stop-hopeless"]
        rest = []
    else:
        config = yaml.safe_load((CONFIGS / "submissions" / f"{SELF_TUNING[entry]}.yaml").read_text(encoding="utf-8"))
        name = config["submission"]["class_path"]
        points = config["submission"].get("init_args", {})
        file = folder / "point.json"
        rules, rest = ["--ruleset", "self-tuning"], (["--", "--hparams", str(file)] if points else [])
    file.write_text(json.dumps(points, indent=2), encoding="utf-8")
    return [
        *("tune", *workloads, "--suite", "small", "--submission", name, "--studies", str(options.studies), *rules),
        *("--data-dir", str(options.data_dir), "--output", str(folder / "runs"), "--plain"),
        *("--option", f"jobs={options.jobs}", *rest),
    ]


def missing(entry, table, studies):
    """The workloads on which the table does not have all studies of an entry."""
    found = Counter({(trial.workload, trial.study) for trial in table.trials if trial.submission == entry})
    counts = Counter(workload for workload, _ in found)
    return [name for name in get_suite("small", "1.0").workloads.values() if counts[name] < studies]


def add(entry, table, folder):
    """The trials of the table with those in a folder, in the name of the entry."""
    new = [dataclasses.replace(trial, submission=entry) for trial in read_runs([folder]).trials]
    again = {(trial.workload, trial.study) for trial in new}
    kept = [trial for trial in table.trials if trial.submission != entry or (trial.workload, trial.study) not in again]
    return Runs(kept + new)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--entries", nargs="+", default=[*EXTERNAL, *SELF_TUNING], metavar="NAME")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--studies", type=int, default=3)
    parser.add_argument("--list", action="store_true", help="show what is missing, and run nothing")
    options = parser.parse_args()
    table = read_runs([options.table]) if options.table.exists() else Runs()
    for entry in options.entries:
        workloads = missing(entry, table, options.studies)
        print(f"{entry}: {', '.join(workloads) or 'complete'}", flush=True)
        if options.list or not workloads:
            continue
        arguments = command(entry, workloads, options)
        done = subprocess.run([sys.executable, "-m", "algoperf_lightning", *arguments])
        if (options.output / entry / "runs").exists():
            table = add(entry, table, options.output / entry / "runs")
            options.table.parent.mkdir(parents=True, exist_ok=True)
            write_compact(table, options.table)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
