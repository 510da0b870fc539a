"""Reads records of runs from files and folders in all known formats, which are recognised by their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.result import EVALUATIONS_FILE, FAILURE_FILE, TRIAL_FILE
from algoperf_lightning.scoring.boards import ARCHIVE, read_archive
from algoperf_lightning.scoring.compact_csv import read_compact
from algoperf_lightning.scoring.official_logs import EVALUATIONS, TRIAL_PREFIX, read_official
from algoperf_lightning.scoring.own_runs import read_own
from algoperf_lightning.scoring.runs import Runs, counted
from algoperf_lightning.tuning.plan import CONFIG_FILE

_COMPACT = (".csv", ".csv.gz")
_FAILURE = FAILURE_FILE.partition("{")[0]


def read_runs(paths: Sequence[str | Path]) -> Runs:
    """Read every trial under ``paths``: run folders of this library, archives of them, official logs, compact tables.

    Folders are searched to any depth and may be mixed.

    Raises:
        BadInputError: If a path does not exist or contains no runs, a file is damaged, or runs are inconsistent (a
            duplicate trial, an invalid time, two frameworks for one workload).
    """
    runs = Runs()
    found = _Found()
    for path in _without_repeats(paths, runs):
        _find(path, found)
    for table in found.tables:
        runs.extend(read_compact(table))
    for archive in found.archives:
        runs.extend(read_archive(archive, read_runs))
    runs.extend(read_official(_each_once(found.official)))
    runs.extend(read_own(_each_once(found.own)))
    if planned := _each_once(found.planned):
        runs.note(
            "not begun",
            f"{counted(len(planned), 'planned trial')} without a record, as {planned[0]}; they may change scores. "
            "`algoperf status` shows their states.",
            about=(_named_by(Path(folder)) for folder in planned),
        )
    if not runs.trials:
        reasons = " ".join(finding.message for finding in runs.findings[:3])
        raise BadInputError(f"No trial under {', '.join(map(str, paths))} can be read. {reasons}")
    runs.check()
    return runs


@dataclass
class _Found:
    own: list[str] = field(default_factory=list)
    official: list[str] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)
    """Trials of this library without a record."""


def _named_by(folder: Path) -> tuple[str, str]:
    """Return the submission and the workload of a planned trial: OUTPUT/SUBMISSION/study_K/WORKLOAD/trial_K."""
    names = ("", "", "", *folder.resolve().parts)
    return names[-4], names[-2]


def _each_once(folders: list[str]) -> list[str]:
    """Drop folders that were found twice, because a folder and one of its subfolders may both be given."""
    return list({os.path.realpath(folder): folder for folder in folders}.values())


def _without_repeats(paths: Sequence[str | Path], runs: Runs) -> list[Path]:
    found: dict[Path, Path] = {}
    for given in paths:
        path = Path(given).expanduser()
        if not path.exists():
            raise BadInputError(f"{given} does not exist.")
        if path.resolve() in found:
            runs.note("given twice", f"{given} was given twice and is read once.", strict=False)
        found[path.resolve()] = path
    return list(found)


def _find(path: Path, found: _Found) -> None:
    if path.is_file():
        if path.name.endswith(_COMPACT):
            found.tables.append(path)
        elif path.name.endswith(ARCHIVE):
            found.archives.append(path)
        else:
            raise BadInputError(
                f"{path} is neither a folder of runs, nor a table of evaluations (.csv or .csv.gz), nor an archive of "
                f"runs ({ARCHIVE})."
            )
        return
    tables: list[str] = []
    before = len(found.own), len(found.official)
    _search(str(path), found, tables)
    if (len(found.own), len(found.official)) == before:
        hint = f" Did you mean the table {tables[0]}?" if tables else ""
        raise BadInputError(
            f"{path} contains no runs: expected folders with {TRIAL_FILE} (runs of this library) or "
            f"SUBMISSION/STUDY/WORKLOAD_FRAMEWORK/trial_K/{EVALUATIONS} (official logs).{hint}"
        )


def _search(folder: str, found: _Found, tables: list[str]) -> None:
    """Collect trial folders by kind, sorted; a trial's folder is not searched further."""
    with os.scandir(folder) as entries:
        names = {entry.name: _is_folder(entry, folder) for entry in entries if not is_left_by_system(entry.name)}
    if TRIAL_FILE in names or EVALUATIONS_FILE in names:  # one without the other is refused when it is read
        found.own.append(folder)
        return
    if EVALUATIONS in names:
        found.official.append(folder)
        return
    if CONFIG_FILE in names and os.path.basename(folder).startswith(TRIAL_PREFIX):  # noqa: PTH119 (fast on purpose)
        failed = any(name.startswith(_FAILURE) for name in names)  # before it had a record
        (found.own if failed else found.planned).append(folder)
        return
    before = len(found.own), len(found.official)
    for name in sorted(names):
        if names[name]:
            _search(f"{folder}{os.sep}{name}", found, tables)
        elif name.endswith(_COMPACT):
            tables.append(f"{folder}{os.sep}{name}")
    nothing_within = (len(found.own), len(found.official)) == before
    if nothing_within and os.path.basename(folder).startswith(TRIAL_PREFIX):  # noqa: PTH119 (fast on purpose)
        found.official.append(folder)


def _is_folder(entry: os.DirEntry[str], folder: str) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    # A link to a parent folder would be followed forever; one to itself is neither a folder nor a file.
    inside = os.path.realpath(folder) + os.sep
    try:
        is_folder = entry.is_dir()
    except OSError:
        return False
    return is_folder and not inside.startswith(os.path.realpath(entry.path) + os.sep)
