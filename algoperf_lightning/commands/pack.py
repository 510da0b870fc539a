"""``algoperf pack``: trials with their source code in one file, for another machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from algoperf_lightning.bundles.write import pack
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.utilities.terminal import warn


def run(arguments: Sequence[str]) -> None:
    """Write the bundle, and print what it contains and what is missing."""
    parser = Parser(
        prog="algoperf pack",
        description="Pack trials into one file: records, plans, environments, source of the submissions, checksums. "
        "`algoperf score` reads the file, and `algoperf reproduce` reruns the trials.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="a trial's folder, or a folder with trials in it")
    parser.add_argument("--output", required=True, metavar="NAME.tar.xz", help="the bundle")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="DIR",
        help="folder that is searched for modules of submissions, before the current folder and Python's path",
    )
    options = parser.parse(arguments)
    packed = pack(options.runs, Path(options.output), [*options.source, "."])
    for remark in packed.remarks:
        warn(remark)
    print(f"{packed.path}: {counted(packed.trials, 'trial')}, {counted(len(packed.members), 'file')}")
