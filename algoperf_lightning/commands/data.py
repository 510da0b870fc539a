"""``algoperf data``: prepare, check, or make tiny or small data."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.data import resolve_data_dir
from algoperf_lightning.errors import BadInputError, PluginError
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import WORKLOADS, find_workload, plugins, problems
from algoperf_lightning.spec import WorkloadSpec

_ACTIONS = {
    "prepare": "download and convert the data; existing files are kept",
    "check": "verify that every split can be read",
    "small": "write the data of the small suite, in the real format",
    "tiny": "write a small, learnable data set in the real format, to try the code without the real data",
}


def run(arguments: Sequence[str]) -> None:
    """Run the chosen action for each named workload."""
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
    for spec in _specs(options.workloads, options.action):
        if not spec.files:
            print(f"{spec.full_name}: the data are in the package")
            continue
        data = get_workload(spec.name).data_class(spec, data_dir)
        if options.action == "tiny":
            data.write_tiny()
        if options.action == "small":
            data.write_small()
        if options.action == "prepare":
            data.prepare_data()
        data.verify()
        print(f"{spec.full_name}: ready in {data_dir}")


def _specs(names: Sequence[str], action: str) -> Iterator[WorkloadSpec]:
    """Yield the named specs; without names, all that can be loaded, with a warning about each of the others.

    Smaller sizes are given by full name (``wmt_small``), except with the action ``small``, which has only one size.
    """
    if names:
        found = [find_workload(name) for name in names]
        for spec in found:
            get_workload(spec.name)  # all of them, before any is prepared
        yield from (spec.of(small=True) if action == "small" and spec.size is None else spec for spec in found)
        return
    for line in problems(WORKLOADS):
        print(f"algoperf: warning: {line}", file=sys.stderr)
    for name in plugins(WORKLOADS):
        try:
            spec = get_workload(name).spec
        except PluginError as error:
            print(f"algoperf: warning: {error}", file=sys.stderr)
            continue
        if action != "small":
            yield spec
        elif spec.small is not None:
            yield spec.of(small=True)
