"""Boards: records of runs in one file, to show or to compare other runs with. Some are part of the package.

A board is a ``.tar.xz`` archive of run folders (``trial.json`` and ``evaluations.csv`` of each trial), or of a compact
table of evaluations (``.csv``). Its first member may be ``board.yaml``, which describes it; every packaged one has it.
Packaged boards are the files in ``configs/boards``, and are selected by name: ``v0.5-external``.
"""

from __future__ import annotations

import dataclasses
import lzma
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from algoperf_lightning.bundles.read import RUNS, read_manifest, unpack
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.own_runs import describe_hardware
from algoperf_lightning.scoring.runs import Runs, some_of
from algoperf_lightning.utilities.inputs import nearest_or_raise
from algoperf_lightning.utilities.yaml_files import parse_yaml

ARCHIVE = ".tar.xz"
_FILES = (ARCHIVE, ".csv", ".csv.gz")
ABOUT_FILE = "board.yaml"
_DAMAGED = (tarfile.TarError, lzma.LZMAError, EOFError, OSError)


@dataclass(frozen=True)
class About:
    """The description of a board in its ``board.yaml``."""

    title: str
    what: str
    """Description of the runs and their limitations."""
    made: str
    """Date of the runs."""
    source: str
    licence: str
    notice: str
    """Origin of the runs, and changes."""
    submissions: int
    workloads: int
    trials: int
    environment: Mapping[str, Any]
    """The machine in the form of ``trial.json``, for runs that do not name their own."""

    @property
    def hardware(self) -> str:
        """The machine in words: ``8 x NVIDIA V100 16 GB``."""
        return describe_hardware(self.environment) or "unknown hardware"


def packaged_boards() -> dict[str, Path]:
    """Return the files of the packaged boards by name."""
    folder = Path(str(files("algoperf_lightning.configs"))) / "boards"
    return {board_name(path): path for path in sorted(folder.glob(f"[!._]*{ARCHIVE}"))}


def board_name(path: str | Path) -> str:
    """Return a board's name: that of its file without extensions.

    Example:
        >>> board_name("boards/v0.5-external.tar.xz"), board_name("mine.csv.gz")
        ('v0.5-external', 'mine')
    """
    name = Path(path).name
    return next((name.removesuffix(end) for end in (ARCHIVE, ".csv.gz", ".csv") if name.endswith(end)), name)


def find_board(name: str) -> Path:
    """Return the file of a packaged board, or the path of another one.

    Raises:
        BadInputError: If it does not exist. Arguments with the extension of a file of runs are paths, others are names;
            for an unknown name, the message suggests the most similar one.
    """
    if (path := Path(name).expanduser()).exists():
        return path
    if name.endswith(_FILES) or "/" in name:
        raise BadInputError(
            f"The board {name} does not exist. Give a file of runs, or one of {', '.join(packaged_boards())}."
        )
    known = packaged_boards()
    return known[nearest_or_raise("board", name, known)]


def read_about(path: Path) -> About | None:
    """Return the description in an archive; None if its first member is not ``board.yaml``.

    Raises:
        BadInputError: If the archive is damaged, or ``board.yaml`` is incomplete or invalid.
    """
    try:
        with tarfile.open(path, "r|xz") as archive:
            first = archive.next()
            file = archive.extractfile(first) if first is not None and first.name == ABOUT_FILE else None
            text = None if file is None else file.read().decode("utf-8")
    except (*_DAMAGED, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    return None if text is None else _about(text, f"{path}/{ABOUT_FILE}")


def _about(text: str, source: str) -> About:
    content = parse_yaml(text, source)
    fields = {field.name: field for field in dataclasses.fields(About)}
    if not isinstance(content, dict):
        raise BadInputError(f"{source} must be a mapping with the keys {', '.join(fields)}.")
    for key in content:
        nearest_or_raise(f"key in {source}", str(key), fields)
    if missing := [name for name in fields if name not in content]:
        raise BadInputError(f"{source} has no {', '.join(missing)}.")
    for name, value in content.items():
        number, mapping = fields[name].type == "int", name == "environment"
        if not isinstance(value, int if number else dict if mapping else str):
            expected = "an integer" if number else "a mapping" if mapping else "a string"
            raise BadInputError(f"{source}: {name} must be {expected}, but got {value!r}.")
    return About(**content)


def read_archive(path: Path, read: Callable[[list[Path]], Runs]) -> Runs:
    """Read a ``.tar.xz`` of run folders, or of a compact table; a run bundle is checked against its list of members.

    Args:
        path: The archive.
        read: Reads folders of runs and tables.

    Raises:
        BadInputError: If the archive is damaged or contains no runs.
    """
    about = read_about(path)
    with tempfile.TemporaryDirectory() as temporary:
        folder = _unpacked(path, Path(temporary).resolve())
        tables = sorted(folder.glob("*.csv"))
        try:
            runs = read(tables or [folder])
        except BadInputError as error:
            raise type(error)(str(error).replace(str(folder), str(path))) from error
    environment = {} if about is None else {"environment": dict(about.environment)}
    runs.trials = [
        dataclasses.replace(
            trial, source=trial.source.replace(str(folder), str(path)), record={**environment, **trial.record}
        )
        for trial in runs.trials
    ]
    runs.findings = [
        dataclasses.replace(each, message=each.message.replace(str(folder), str(path))) for each in runs.findings
    ]
    return runs


def _unpacked(path: Path, folder: Path) -> Path:
    """Unpack an archive into a folder; return the one with the runs."""
    try:
        if read_manifest(path) is not None:
            unpack(path, folder)
            return folder / RUNS
        with tarfile.open(path, "r:xz") as archive:
            archive.extractall(folder, filter="data")
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    return folder


def _damaged(path: Path, error: Exception) -> BadInputError:
    return BadInputError(f"{path} is not an archive of runs, or is damaged: {error}. Pack it again.")


def as_board(runs: Runs, name: str) -> Runs:
    """Return runs marked as those of a board, with which others can be compared."""
    return Runs([dataclasses.replace(trial, board=name) for trial in runs.trials], runs.findings)


def add_board(runs: Runs, board: Runs, name: str) -> None:
    """Add a board's trials to others. A submission in both gets the name ``NAME (BOARD)`` on the board."""
    board = as_board(board, name)
    twice = {trial.submission for trial in runs.trials} & {trial.submission for trial in board.trials}
    if twice:
        runs.note(
            "named alike",
            f"{some_of(twice)}: in the runs and in the board {name}; those of the board are called NAME ({name}).",
            strict=False,
            about=((submission, None) for submission in twice),
        )
        names = {submission: f"{submission} ({name})" for submission in twice}
        board.findings = [finding.renamed(names) for finding in board.findings]
        board.trials = [
            dataclasses.replace(trial, submission=names.get(trial.submission, trial.submission))
            for trial in board.trials
        ]
    runs.extend(board)
    runs.check()
