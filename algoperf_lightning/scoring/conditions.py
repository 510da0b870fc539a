"""Conditions of official logs: ``flags_N.json``, ``meta_data_N.json``, ``hparams.json``.

The official harness writes one flat JSON object into each, the first two again at each start of a trial: ``N`` counts
preemptions, and the last start counts. ``flags_N.json`` contains the command line (``tuning_ruleset`` is ``external``
or ``self``), ``meta_data_N.json`` the workload's constants (``workload.max_allowed_runtime_sec`` is always that of the
external ruleset), the machine (``gpu_model_name``, ``gpu_count``) and the commit. No file names the benchmark's
version; it follows from the budget, unless two versions have the same.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import to_plain
from algoperf_lightning.registry import find_workload
from algoperf_lightning.scoring.benchmarks import get_benchmark
from algoperf_lightning.scoring.official_starts import describe_resumes, read_object, read_starts
from algoperf_lightning.scoring.runs import Runs, Trial, counted, some_of
from algoperf_lightning.spec import BENCHMARK_VERSIONS

FLAGS_FILE, META_FILE, POINT_FILE = "flags_0.json", "meta_data_0.json", "hparams.json"
OWN_RECORD = "algoperf_lightning.record"
"""Key of ``meta_data_0.json`` under which our writer stores the record of a run of this library."""

_RULESETS = {"external": "external", "self": "self-tuning"}
_FACTORED = "workload.max_allowed_runtime_sec"


@dataclass
class Conditions:
    """Conditions in the files of one trial; empty if there are none."""

    ruleset: str | None = None
    versions: tuple[str, ...] = ()
    """Versions with its budget; none if it had another one, or the budget is unknown."""
    budget: float | None = None
    """Budget of the external ruleset in seconds."""
    record: dict[str, Any] = field(default_factory=dict)
    """Known fields, by the names of ``trial.json``; complete for an exported run of this library."""
    own: bool = False
    """Whether it is a run of this library."""
    changes: str = ""
    """Descriptions of what changed when the trial was resumed."""


def read_conditions(folder: str, workload: str, framework: str, runs: Runs) -> Conditions:
    """Read the conditions in a trial's folder; unreadable files are noted, and their content is unknown.

    Args:
        folder: The trial's folder.
        workload: Workload in the name of the parent folder.
        framework: Framework in the name of the parent folder.
        runs: Receives the findings.
    """
    starts = read_starts(folder, runs)
    point = read_object(f"{folder}/{POINT_FILE}", runs)
    flags, meta = starts[-1]
    own = meta.get(OWN_RECORD)
    if isinstance(own, dict):
        return Conditions(ruleset=own.get("ruleset"), record=own, own=True)
    for name, value in (("workload", workload), ("framework", framework)):
        if flags.get(name, value) != value:
            runs.note("mislabelled", f"{folder} has {name} {flags[name]} in its flags, but counts as {value}.")
    ruleset = _RULESETS.get(str(flags.get("tuning_ruleset")))
    budget = _number(meta, _FACTORED)
    versions = () if budget is None else versions_of(workload, budget)
    record: dict[str, Any] = {
        "metric": meta.get("workload.target_metric_name"),
        "validation_target": _number(meta, "workload.validation_target_value"),
        "test_target": _number(meta, "workload.test_target_value"),
        "eval_period": _number(meta, "workload.eval_period_time_sec"),
        "step_hint": _number(meta, "workload.step_hint"),
        "environment": _environment(flags, meta, framework),
    }
    if point or ruleset == "self-tuning":  # only together with the point, a seed identifies repeated trials
        record |= {"hyperparameters": point, "seed": starts[0][1].get("rng_seed")}
    known = {name: value for name, value in record.items() if value is not None and value != {}}
    if point:
        known["hyperparameters"] = point
    changes = describe_resumes([(_environment(*start, framework), _settings(*start)) for start in starts])
    return Conditions(ruleset, versions, budget, known, changes=changes)


def _settings(flags: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ruleset": _RULESETS.get(str(flags.get("tuning_ruleset"))),
        "budget": _number(meta, _FACTORED),
        "validation target": _number(meta, "workload.validation_target_value"),
    }


def settle_versions(found: Sequence[tuple[str, Conditions]]) -> list[str | None]:
    """Return the version of each trial; if two versions share its budget, that of the submission's other logs.

    Args:
        found: The folder of each trial's submission, and its conditions.
    """
    of_folder: dict[str, set[str]] = {}
    for folder, conditions in found:
        if len(conditions.versions) == 1:
            of_folder.setdefault(folder, set()).add(conditions.versions[0])
    everywhere = set().union(*of_folder.values()) if of_folder else set()
    settled: list[str | None] = []
    for folder, conditions in found:
        possible = set(conditions.versions)
        choices = (possible, possible & of_folder.get(folder, set()), possible & everywhere)
        settled.append(next((min(choice) for choice in choices if len(choice) == 1), None))
    return settled


def note_unknown_budgets(trials: Sequence[Trial], found: Sequence[Conditions], runs: Runs) -> None:
    """Note the trials on workloads of the benchmark whose budget belongs to none of its versions."""
    others: dict[tuple[str, float], list[Trial]] = {}
    for trial, conditions in zip(trials, found, strict=True):
        official = any(_base_of(trial.workload) in budgets for budgets in _budgets().values())
        if official and conditions.budget is not None and not conditions.versions:
            others.setdefault((trial.workload, conditions.budget), []).append(trial)
    for (workload, budget), group in sorted(others.items()):
        runs.note(
            "other budget",
            f"{counted(len(group), 'trial')} of {some_of(trial.submission for trial in group)} on {workload} had a "
            f"budget of {budget:g} s, which no version of the benchmark has (the first: {group[0].source}).",
            about=[trial.key[:2] for trial in group],
        )


def note_changes(trials: Sequence[Trial], found: Sequence[Conditions], runs: Runs) -> None:
    """Note the trials that were resumed under other conditions, once for the same changes."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial, conditions in zip(trials, found, strict=True):
        if conditions.changes:
            groups.setdefault((trial.submission, conditions.changes), []).append(trial)
    for (submission, changes), group in sorted(groups.items()):
        runs.note(
            "changed conditions",
            f"{counted(len(group), 'trial')} of {submission} resumed under other conditions: {changes} (the first: "
            f"{group[0].source}).",
            about=[trial.key[:2] for trial in group],
        )


def ruleset_budget(conditions: Conditions, version: str | None) -> float | None:
    """Return the budget of a trial under its ruleset, in seconds; None if it is unknown."""
    if conditions.budget is None or conditions.ruleset is None:
        return None
    if conditions.ruleset == "external":
        return conditions.budget
    factors = {BENCHMARK_VERSIONS[each].self_tuning_factor for each in ([version] if version else conditions.versions)}
    return conditions.budget * min(factors) if len(factors) == 1 else None


def versions_of(workload: str, budget: float) -> tuple[str, ...]:
    """Return the versions in which a workload or variant has this external budget in seconds.

    Example:
        >>> versions_of("ogbg", 11_303), versions_of("ogbg_model_size", 18_477), versions_of("criteo1tb", 7703)
        (('1.0',), ('0.5',), ('0.5', '0.6'))
    """
    return tuple(version for version, budgets in _budgets().items() if budgets.get(_base_of(workload)) == budget)


def write_conditions(folder: Path, trial: Trial, framework: str) -> None:
    """Write the known conditions of a trial in the format of the official harness.

    The official keys contain the values of the benchmark's own machine: the budget is neither scaled nor multiplied by
    the ruleset's factor. The complete record of a run of this library is stored under a separate key.

    Raises:
        OSError: If a file cannot be written.
    """
    record = dict(trial.record)
    environment = record.get("environment") or {}
    flags: dict[str, Any] = {"workload": trial.workload, "framework": framework}
    if trial.ruleset is not None:
        flags["tuning_ruleset"] = next(
            (key for key, value in _RULESETS.items() if value == trial.ruleset), trial.ruleset
        )
    if "compile" in environment:
        flags["torch_compile"] = bool(environment["compile"])
    if "seed" in record:
        flags["rng_seed"] = record["seed"]
    _write(folder / FLAGS_FILE, flags)
    if "hyperparameters" in record:
        _write(folder / POINT_FILE, record["hyperparameters"])
    _write(folder / META_FILE, _meta(trial, record, environment))


def _meta(trial: Trial, record: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = {
        _FACTORED: _external_budget(trial),
        "workload.eval_period_time_sec": _plain(record.get("eval_period"), trial.scale),
        "workload.step_hint": record.get("step_hint", _step_hint(trial)),
        "workload.target_metric_name": record.get("metric"),
        "workload.validation_target_value": record.get("validation_target"),
        "workload.test_target_value": record.get("test_target"),
        "os_platform": environment.get("os"),
        "python_version": environment.get("python"),
        "git_commit_hash": environment.get("commit"),
        "cpu_model_name": environment.get("cpu"),
        "cpu_count": environment.get("cpu_count"),
        "rng_seed": record.get("seed"),
    }
    gpus = environment.get("gpus") or []
    if gpus and environment.get("accelerator") != "cpu":
        meta |= {"gpu_model_name": gpus[0], "gpu_count": environment.get("ranks", len(gpus))}
    meta = {name: value for name, value in meta.items() if value is not None}
    if {"direction", "ruleset", "version"} <= record.keys():
        meta[OWN_RECORD] = {name: value for name, value in record.items() if name != "wall_seconds"}
    return meta


def _environment(flags: Mapping[str, Any], meta: Mapping[str, Any], framework: str) -> dict[str, Any]:
    """Return the machine and the software by the names of our own records."""
    name, number = meta.get("gpu_model_name"), meta.get("gpu_count")
    gpus = [str(name)] * number if name and isinstance(number, int) else []
    environment = {
        "accelerator": "cuda" if gpus else "cpu" if "cpu_model_name" in meta else None,
        "gpus": gpus or None,
        "ranks": len(gpus) or (1 if "cpu_model_name" in meta else None),
        "cpu": meta.get("cpu_model_name"),
        "cpu_count": meta.get("cpu_count"),
        "os": meta.get("os_platform"),
        "python": meta.get("python_version"),
        "commit": meta.get("git_commit_hash"),
        "compile": flags.get("torch_compile") if framework == "pytorch" else None,
    }
    return {key: value for key, value in environment.items() if value is not None}


def _external_budget(trial: Trial) -> float | None:
    version = str(trial.version)
    if "budget" not in trial.record:
        return _budgets().get(version, {}).get(_base_of(trial.workload))
    if trial.ruleset != "self-tuning":
        return _plain(trial.record["budget"], trial.scale)
    if version not in BENCHMARK_VERSIONS:
        return None
    return _plain(trial.record["budget"], BENCHMARK_VERSIONS[version].self_tuning_factor * trial.scale)


def _step_hint(trial: Trial) -> int | None:
    with suppress(BadInputError):
        return find_workload(trial.workload, trial.version or "").step_hint
    return None


def _plain(value: Any, divisor: float) -> int | float | None:
    """Return a number before its multiplication; integers are returned as int."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    number = float(f"{value / divisor:.12g}")
    return int(number) if number.is_integer() else number


def _number(meta: Mapping[str, Any], name: str) -> float | None:
    value = meta.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(to_plain(content), indent=2) + "\n", encoding="utf-8")


@functools.cache
def _budgets() -> Mapping[str, Mapping[str, float]]:
    """Return external budgets in seconds by version and base workload."""
    return {
        version: {each.name: each.budget for each in get_benchmark(version, "external").base}
        for version in BENCHMARK_VERSIONS
    }


def _base_of(workload: str) -> str:
    names = sorted(set().union(*_budgets().values()), key=len, reverse=True)
    return next((name for name in names if f"{workload}_".startswith(f"{name}_")), workload)
