"""Checks for questionable comparisons: missing trials, different hardware, different rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import COARSE
from algoperf_lightning.scoring.benchmarks import Benchmark
from algoperf_lightning.scoring.cells import COUNTS, Cells
from algoperf_lightning.scoring.measure import Measure, resolved
from algoperf_lightning.scoring.own_runs import describe_compilation, describe_hardware, describe_precision
from algoperf_lightning.scoring.runs import Finding, Runs, Trial, counted, some_of
from algoperf_lightning.scoring.table import TrialTable
from algoperf_lightning.spec import BENCHMARK_VERSIONS, TRIALS

_SHOWN = 5


def check_complete(table: TrialTable, runs: Runs) -> None:
    """Note submissions without the studies and trials that the benchmark requires."""
    benchmark = table.benchmark
    found = (~np.isnan(table.times)).sum(axis=-1)  # (S, W, K) trials that left a log
    for row, submission in enumerate(table.submissions):
        for column, workload in enumerate(benchmark.workloads):
            counts = found[row, column][found[row, column] > 0]
            if len(counts) == benchmark.studies and (counts == benchmark.trials).all():
                continue
            if not len(counts):
                runs.note("incomplete", f"{submission} on {workload.name}: no log.")
                continue
            each = ", ".join(map(str, counts))
            runs.note(
                "incomplete",
                f"{submission} on {workload.name}: expected {counted(benchmark.studies, 'study')} of "
                f"{counted(benchmark.trials, 'trial')}, but got {counted(len(counts), 'study')} of {each}; the median "
                "is over the existing studies.",
            )


def check_comparable(table: TrialTable, runs: Runs) -> None:
    """Note comparisons of runs with different versions, rulesets, hardware or rules."""
    benchmark, trials = table.benchmark, list(table.trials.values())
    _note_mixed(runs, "version", trials, {id(t): t.version for t in trials}, benchmark.version)
    _note_mixed(runs, "ruleset", trials, {id(t): t.ruleset for t in trials}, benchmark.ruleset)
    hardware: dict[int, str | None] = {}
    torch: dict[int, str | None] = {}
    for trial in trials:
        environment = trial.record.get("environment") or {}
        hardware[id(trial)] = describe_hardware(environment)
        torch[id(trial)] = (environment.get("packages") or {}).get("torch")
    if benchmark.unit == "seconds":
        _note_mixed(runs, "hardware", trials, hardware)
        _note_mixed_on_a_workload(runs, "compilation", trials, describe_compilation)
    _note_mixed_on_a_workload(runs, "precision", trials, describe_precision)
    _note_mixed(runs, "torch", trials, torch)
    _note_tiny_data(trials, runs)
    _note_notes(trials, runs)
    _note_same_seeds(trials, runs)
    _note_other_rules(table, runs)


def _note_mixed_on_a_workload(
    runs: Runs, what: str, trials: Sequence[Trial], describe: Callable[[Mapping[str, Any]], str | None]
) -> None:
    """Note workloads whose runs differ; settings may differ between workloads, as AlgoPerf compiles only some."""
    groups: dict[str, dict[str, set[str]]] = {}
    for trial in trials:
        value = describe(trial.record.get("environment") or {})
        if value is not None:
            groups.setdefault(trial.workload, {}).setdefault(value, set()).add(trial.submission)
    # The same mixture on several workloads is one finding.
    mixed: dict[str, list[str]] = {}
    for workload, group in sorted(groups.items()):
        if len(group) > 1:
            rows = "; ".join(f"{value}: {some_of(names)}" for value, names in sorted(group.items()))
            mixed.setdefault(rows, []).append(workload)
    for rows, workloads in mixed.items():
        where = some_of(workloads)
        runs.note(f"mixed {what}", f"Results on {where} are not comparable, because the {what} differs: {rows}.")


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, float) and isinstance(wanted, float):
        return math.isclose(value, wanted, rel_tol=1e-9)  # ImageNet's targets are also written as 1 - an error rate
    return bool(value == wanted)


def _note_other_rules(table: TrialTable, runs: Runs) -> None:
    """Note runs whose targets or budgets differ from those with which they are scored."""
    others: dict[tuple[str, str, str, str], list[Trial]] = {}
    for place, trial in table.trials.items():
        workload = table.benchmark.workloads[place[1]]
        for name in ("metric", "direction", "validation_target"):
            value, wanted = trial.record.get(name), getattr(workload, name)
            if name in trial.record and not _equal(value, wanted):
                others.setdefault((name, workload.name, str(value), str(wanted)), []).append(trial)
        budget = table.benchmark.budget(workload)
        if "budget" in trial.record and not math.isclose(trial.budget, budget):  # scaled and scaled back
            others.setdefault(("budget", workload.name, f"{trial.budget:g}", f"{budget:g}"), []).append(trial)
    for (name, where, value, wanted), trials in others.items():
        runs.note(
            f"other {name.replace('_', ' ')}",
            f"{counted(len(trials), 'trial')} of {some_of(trial.submission for trial in trials)} on {where}: run with "
            f"{value}, and scored with {wanted} (the first: {trials[0].source}).",
        )


def _note_tiny_data(trials: Sequence[Trial], runs: Runs) -> None:
    tiny = [trial for trial in trials if trial.record.get("tiny_data")]
    # At tiny size this is expected, and the name shows it.
    names = {f"{trial.submission} on {trial.workload}" for trial in tiny if not trial.workload.endswith("_tiny")}
    if names:
        runs.note("tiny data", f"Runs on generated data, whose results do not apply to a benchmark: {some_of(names)}.")


def _note_notes(trials: Sequence[Trial], runs: Runs) -> None:
    """Report what the records note about their runs, such as parameters that were not trained."""
    noted: dict[str, list[Trial]] = {}
    for trial in trials:
        for note in trial.record.get("notes") or ():
            noted.setdefault(str(note), []).append(trial)
    for note, those in noted.items():
        where = some_of(trial.workload for trial in those)
        runs.note("noted in records", f"{counted(len(those), 'trial')} on {where}: {note}", strict=False)


def _note_same_seeds(trials: Sequence[Trial], runs: Runs) -> None:
    """Note trials that repeat each other: their variation is that of the machine, not of training."""
    seen: dict[tuple[str, str, str, str], Trial] = {}
    for trial in trials:
        if "seed" not in trial.record:
            continue
        made = (str(trial.record["seed"]), repr(trial.record.get("hyperparameters")))
        first = seen.setdefault((trial.submission, trial.workload, *made), trial)
        if first is not trial:
            runs.note("same seed", f"{trial.label} has the seed and the hyperparameters of {first.label}.")


def _note_mixed(
    runs: Runs, what: str, trials: Sequence[Trial], values: dict[int, str | None], expected: str | None = None
) -> None:
    groups: dict[str, set[str]] = {}
    for trial in trials:
        value = values[id(trial)]
        if value is not None:
            groups.setdefault(value, set()).add(trial.submission)
    official = expected in (*BENCHMARK_VERSIONS, *TRIALS)
    if len(groups) > 1:
        rows = "; ".join(f"{value}: {', '.join(sorted(names))}" for value, names in sorted(groups.items()))
        runs.note(f"mixed {what}", f"Results are not comparable where the {what} differs: {rows}.")
    elif official and groups and expected not in groups:
        runs.note(
            f"other {what}", f"The runs were made with {what} {next(iter(groups))}, and are scored with {expected}."
        )


def check_times(cells: Cells, benchmark: Benchmark, measure: Measure, runs: Runs) -> None:
    """Note questionable times: over budget, too coarse, from too few studies."""
    _note_over_budget(cells, benchmark, measure, runs)
    _note_coarse(cells, measure, runs)
    _note_few_studies(cells, benchmark, runs)
    _note_nothing_counts(cells, benchmark, runs)


def _note_nothing_counts(cells: Cells, benchmark: Benchmark, runs: Runs) -> None:
    """Note that all scores are 0, which would look like a ranking."""
    base = {workload.name for workload in benchmark.base}
    on_base = [cell for cell in cells.values() if cell.workload in base]
    if any(cell.reason == COUNTS for cell in on_base):
        return
    message = "No time of any submission counts on any workload, so all scores are 0 and the ranks are meaningless."
    without = {cell.workload for cell in on_base if cell.reason == "held-out no log"}
    if lost := [workload.name for workload in benchmark.held_out if workload.base in without]:
        excludes = " ".join(f"--exclude {name}" for name in lost)
        message += f" Without runs on held-out workloads, leave these out: {excludes}."
    runs.note("nothing counts", message, strict=False)


def _note_over_budget(cells: Cells, benchmark: Benchmark, measure: Measure, runs: Runs) -> None:
    budgets = dict(zip([workload.name for workload in benchmark.workloads], benchmark.budgets.tolist(), strict=True))
    for cell in cells.values():
        for study in cell.studies:
            estimated = study.winner is not None and (study.winner.made_in or study.winner.price)
            if study.winner is not None and not estimated and study.used > budgets[cell.workload]:
                runs.note(
                    "over budget",
                    f"{study.winner.label} reached its target at {study.used:g} {measure.unit}, after the budget of "
                    f"{budgets[cell.workload]:g}. It counts: budgets are enforced when a run is made, not here.",
                    strict=False,
                )


def _note_coarse(cells: Cells, measure: Measure, runs: Runs) -> None:
    """Note times that are not much longer than the interval between evaluations."""
    coarse = [cell for cell in cells.values() if cell.resolution > COARSE * cell.used]
    if coarse:
        times = some_of(f"{c.submission} on {c.workload} {resolved(c.used, c.resolution)}" for c in coarse)
        runs.note(
            "coarse",
            f"The target was reached within the first evaluations, so the times are coarse: {times} {measure.unit} "
            "(after the minus sign: the interval since the previous evaluation). Evaluate more often.",
        )


def _note_few_studies(cells: Cells, benchmark: Benchmark, runs: Runs) -> None:
    """Note the times that would be missed targets if studies without a log counted as missed."""
    needed = benchmark.studies // 2 + 1
    few: dict[str, list[str]] = {}
    for cell in cells.values():
        reached = sum(np.isfinite(study.used) for study in cell.studies)
        if np.isfinite(cell.used) and reached < needed:
            few.setdefault(cell.submission, []).append(f"{cell.workload} ({reached})")
    for submission, workloads in few.items():
        runs.note(
            "few studies",
            f"{submission} has a time where no more than half of {counted(benchmark.studies, 'study')} reached the "
            f"target: {some_of(workloads)}. As in the published scores, the median is over the studies with a log.",
        )


def refuse_if_strict(findings: Sequence[Finding], strict: bool) -> None:
    """Raise if ``strict`` is set and there is a finding that may affect a score.

    Raises:
        BadInputError: Naming the first few findings.
    """
    grave = [finding for finding in findings if finding.strict]
    if strict and grave:
        shown = "".join(f"\n  {finding.kind}: {finding.message}" for finding in grave[:_SHOWN])
        more = f"\n  and {len(grave) - _SHOWN} more" if len(grave) > _SHOWN else ""
        raise BadInputError(f"--strict refuses these runs, which have {counted(len(grave), 'fault')}:{shown}{more}")
