"""Which benchmark runs belong to, where nobody said it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import Benchmark, ScoredWorkload, get_benchmark, official_workloads
from algoperf_lightning.scoring.custom import read_benchmark
from algoperf_lightning.scoring.runs import Runs, Trial, present
from algoperf_lightning.spec import LATEST_VERSION


def choose_benchmark(
    runs: Runs, version: str | None = None, ruleset: str | None = None, file: str | Path | None = None
) -> Benchmark:
    """Return the benchmark to score runs by; what is assumed becomes a finding of ``runs``.

    A version or ruleset that is given also selects: where some runs say it and others say another, the others are taken
    out of ``runs``, for leaderboards of different versions or rulesets are never one.

    What is not given is taken from the runs where all that say it agree. Official logs say neither version nor
    ruleset: held-out workloads are those of 0.5, ``finewebedu_lm`` is 1.0, else it is 0.6; studies of more than one
    trial are the external ruleset. Runs of this library on workloads that no official version has are scored by the
    targets and budgets in their own records.

    Raises:
        BadInputError: If runs disagree on the version or the ruleset and it is not given, or the file cannot be used.
    """
    if file is not None:
        if version is not None or ruleset is not None:
            raise BadInputError(
                "A --benchmark file says its own version and ruleset; leave out --version and --ruleset."
            )
        return read_benchmark(file)
    _select(runs, "version", version)
    _select(runs, "ruleset", ruleset)
    found = {trial.workload for trial in runs.trials}
    own = version is None and not any(found & official_workloads(each) for each in ("0.5", "0.6", "1.0"))
    if own and all(trial.record for trial in runs.trials):
        return _from_records(runs, ruleset or _agreed(runs, "ruleset", [trial.ruleset for trial in runs.trials]))
    if version is None:
        version = _agreed(runs, "version", [trial.version for trial in runs.trials]) or _guess_version(runs, found)
    if ruleset is None:
        ruleset = _agreed(runs, "ruleset", [trial.ruleset for trial in runs.trials]) or _guess_ruleset(runs)
    return get_benchmark(version, ruleset)


def _select(runs: Runs, what: str, wanted: str | None) -> None:
    others = [trial for trial in runs.trials if getattr(trial, what) not in (None, wanted)]
    if wanted is None or not any(getattr(trial, what) == wanted for trial in runs.trials) or not others:
        return
    runs.trials = [trial for trial in runs.trials if getattr(trial, what) in (None, wanted)]
    rest = ", ".join(present(getattr(trial, what) for trial in others))
    runs.note(f"other {what}", f"{len(others)} trials of {what} {rest} are left out: scored is {what} {wanted}.")


def _agreed(runs: Runs, what: str, values: Sequence[str | None]) -> str | None:
    known = present(values)
    if len(known) > 1:
        raise BadInputError(f"The runs disagree on the {what}: {', '.join(known)}. Choose one with --{what}.")
    if known:
        runs.note("assumed", f"The {what} is {known[0]}, as the runs say.", strict=False)
    return known[0] if known else None


def _guess_version(runs: Runs, found: set[str]) -> str:
    plain = official_workloads("0.6")
    if found & (official_workloads("0.5") - plain):
        version, reason = "0.5", "there are held-out workloads"
    elif found & (official_workloads("1.0") - plain):
        version, reason = "1.0", "there is a workload that only 1.0 has"
    else:
        version, reason = "0.6", f"the logs do not say it, and hold nothing that only 0.5 or {LATEST_VERSION} has"
    runs.note("assumed", f"The version is {version}: {reason}. Choose another with --version.", strict=False)
    return version


def _guess_ruleset(runs: Runs) -> str:
    studies: dict[tuple[str, str, str], int] = {}
    for trial in runs.trials:
        studies[trial.key[:3]] = studies.get(trial.key[:3], 0) + 1
    most = max(studies.values(), default=1)
    ruleset = "external" if most > 1 else "self-tuning"
    message = f"The ruleset is {ruleset}: studies have up to {most} trials. Choose another with --ruleset."
    runs.note("assumed", message, strict=False)
    return ruleset


def _from_records(runs: Runs, ruleset: str | None) -> Benchmark:
    """Return a benchmark of the workloads found, with the targets and budgets of their records."""
    workloads: dict[str, ScoredWorkload] = {}
    studies: dict[tuple[str, str], set[str]] = {}
    trials: dict[tuple[str, str, str], int] = {}
    for trial in runs.trials:
        workload = _recorded(trial)
        first = workloads.setdefault(trial.workload, workload)
        if first != workload:
            raise BadInputError(
                f"The runs on {trial.workload} had different rules: {_rules(first)} and {_rules(workload)} "
                f"({trial.source}). Say with --benchmark FILE.yaml which hold."
            )
        studies.setdefault(trial.key[:2], set()).add(trial.study)
        trials[trial.key[:3]] = trials.get(trial.key[:3], 0) + 1
    runs.note(
        "assumed",
        f"The benchmark is the workloads found ({', '.join(sorted(workloads))}), with the targets and budgets of the "
        "runs' own records, and as many studies and trials as the fullest has.",
        strict=False,
    )
    return Benchmark(
        name="workloads of the runs",
        version=" and ".join(present(trial.version for trial in runs.trials)),
        ruleset=ruleset or "external",
        studies=max(map(len, studies.values())),
        trials=max(trials.values()),
        budget_factor=1.0,  # a record's budget is the ruleset's
        base=tuple(workloads[name] for name in sorted(workloads)),
    )


def _recorded(trial: Trial) -> ScoredWorkload:
    names = ("metric", "direction", "validation_target", "test_target", "budget")
    return ScoredWorkload(name=trial.workload, **{name: trial.record[name] for name in names})


def _rules(workload: ScoredWorkload) -> str:
    return f"{workload.metric} to {workload.validation_target:g} in {workload.budget:g} s"
