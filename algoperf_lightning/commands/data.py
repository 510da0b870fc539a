"""``algoperf data``: prepare, check, or make tiny data."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.data import resolve_data_dir
from algoperf_lightning.errors import BadInputError, PluginError
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import WORKLOADS, plugins, problems
from algoperf_lightning.workload import Workload

_ACTIONS = {
    "prepare": "download and convert the data; existing files are kept",
    "check": "verify that every split can be read",
    "tiny": "write a small, learnable data set in the real format, to try the code without the real data",
}


def run(arguments: Sequence[str]) -> None:
    """Do one of the three for each named workload."""
    parser = Parser(prog="algoperf data", description="Prepare and check the data of workloads.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("workloads", nargs="*", metavar="WORKLOAD")
        action.add_argument("--all", action="store_true", help="all installed workloads")
        action.add_argument("--data-dir", help="folder of the data (default $ALGOPERF_DATA_DIR, else ./data)")
    options = parser.parse(arguments)
    if options.all == bool(options.workloads):
        raise BadInputError(f"Name workloads or give --all: algoperf data {options.action} --all.")
    data_dir = resolve_data_dir(options.data_dir)
    for workload in _workloads(options.workloads):
        name, data_class = workload.spec.name, workload.data_class
        if not workload.spec.files:
            print(f"{name}: the data are in the package")
            continue
        data = data_class(workload.spec, data_dir)
        if options.action == "tiny":
            data.write_tiny()
        if options.action == "prepare":
            data.prepare_data()
        data.verify()
        print(f"{name}: ready in {data_dir}")


def _workloads(names: Sequence[str]) -> Iterator[type[Workload]]:
    """Yield the named classes; without names, all that can be loaded, with a line about each of the others."""
    if names:
        yield from [get_workload(name) for name in names]
        return
    for line in problems(WORKLOADS):
        print(f"algoperf: warning: {line}", file=sys.stderr)
    for name in plugins(WORKLOADS):
        try:
            workload = get_workload(name)
        except PluginError as error:
            print(f"algoperf: warning: {error}", file=sys.stderr)
            continue
        yield workload
