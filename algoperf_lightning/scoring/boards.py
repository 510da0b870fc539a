"""Boards: records of runs in one file, to score others against. Some come with the package.

A board is a ``.tar.xz`` archive of run folders (of each trial ``trial.json`` and ``evaluations.csv``) or a compact
table of evaluations. Packaged boards are the files of ``configs/boards``, called by their names: ``tiny``.
"""

from __future__ import annotations

import dataclasses
import lzma
import tarfile
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.runs import Runs, some_of
from algoperf_lightning.spec import nearest_or_raise

ARCHIVE = ".tar.xz"
_FILES = (ARCHIVE, ".csv", ".csv.gz")


def packaged_boards() -> dict[str, Path]:
    """Return the files of the boards that come with the package, by name."""
    folder = Path(str(files("algoperf_lightning.configs"))) / "boards"
    found = sorted(path for path in folder.glob("*") if not path.name.startswith((".", "_")))
    return {path.name.partition(".")[0]: path for path in found if path.suffix in (".xz", ".gz")}


def find_board(name: str) -> Path:
    """Return the file of a packaged board, or the path of one's own.

    Raises:
        BadInputError: If there is none. What ends as a file of runs does is a path, anything else a name; of an unknown
            name the message says the nearest.
    """
    if (path := Path(name).expanduser()).exists():
        return path
    if name.endswith(_FILES) or "/" in name:
        raise BadInputError(
            f"The board {name} does not exist. Give a file of runs, or one of {', '.join(packaged_boards())}."
        )
    known = packaged_boards()
    return known[nearest_or_raise("board", name, known)]


def read_archive(path: Path, read: Callable[[list[Path]], Runs]) -> Runs:
    """Read a ``.tar.xz`` of run folders.

    Args:
        path: The archive.
        read: Reads folders of runs.

    Raises:
        BadInputError: If the archive is damaged or holds no runs.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        try:
            with tarfile.open(path, "r:xz") as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
            raise BadInputError(f"{path} is not an archive of runs, or is damaged: {error}. Pack it again.") from error
        try:
            runs = read([folder])
        except BadInputError as error:
            raise type(error)(str(error).replace(str(folder), str(path))) from error
    runs.trials = [
        dataclasses.replace(trial, source=trial.source.replace(str(folder), str(path))) for trial in runs.trials
    ]
    runs.findings = [
        dataclasses.replace(each, message=each.message.replace(str(folder), str(path))) for each in runs.findings
    ]
    return runs


def add_board(runs: Runs, board: Runs, name: str) -> None:
    """Add a board's trials to others. A submission that both have is called ``NAME (BOARD)`` in the board."""
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
