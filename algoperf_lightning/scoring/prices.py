"""The cost of steps on another machine, from a file or from runs made there, and the resulting ranking."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import Benchmark
from algoperf_lightning.scoring.cost import Key, step_costs
from algoperf_lightning.scoring.readers import read_runs
from algoperf_lightning.scoring.runs import Runs, counted, present, some_of
from algoperf_lightning.sizes import size_of
from algoperf_lightning.utilities.inputs import check_positive
from algoperf_lightning.utilities.yaml_files import read_yaml

COLUMNS = ("submission", "workload", "seconds_per_step")


def read_prices(path: Path) -> dict[Key, float]:
    """Return seconds per step by submission and workload.

    Args:
        path: A CSV file with the columns ``submission``, ``workload`` and ``seconds_per_step`` (others are ignored), a
            YAML file with a mapping of workloads to seconds for each submission, or runs that were made on the machine,
            from whose records the costs are measured.

    Raises:
        BadInputError: If it cannot be read, a cost is not a positive number or given twice, or there is none.
    """
    if not path.exists():
        raise BadInputError(f"{path} does not exist. Give a table of step costs (.csv, .yaml), or runs made there.")
    if path.suffix in (".yaml", ".yml"):
        prices = _from_yaml(read_yaml(path), path)
    elif path.suffix == ".csv" and (rows := _rows(path)) is not None:
        prices = _from_rows(rows, path)
    else:
        prices = prices_of(read_runs([path]))
    if not prices:
        raise BadInputError(f"{path} contains no step costs.")
    return prices


def prices_of(runs: Runs) -> dict[Key, float]:
    """Return seconds per step by submission and workload, measured from runs."""
    return {key: cost.seconds for key, cost in step_costs(runs.trials).items() if math.isfinite(cost.seconds)}


def with_sizes(prices: Mapping[Key, float], runs: Runs) -> dict[Key, float]:
    """Return costs in which a smaller size of a workload (``wmt_small``) costs what its full size does.

    Only the costs of workloads in the runs that are not in ``prices`` are added. A ratio of times does not change if
    all costs of a workload have the same factor, so costs at full size weight the steps of a small run.
    """
    found = dict(prices)
    for submission, workload in {(trial.submission, trial.workload) for trial in runs.trials}:
        cost = prices.get((submission, workload.removesuffix(f"_{size_of(workload)}")))
        if cost is not None:
            found.setdefault((submission, workload), cost)
    return found


def _rows(path: Path) -> list[dict[str, str]] | None:
    """Return the rows of a table of costs; None for other tables."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            fields = reader.fieldnames or []
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} is not a CSV file: {error}.") from error
    missing = [name for name in COLUMNS if name not in fields]
    if "accumulated_submission_time" in fields:  # a table of evaluations
        return None
    if missing:
        raise BadInputError(f"{path} does not have the columns {', '.join(missing)}; expected {', '.join(COLUMNS)}.")
    return rows


def _from_rows(rows: Iterable[Mapping[str, str]], path: Path) -> dict[Key, float]:
    prices: dict[Key, float] = {}
    for line, row in enumerate(rows, start=2):
        key = (row["submission"], row["workload"])
        if key in prices:
            raise BadInputError(f"{path}, line {line}: the cost of {key[0]} on {key[1]} is given twice.")
        prices[key] = _price(row["seconds_per_step"], f"{path}, line {line}: seconds_per_step")
    return prices


def _from_yaml(content: Any, path: Path) -> dict[Key, float]:
    if not isinstance(content, dict) or not all(isinstance(each, dict) for each in content.values()):
        raise BadInputError(f"{path} must map submissions to mappings of workloads to seconds per step.")
    return {
        (str(submission), str(workload)): _price(value, f"{path}: {submission}: {workload}")
        for submission, costs in content.items()
        for workload, value in costs.items()
    }


def _price(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadInputError(f"{what} must be seconds, a positive number, but got {value!r}.") from None
    check_positive(what, number)
    return number


def priced_part(runs: Runs, benchmark: Benchmark, prices: Mapping[Key, float]) -> tuple[Runs, Benchmark]:
    """Return the runs and the part of a benchmark with known costs; findings name what is removed.

    Submissions without any cost are removed, and then workloads on which a remaining submission has runs but no cost.

    Raises:
        BadInputError: If nothing remains.
    """
    names = {workload.name for workload in benchmark.workloads}
    ran = sorted(
        {(each.submission, each.workload) for each in runs.trials if each.steps.size and each.workload in names}
    )
    with_runs = set(ran)
    priced = {key[0] for key in prices if key in with_runs}
    missing = [key for key in ran if key[0] in priced and key not in prices]
    lost = sorted({workload for _, workload in missing})
    bases = {workload.name: workload.base or workload.name for workload in benchmark.workloads}
    gone = {bases[workload] for workload in lost}
    base = tuple(workload for workload in benchmark.base if workload.name not in gone)
    if not priced or not base:
        raise BadInputError(_nothing_left(runs, prices, ran, priced, lost))
    kept = {name for name in names if bases[name] not in gone}
    trials = [each for each in runs.trials if each.submission in priced and each.workload in kept]
    part = Runs(trials, list(runs.findings))
    if left := sorted({submission for submission, _ in ran} - priced):
        part.note("no cost", f"Left out, because the cost of their steps is not known: {some_of(left)}.")
    if gone:
        part.note(
            "no cost",
            f"{some_of(gone)}: left out, because the costs of "
            f"{some_of(f'{s} on {w}' for s, w in missing)} are not known.",
        )
        held_out = tuple(each for each in benchmark.held_out if each.base not in gone)
        name = f"{some_of(each.name for each in base)} of {benchmark.name}"
        benchmark = dataclasses.replace(benchmark, name=name, base=base, held_out=held_out, part=True)
    return part, benchmark


def _nothing_left(
    runs: Runs, prices: Mapping[Key, float], ran: Sequence[Key], priced: set[str], lost: Sequence[str]
) -> str:
    if not priced:
        return (
            f"None of the costs is for a submission and workload of the runs: costs of "
            f"{some_of(f'{submission} on {workload}' for submission, workload in prices)}; runs of "
            f"{some_of(present(trial.submission for trial in runs.trials))}. Names must be the same."
        )
    missing = [f"{submission} on {workload}" for submission, workload in ran if (submission, workload) not in prices]
    return (
        f"No workload is left: each of {counted(len(lost), 'workload')} has no cost for some submission: "
        f"{some_of(missing)}. Give these, or leave submissions out with --exclude."
    )
