"""``algoperf repair``: restore damaged trials from their checkpoints, or move them out of the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.repair import is_trial, repair
from algoperf_lightning.utilities.locks import is_locked


def run(arguments: Sequence[str]) -> None:
    """Repair every trial below some folders, and print what was done."""
    parser = Parser(
        prog="algoperf repair",
        description="Restore damaged trials from their checkpoints; move aside those that cannot be restored, so "
        "that they can start again.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="a trial's folder, or a folder with trials in it")
    folders = _trials(parser.parse(arguments).runs)
    for folder in folders:
        done = "a process is running it; not changed" if is_locked(folder) else repair(folder) or "sound"
        print(f"{folder}: {done}")


def _trials(roots: Sequence[str]) -> list[Path]:
    found = []
    for root in map(Path, roots):
        if not root.is_dir():
            raise BadInputError(f"{root} is not a folder.")
        here = [folder for folder in (root, *sorted(root.rglob("*"))) if folder.is_dir() and is_trial(folder)]
        if not here:
            raise BadInputError(f"{root} contains no trial.")
        found.extend(here)
    return found
