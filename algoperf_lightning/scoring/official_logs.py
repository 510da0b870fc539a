"""The layout of the official logs: ``SUBMISSION/STUDY/WORKLOAD_FRAMEWORK/trial_K/eval_measurements.csv``.

It is read like the official scoring code does, and written so that the official code can read it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import make_folder
from algoperf_lightning.scoring.conditions import (
    META_FILE,
    Conditions,
    note_changes,
    note_unknown_budgets,
    read_conditions,
    ruleset_budget,
    settle_versions,
    write_conditions,
)
from algoperf_lightning.scoring.runs import Runs, Trial, check_record, natural

EVALUATIONS = "eval_measurements.csv"
TRIAL_PREFIX = "trial_"
STUDY_PREFIX = "study_"
FRAMEWORKS = ("jax", "pytorch")
_TIMES = ("score", "accumulated_submission_time")
_SPLITS = ("train/", "validation/", "test/")


def read_official(folders: Sequence[str]) -> Runs:
    """Read trial folders of the official layout.

    Version, ruleset, budget and hardware are those of the logs (``conditions.py``). As in the official code, trials
    without ``eval_measurements.csv`` and folders with another layout are ignored; here both are reported.

    Raises:
        BadInputError: If a file has no column of times, a field is not a number, a line before the last is short, or a
            file is not CSV.
    """
    runs = Runs()
    said: list[tuple[str, Conditions]] = []
    for folder in folders:
        names = os.path.abspath(folder).split(os.sep)  # noqa: PTH100, PTH206 (fast on purpose)
        workload, _, framework = names[-2].rpartition("_") if len(names) > 4 else ("", "", "")
        if framework not in FRAMEWORKS or not names[-1].startswith(TRIAL_PREFIX):
            runs.note("ignored", f"{folder} is outside SUBMISSION/STUDY/WORKLOAD_FRAMEWORK/trial_K.", strict=False)
            continue
        with runs.noting(names[-4], workload):
            trial = _read_trial(folder, workload, framework, runs)
        if trial is not None:
            runs.trials.append(trial[0])
            said.append((folder.rsplit(os.sep, 3)[0], trial[1]))
    runs.trials = [
        _with_conditions(trial, conditions, version)
        for trial, (_, conditions), version in zip(runs.trials, said, settle_versions(said), strict=True)
    ]
    note_unknown_budgets(runs.trials, [conditions for _, conditions in said], runs)
    note_changes(runs.trials, [conditions for _, conditions in said], runs)
    return runs


def _read_trial(folder: str, workload: str, framework: str, runs: Runs) -> tuple[Trial, Conditions] | None:
    """Return a trial and its conditions; None if it has no evaluations."""
    names = os.path.abspath(folder).split(os.sep)  # noqa: PTH100, PTH206 (fast on purpose)
    path = f"{folder}/{EVALUATIONS}"
    columns = _read_columns(path, runs)
    if columns is None:
        return None
    seconds = _seconds(path, columns, runs)
    conditions = read_conditions(folder, workload, framework, runs)
    if conditions.own and "total_duration" in columns:
        conditions.record["wall_seconds"] = _floats(path, "total_duration", columns).tolist()
    steps = _floats(path, "global_step", columns) if "global_step" in columns else np.full(len(seconds), np.nan)
    trial = Trial(
        submission=names[-4],
        study=names[-3].removeprefix(STUDY_PREFIX),
        workload=workload,
        number=names[-1][len(TRIAL_PREFIX) :],
        framework=framework,
        steps=steps,
        seconds=seconds,
        metrics={name: _floats(path, name, columns) for name in columns if name.startswith(_SPLITS)},
        source=path,
    )
    return trial, conditions


def _with_conditions(trial: Trial, conditions: Conditions, version: str | None) -> Trial:
    if not conditions.own:
        budget = ruleset_budget(conditions, version)
        record = conditions.record | ({} if budget is None else {"budget": budget})
        return dataclasses.replace(trial, version=version, ruleset=conditions.ruleset, record=record)
    record = conditions.record
    try:
        check_record(record)
    except BadInputError as error:
        raise BadInputError(f"{trial.source}: the record in {META_FILE} is damaged: {error}") from error
    names = ("version", "ruleset", "unit", "scale")
    return dataclasses.replace(trial, record=record, **{name: record[name] for name in names if name in record})


def _read_columns(path: str, runs: Runs) -> dict[str, Sequence[str]] | None:
    """Return the strings of each column; None if the file is missing or empty."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        runs.note("trial without evaluations", f"{path} is missing: the trial is left out.")
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read: {error}.") from error
    if not text.strip():
        runs.note("trial without evaluations", f"{path} is empty: the trial is left out.")
        return None
    try:
        lines = list(csv.reader(io.StringIO(text))) if '"' in text else [line.split(",") for line in text.splitlines()]
    except csv.Error as error:
        raise BadInputError(f"{path} is not a CSV file: {error}. Remove the trial or repair the log.") from error
    header = lines.pop(0)
    if len(set(header)) < len(header):
        raise BadInputError(f"{path} names a column twice.")
    if not text.endswith("\n") and lines:
        # The value of a truncated field is unknown: 0.12 may have been 0.1237.
        if len(lines[-1]) == len(header) and not _scored(header[-1], header):
            fate = "its last line has all fields, and is used"
        else:
            fate = "its last line is left out"
            lines.pop()
        runs.note("cut off", f"{path} does not end with a line break: {fate}.")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise BadInputError(f"{path}, line {number}: expected {len(header)} fields, but got {len(line)}.")
    if not lines:
        runs.note("trial without evaluations", f"{path} has no rows: the trial counts as one that missed its target.")
        return dict.fromkeys(header, ())
    return dict(zip(header, zip(*lines, strict=True), strict=True))


def _scored(name: str, header: Sequence[str]) -> bool:
    """Return whether scores may depend on a column."""
    return name.startswith("validation/") or name == next((each for each in _TIMES if each in header), None)


def _seconds(path: str, columns: dict[str, Sequence[str]], runs: Runs) -> NDArray[np.float64]:
    times = [_floats(path, name, columns) for name in _TIMES if name in columns]
    if not times:
        raise BadInputError(f"{path} has no column of times: expected {' or '.join(_TIMES)}.")
    if len(times) == 2 and not np.array_equal(times[0], times[1], equal_nan=True):
        runs.note("two times", f"{path}: score and accumulated_submission_time differ; score is used.")
    return times[0]


def _floats(path: str, name: str, columns: dict[str, Sequence[str]]) -> NDArray[np.float64]:
    texts = columns[name]
    try:
        return np.array([float(text) if text else np.nan for text in texts])
    except ValueError as error:
        raise BadInputError(f"{path}: column {name} must contain numbers: {error}.") from error


def write_official(runs: Runs, folder: str | Path) -> list[Path]:
    """Write trials in the layout of the official scoring code; return their folders.

    A study's folder is ``study_`` and its name. The framework is PyTorch. In addition to the evaluations,
    ``flags_0.json``, ``meta_data_0.json`` and ``hparams.json`` contain the known conditions with the official names; a
    run of this library can be read back without loss. Numbers are written with all digits; seconds are the measured
    ones, without a scale.

    Raises:
        BadInputError: If a trial has a budget in steps (the official code scores seconds), a trial occurs twice, its
            folder exists already, or a name is not possible for a folder.
        OSError: If a file cannot be written.
    """
    runs.check_unique()
    if steps := [trial.label for trial in runs.trials if trial.unit == "steps"]:
        raise BadInputError(
            f"The official layout is for runs budgeted in seconds, but {steps[0]} counts steps. Export without it."
        )
    written = []
    for trial in sorted(runs.trials, key=lambda each: tuple(map(natural, each.key))):
        for name in trial.key:
            if not name or "/" in name or os.sep in name or name in (".", ".."):
                raise BadInputError(f"{name!r} cannot be the name of a folder ({trial.source}).")
        study = f"{STUDY_PREFIX}{trial.study}"
        framework = trial.framework if trial.framework in FRAMEWORKS else "pytorch"
        path = (
            Path(folder) / trial.submission / study / f"{trial.workload}_{framework}" / f"{TRIAL_PREFIX}{trial.number}"
        )
        if (path / EVALUATIONS).exists():
            raise BadInputError(f"{path} exists already; choose an empty folder.")
        make_folder(path)
        (path / EVALUATIONS).write_text(_table(trial), encoding="utf-8")
        write_conditions(path, trial, framework)
        written.append(path)
    return written


def _table(trial: Trial) -> str:
    seconds = list(map(repr, trial.seconds.tolist()))
    steps = [str(int(step)) if np.isfinite(step) else "" for step in trial.steps.tolist()]
    # The names in the official logs, in their order.
    columns = {name: list(map(repr, values.tolist())) for name, values in trial.metrics.items()}
    columns |= {"global_step": steps, "score": seconds, "accumulated_submission_time": seconds}
    if "wall_seconds" in trial.record:
        columns["total_duration"] = list(map(repr, trial.record["wall_seconds"]))
    return "\n".join([",".join(columns), *map(",".join, zip(*columns.values(), strict=True))]) + "\n"
