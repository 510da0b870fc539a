"""Run folders of this library: ``trial.json`` and ``evaluations.csv``."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.busy_machine import busy_machine
from algoperf_lightning.records.source import describe_change
from algoperf_lightning.result import DEFAULT_CLOCK, TRIAL_FILE, RecordError, Status, TrialResult, read_failures
from algoperf_lightning.rules.order import gravity
from algoperf_lightning.scoring.runs import Runs, Trial, check_record, counted
from algoperf_lightning.tuning.plan import Study

_TRIAL = re.compile(r"trial_(.+)")
_STUDY = re.compile(r"study_(.+)")


def read_own(folders: Sequence[str]) -> Runs:
    """Read run folders.

    Submission, workload, version and ruleset are those of the record. Study and trial are taken from the folder names
    ``study_K`` and ``trial_K``. If no study is named, the trials of the external ruleset form study 0, and each run of
    the self-tuning ruleset is a separate study. If one submission has several folders ``X/study_K/WORKLOAD/trial_K`` or
    ``WORKLOAD/X/trial_K`` without other submissions, these are separate entries, for example with different settings,
    and are named after the folders.

    A trial without evaluations counts as a missed target, whatever its status, so that a crash never scores better than
    a missed target.

    Raises:
        RecordError: If a record is damaged.
    """
    runs = Runs()
    found = [(path, _read(path)) for path in map(Path, map(os.path.realpath, folders))]
    entries = _entries(found, runs)
    names = {path: entries.get((result.submission, _entry(path, result)), result.submission) for path, result in found}
    for path, result in found:
        with runs.noting(names[path], result.workload):
            if _is_measured(path, result, runs):
                _note_conditions(path, result, runs)
                runs.trials.append(_trial(path, result, names[path]))
    _note_rules(found, names, runs)
    if alone := sum(_study(path) is None for path, _ in found):
        runs.note(
            "assumed",
            f"Not in a study_K folder: {counted(alone, 'trial')}. Those of the external ruleset count as one study, "
            "each run of the self-tuning ruleset as a separate study.",
            strict=False,
        )
    return runs


def _is_measured(path: Path, result: TrialResult, runs: Runs) -> bool:
    """Return whether a trial was timed by the default clock; add a note if not."""
    if result.clock == DEFAULT_CLOCK or result.unit != "seconds":
        return True
    runs.note(
        "clock",
        f"{path}: its seconds are those of {result.clock} and not of {DEFAULT_CLOCK}, so they are not measurements: "
        "the trial is left out.",
    )
    return False


def _note_conditions(path: Path, result: TrialResult, runs: Runs) -> None:
    """Note what readers of the trial's score should know about its run and its end."""
    if changes := describe_changes(result.environments):
        runs.note("changed conditions", f"{path}: the trial was resumed in another environment: {changes}.")
    if result.changed:
        runs.note(
            "changed record",
            f"{path}: {result.changed}. The trial counts as one that missed its target: restore the files as the run "
            "wrote them, or leave the trial out.",
        )
    elif not result.evaluations:
        runs.note(
            "trial without evaluations",
            f"{path} ({result.status}{': ' + result.message[:200] if result.message else ''}): the trial counts as one "
            "that missed its target.",
        )
    elif not result.status.final:
        runs.note("unfinished", f"{path}: the trial is {result.status}; its evaluations so far count.")
    if result.unit == "seconds" and (waited := busy_machine(result)):
        runs.note("busy machine", f"{path}: {waited}")


def _note_rules(found: Sequence[tuple[Path, TrialResult]], names: Mapping[Path, str], runs: Runs) -> None:
    """Note the warnings of the rule checks of all trials, once per submission, first those that affect scores."""
    trials: dict[tuple[str, str], list[tuple[Path, str]]] = {}
    for path, result in found:
        for warning in result.warnings:
            trials.setdefault((result.submission, warning), []).append((path, result.workload))
    for submission, warning in sorted(trials, key=lambda key: (gravity(key[1]), key)):
        group = trials[submission, warning]
        first = group[0][0]
        where = str(first) if len(group) == 1 else f"{counted(len(group), 'trial')}, the first: {first}"
        about = [(names[path], workload) for path, workload in group]
        runs.note("rule check", f"{submission}: {warning} ({where})", strict=False, about=about)


def _read(path: Path) -> TrialResult:
    result = TrialResult.read(path) if os.path.lexists(path / TRIAL_FILE) else _never_recorded(path)
    try:
        check_record({"unit": result.unit, "scale": result.scale, "budget": result.budget})
    except BadInputError as error:
        raise RecordError(f"{path / TRIAL_FILE}: {error}") from error
    return result


def _never_recorded(path: Path) -> TrialResult:
    """Return the data in the plan of a trial that failed before its record was created.

    Raises:
        RecordError: If it did not fail, because it must then have a record.
    """
    failures = read_failures(path)
    if not failures:
        return TrialResult.read(path)  # says what is missing
    study = Study.read(path.parent)
    trial = next((each for each in study.trials if each.folder.name == path.name), None)
    if trial is None:
        raise RecordError(f"{path} does not belong to its study, which has {counted(len(study.seeds), 'trial')}.")
    return TrialResult(
        workload=study.workload,
        version=study.version,
        ruleset=study.ruleset,
        submission=study.submission.rpartition(".")[2],
        hyperparameters={**study.defaults, **trial.point},
        seed=trial.seed,
        batch_size=0,
        budget=study.budget,
        eval_period=math.nan,
        metric="",
        direction="min",
        validation_target=math.nan,
        test_target=None,
        stop_at="validation",
        unit=study.unit,
        scale=study.scale,
        status=Status.FAILED,
        message=" | ".join(failures),
    )


def _entry(path: Path, result: TrialResult) -> str:
    """Return the name of the folder that may identify a submission; empty for other layouts."""
    parents = [folder.name for folder in path.parents[:3]]
    if len(parents) == 3 and parents[0] == result.workload and _STUDY.fullmatch(parents[1]):
        return parents[2]
    return parents[0] if len(parents) > 1 and parents[1] == result.workload else ""


def _entries(found: Sequence[tuple[Path, TrialResult]], runs: Runs) -> dict[tuple[str, str], str]:
    """Return the names of submissions that were entered more than once, by recorded name and folder."""
    folders: dict[str, set[str]] = {}
    submissions: dict[str, set[str]] = {}
    for path, result in found:
        folders.setdefault(result.submission, set()).add(_entry(path, result))
        submissions.setdefault(_entry(path, result), set()).add(result.submission)
    names = {}
    for submission, entries in sorted(folders.items()):
        if len(entries) > 1 and "" not in entries and all(submissions[entry] == {submission} for entry in entries):
            names.update({(submission, entry): entry for entry in entries})
            listed = ", ".join(sorted(entries))
            message = f"{submission} was entered as {listed}, the names of its folders."
            runs.note("assumed", message, strict=False, about=((entry, None) for entry in sorted(entries)))
    return names


def _study(path: Path) -> str | None:
    """Return the study in the name of a folder above a trial; None if there is none."""
    return next((match[1] for folder in path.parents[:3] if (match := _STUDY.fullmatch(folder.name))), None)


def _trial(path: Path, result: TrialResult, submission: str) -> Trial:
    named, study = _TRIAL.fullmatch(path.name), _study(path)
    number = named[1] if named else path.name
    if study is None:
        study = number if result.ruleset == "self-tuning" else "0"
    rows = result.evaluations
    names = list(rows[0].metrics) if rows else []
    record: dict[str, Any] = {}
    if (path / TRIAL_FILE).exists():
        record = json.loads((path / TRIAL_FILE).read_text(encoding="utf-8"))
        record["wall_seconds"] = [row.wall_seconds for row in rows]
        if result.unit == "epochs":  # runs are scored by steps, which say the same
            steps = {name: record[name] * result.steps_per_unit for name in ("budget", "eval_period")}
            record = {**record, **steps, "unit": "steps"}
    return Trial(
        submission=submission,
        study=study,
        workload=result.workload,
        number=number,
        framework="pytorch",
        steps=np.array([float(row.step) for row in rows]),
        seconds=np.array([row.submission_seconds for row in rows]),
        # Values that were changed after recording are not measurements, and NaN meets no target.
        metrics={name: np.array([np.nan if result.changed else row.metrics[name] for row in rows]) for name in names},
        source=str(path),
        version=result.version,
        ruleset=result.ruleset,
        unit="steps" if result.unit == "epochs" else result.unit,
        scale=result.scale,
        record=record,
    )


def describe_hardware(environment: Mapping[str, Any]) -> str | None:
    """Return a description of a trial's hardware: ``8 x NVIDIA V100``, or its CPU; None if unknown."""
    gpus = environment.get("gpus") or []
    ranks = environment.get("ranks", 1)
    if environment.get("accelerator") == "cpu" or not gpus:
        return f"{ranks} x {environment['cpu']}" if "cpu" in environment else None
    return f"{ranks} x {gpus[0]}"


def describe_precision(environment: Mapping[str, Any]) -> str | None:
    """Return a description of a trial's precision: ``bf16-mixed``, ``32-true with float32 products at high``."""
    precision, products = (environment.get(name) for name in ("precision", "float32_matmul_precision"))
    if precision is None:
        return None
    return str(precision) if products in (None, "highest") else f"{precision} with float32 products at {products}"


def describe_compilation(environment: Mapping[str, Any]) -> str | None:
    """Return a description of whether a trial's model was compiled; None if unknown."""
    mode = environment.get("compile")
    if mode is None:
        return None
    return f"compiled ({mode})" if isinstance(mode, str) else "compiled" if mode else "not compiled"


def describe_changes(environments: Sequence[Mapping[str, Any]]) -> str:
    """Return a description of changes between the environments of one run; empty if there are none.

    Example:
        >>> describe_changes([{"from_step": 0, "torch_threads": 8}, {"from_step": 120, "torch_threads": 4}])
        'from step 120 torch_threads was 8 and is now 4'
    """
    lines = []
    for before, now in itertools.pairwise(environments):
        changed = [name for name in now if name != "from_step" and before.get(name) != now[name]]
        words = ", ".join(describe_change(name, before.get(name), now[name]) for name in changed)
        lines.append(f"from step {now.get('from_step')} {words}")
    return "; ".join(lines)
