"""Choice of the benchmark of runs, if the user does not name it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import (
    Benchmark,
    ScoredWorkload,
    get_benchmark,
    get_small_suite,
    get_tiny_suite,
    official_workloads,
    small_workloads,
    tiny_workloads,
)
from algoperf_lightning.scoring.custom import read_benchmark
from algoperf_lightning.scoring.measure import one_unit
from algoperf_lightning.scoring.reference import split_by_board
from algoperf_lightning.scoring.runs import Runs, Trial, counted, present, some_of
from algoperf_lightning.spec import BENCHMARK_VERSIONS, TRIALS
from algoperf_lightning.utilities.inputs import nearest_or_raise


def choose_benchmark(
    runs: Runs, version: str | None = None, ruleset: str | None = None, file: str | Path | None = None
) -> Benchmark:
    """Return the benchmark with which to score runs; assumptions are added to the findings of ``runs``.

    A given version or ruleset also selects runs: if some runs name it and others name another, the others are removed
    from ``runs``, because leaderboards of different versions or rulesets must not be combined.

    A version or ruleset that is not given is that of the runs, if all runs that name one agree. If no run names one
    (official logs without ``flags_0.json`` and ``meta_data_0.json``), held-out workloads imply version 0.5,
    ``finewebedu_lm`` implies 1.0, and otherwise it is 0.6; studies with more than one trial imply the external ruleset.
    Runs of this library on exactly the workloads of the tiny or the small suite are scored with the suite's numbers;
    those on workloads of no official version with the targets and budgets in their own records. Budgets are in the unit
    of the runs, seconds or steps.

    With a board, it is the board's benchmark. Own runs of another version or ruleset are then removed only if there are
    some of the board's; otherwise they are kept, and scoring notes it.

    Raises:
        BadInputError: If runs disagree on a version or ruleset that is not given, some count seconds and others steps,
            or the file is invalid.
    """
    if file is not None:
        if version is not None or ruleset is not None:
            raise BadInputError("A --benchmark file sets version and ruleset. Leave out --version and --ruleset.")
        return read_benchmark(file)
    own, boards = split_by_board(runs)
    if boards:
        return _of_board(runs, own, boards, version, ruleset)
    _select(runs, "version", version)
    if ruleset is not None:
        nearest_or_raise("ruleset", ruleset, TRIALS)
    _select(runs, "ruleset", ruleset)
    found = {trial.workload for trial in runs.trials}
    unofficial = version is None and not any(found & official_workloads(each) for each in BENCHMARK_VERSIONS)
    recorded = [trial for trial in runs.trials if trial.seconds.size]  # after a crash there may be no record
    if unofficial and recorded and all(_says_its_rules(trial) for trial in recorded):
        ruleset = ruleset or _agreed(runs, "ruleset", [trial.ruleset for trial in runs.trials]) or "external"
        return _suite(runs, found, ruleset) or _from_records(runs, ruleset)
    if version is None:
        version = _agreed(runs, "version", [trial.version for trial in runs.trials]) or _guess_version(runs, found)
    if ruleset is None:
        ruleset = _agreed(runs, "ruleset", [trial.ruleset for trial in runs.trials]) or _guess_ruleset(runs)
    known = official_workloads(version)
    return get_benchmark(version, ruleset, one_unit(trial for trial in runs.trials if trial.workload in known))


def _of_board(runs: Runs, own: list[Trial], boards: list[Trial], version: str | None, ruleset: str | None) -> Benchmark:
    reference = Runs(boards, runs.findings)
    benchmark = choose_benchmark(reference, version, ruleset)
    mine = Runs(own, runs.findings)
    _select(mine, "version", benchmark.version)
    _select(mine, "ruleset", benchmark.ruleset)
    runs.trials = mine.trials + reference.trials
    return benchmark


def _select(runs: Runs, what: str, wanted: str | None) -> None:
    others = [trial for trial in runs.trials if getattr(trial, what) not in (None, wanted)]
    if wanted is None or not any(getattr(trial, what) == wanted for trial in runs.trials) or not others:
        return
    runs.trials = [trial for trial in runs.trials if getattr(trial, what) in (None, wanted)]
    rest = ", ".join(present(getattr(trial, what) for trial in others))
    left_out = f"Left out: {counted(len(others), 'trial')} of {what} {rest}; the others are of {what} {wanted}."
    runs.note(f"other {what}", left_out)


def _agreed(runs: Runs, what: str, values: Sequence[str | None]) -> str | None:
    known = present(values)
    if len(known) > 1:
        raise BadInputError(f"The runs disagree on the {what}: {', '.join(known)}. Choose one with --{what}.")
    if known:
        runs.note("assumed", f"The {what} is {known[0]}, as recorded in the runs.", strict=False)
    return known[0] if known else None


def _guess_version(runs: Runs, found: set[str]) -> str:
    workloads = {version: official_workloads(version) for version in BENCHMARK_VERSIONS}
    plain = min(workloads, key=lambda version: len(workloads[version]))  # its workloads are in all the others
    special = [version for version in workloads if found & (workloads[version] - workloads[plain])]
    if special:
        version = special[0]
        reason = f"only it has {', '.join(sorted(found & (workloads[version] - workloads[plain])))}"
    else:
        version, reason = plain, "it is not in the logs, which contain nothing that is specific to another version"
    runs.note("assumed", f"The version is {version}: {reason}. Choose another with --version.", strict=False)
    return version


def _guess_ruleset(runs: Runs) -> str:
    _, most = _fullest(runs)
    ruleset = "external" if most > 1 else "self-tuning"
    message = f"The ruleset is {ruleset}: studies have up to {counted(most, 'trial')}. Choose another with --ruleset."
    runs.note("assumed", message, strict=False)
    return ruleset


def _suite(runs: Runs, found: set[str], ruleset: str) -> Benchmark | None:
    """Return the benchmark of the suite that consists of the workloads found; None if there is none."""
    suites = ((tiny_workloads, get_tiny_suite), (small_workloads, get_small_suite))
    get = next((get for workloads, get in suites if found == set(workloads())), None)
    if get is None:
        return None
    suite = get(ruleset, one_unit(runs.trials))
    message = f"The benchmark is the {suite.name}, with the largest number of studies and trials on any workload."
    runs.note("assumed", message, strict=False)
    studies, trials = _fullest(runs)
    return dataclasses.replace(suite, studies=studies, trials=trials)


def _fullest(runs: Runs) -> tuple[int, int]:
    """Return the maximum number of studies of a workload, and of trials of a study."""
    trials = Counter(trial.key[:3] for trial in runs.trials)
    studies = Counter(key[:2] for key in trials)
    return max(studies.values(), default=1), max(trials.values(), default=1)


def _from_records(runs: Runs, ruleset: str) -> Benchmark:
    """Return a benchmark of the existing workloads, with the targets and budgets of their records."""
    workloads: dict[str, ScoredWorkload] = {}
    unit = one_unit(runs.trials)
    _check_targets(runs)
    for trial in filter(_says_its_rules, runs.trials):
        workload = _recorded(trial)
        first = workloads.setdefault(trial.workload, workload)
        if first != workload:
            raise BadInputError(
                f"The runs on {trial.workload} had different rules: {_rules(first)} and {_rules(workload)} {unit} "
                f"({trial.source}). Define the rules with --benchmark FILE.yaml."
            )
    studies, trials = _fullest(runs)
    runs.note(
        "assumed",
        f"The benchmark is the workloads found ({', '.join(sorted(workloads))}), with the targets and budgets of the "
        "runs' own records, and the largest number of studies and trials on any of them.",
        strict=False,
    )
    return Benchmark(
        name="workloads of the runs",
        version=" and ".join(present(trial.version for trial in runs.trials)),
        ruleset=ruleset,
        studies=studies,
        trials=trials,
        budget_factor=1.0,  # a record's budget is the ruleset's
        base=tuple(workloads[name] for name in sorted(workloads)),
        unit=unit,
    )


def _check_targets(runs: Runs) -> None:
    without = [trial for trial in runs.trials if _says_its_rules(trial) and trial.record["validation_target"] is None]
    if without:
        raise BadInputError(
            f"The runs on {some_of(trial.workload for trial in without)} have no validation target, so there is no "
            f"time to it that could be scored; the first is {without[0].source}. Compare what they reached at the end "
            "of their budgets with `algoperf final RUNS` (after `algoperf tune --suite crowded-valley`), or give "
            "targets with --benchmark FILE.yaml."
        )


_RULES = ("metric", "direction", "validation_target", "test_target", "budget")


def _says_its_rules(trial: Trial) -> bool:
    """Return whether a trial's record contains everything about its workload that scoring needs."""
    return trial.record.keys() >= set(_RULES)


def _recorded(trial: Trial) -> ScoredWorkload:
    names = _RULES[:-1]
    budget = float(f"{trial.record['budget'] / trial.scale:.12g}")  # without its scale
    try:
        return ScoredWorkload(name=trial.workload, budget=budget, **{name: trial.record[name] for name in names})
    except BadInputError as error:
        raise BadInputError(f"{trial.source}: {error}") from error


def _rules(workload: ScoredWorkload) -> str:
    return f"{workload.metric} to {workload.validation_target:g} in {workload.budget:g}"
