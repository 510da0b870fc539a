"""Writing a run bundle; :mod:`algoperf_lightning.bundles.read` describes its content."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import algoperf_lightning
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import written_aside
from algoperf_lightning.records.instrument_rows import INSTRUMENTS_FILE
from algoperf_lightning.records.source import find_source
from algoperf_lightning.records.submission_log import LOG_FILE
from algoperf_lightning.result import EVALUATIONS_FILE, FAILURE_FILE, TRIAL_FILE, TrialResult
from algoperf_lightning.tuning.plan import CONFIG_FILE, PLAN_FILE

from .read import ENDING, FORMAT, MANIFEST_FILE, RUNS, SOURCE, checksum_of

_OF_TRIAL = (TRIAL_FILE, EVALUATIONS_FILE, LOG_FILE, INSTRUMENTS_FILE, CONFIG_FILE)
_PARTS = 4  # SUBMISSION/study_K/WORKLOAD/trial_K


@dataclass
class Packed:
    """Content of a new bundle."""

    path: Path
    trials: int
    members: dict[str, Path]
    """Source file of each member, by its name in the bundle."""
    remarks: list[str] = field(default_factory=list)
    """Descriptions of what is missing in the bundle."""


def pack(roots: Sequence[str | Path], output: Path, source_roots: Iterable[str | Path] = ()) -> Packed:
    """Pack all trials below some folders.

    Args:
        roots: Folders of trials, searched to any depth.
        output: Path of the bundle, which must end in ``.tar.xz``; an existing one is replaced.
        source_roots: Folders that are searched for source files, before ``sys.path``.

    Raises:
        BadInputError: If a folder contains no trials, a record cannot be read, or two trials have the same path.
    """
    if not output.name.endswith(ENDING):
        raise BadInputError(
            f"--output must end in {ENDING}, but is {output}. `algoperf score` recognises a bundle by this ending."
        )
    packed = Packed(output, 0, {})
    sources: dict[str, str] = {}
    for root in map(Path, roots):
        for folder in _trials(root):
            result = TrialResult.read(folder)
            _add_trial(packed, root, folder)
            _add_remarks(packed, folder, result)
            sources |= result.environment.get("source", {})
    _add_sources(packed, sources, [*source_roots, *sys.path])
    packed.remarks = list(dict.fromkeys(packed.remarks))
    _write(packed)
    return packed


def _trials(root: Path) -> list[Path]:
    if not root.is_dir():
        raise BadInputError(f"{root} is not a folder. Give folders of trials.")
    found = sorted(path.parent for path in root.rglob(TRIAL_FILE))
    if not found:
        raise BadInputError(f"{root} contains no trial: there is no {TRIAL_FILE} in it.")
    return found


def _add_trial(packed: Packed, root: Path, folder: Path) -> None:
    study = folder.parent
    planned = (study / PLAN_FILE).is_file()
    parts = folder.resolve().relative_to(root.resolve().parent).parts
    if planned and len(parts) < _PARTS:  # the folders of a planned trial identify it
        parts = folder.resolve().parts[-_PARTS:]
    place = "/".join((RUNS, *parts))
    files = [folder / name for name in _OF_TRIAL] + sorted(folder.glob(FAILURE_FILE.format(rank="*")))
    members = {f"{place}/{file.name}": file for file in files if file.is_file()}
    if planned:
        members[f"{place.rpartition('/')[0]}/{PLAN_FILE}"] = study / PLAN_FILE
    for name, file in members.items():
        before = packed.members.setdefault(name, file)
        if before.resolve() != file.resolve():
            raise BadInputError(f"{before} and {file} would both be {name} in the bundle. Give a folder above both.")
    packed.trials += 1


def _add_remarks(packed: Packed, folder: Path, result: TrialResult) -> None:
    if not result.status.final:
        packed.remarks.append(f"{folder} is {result.status}: it is packed as it is now.")
    if "submission_class" not in result.environment:
        packed.remarks.append(
            f"{folder} was recorded by a version that did not record source files, so none are packed."
        )


def _add_sources(packed: Packed, sources: dict[str, str], roots: Sequence[str | Path]) -> None:
    for name, checksum in sorted(sources.items()):
        if name.startswith("algoperf_lightning/"):
            continue  # the library's version identifies it
        file = find_source(name, checksum, [root or os.curdir for root in roots])
        if file is None:
            packed.remarks.append(f"The source file {name} was not found; run `algoperf pack` in its folder.")
            continue
        packed.members[f"{SOURCE}/{name}"] = file
        if checksum_of(file) != checksum:
            packed.remarks.append(f"{file} has changed since a run used it; `algoperf reproduce` reports this, too.")


def _write(packed: Packed) -> None:
    packed.path.parent.mkdir(parents=True, exist_ok=True)
    contents = {name: file.read_bytes() for name, file in packed.members.items()}
    with written_aside(packed.path) as file, tarfile.open(fileobj=file, mode="w:xz") as archive:
        _add(archive, MANIFEST_FILE, json.dumps(_manifest(contents), indent=1).encode())
        for name, content in contents.items():
            _add(archive, name, content)


def _manifest(contents: dict[str, bytes]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made": f"{time.strftime('%Y-%m-%d')} by algoperf-lightning {algoperf_lightning.__version__}",
        "members": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner, mode and time are not stored
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
