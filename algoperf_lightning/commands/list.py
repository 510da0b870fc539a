"""``algoperf list``: what is installed, without loading torch."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from algoperf_lightning.commands.details import submission_details, workload_details
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.data.data_dir import resolve_data_dir
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.summary import target_words
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, get_spec, names, plugins, problems
from algoperf_lightning.spec import BENCHMARK_VERSIONS, LATEST_VERSION, WorkloadSpec
from algoperf_lightning.utilities import terminal
from algoperf_lightning.utilities.inputs import nearest_or_raise

_WIDE = 120  # width of a terminal from which the task of a workload is shown


def run(arguments: Sequence[str]) -> None:
    """Print a table of workloads and one of submissions, or details of the named ones."""
    parser = Parser(
        prog="algoperf list",
        description="Show the installed workloads and submissions; with NAMEs, also their targets or search spaces.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="workloads and submissions to show in detail; a submission can be an import path: my_module.MyClass",
    )
    parser.add_argument(
        "--version", default=LATEST_VERSION, help="AlgoPerf version of the budgets (default %(default)s)"
    )
    parser.add_argument("--data-dir", help="folder of the data (default $ALGOPERF_DATA_DIR, else ./data)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables; only without NAMEs")
    options = parser.parse(arguments)
    nearest_or_raise("benchmark version", options.version, BENCHMARK_VERSIONS)
    data_dir = resolve_data_dir(options.data_dir)
    if options.json:
        if options.names:
            raise BadInputError(f"--json lists everything, but got {' '.join(options.names)}. Leave out the names.")
        print(json.dumps(_as_data(options.version, data_dir), indent=2, allow_nan=False))
        return
    console = terminal.console()
    if options.names:
        known = {name: group for group in (SUBMISSIONS, WORKLOADS) for name in names(group)}
        known |= {name: SUBMISSIONS for name in options.names if "." in name}  # import paths, as for fit
        for name in [nearest_or_raise("workload or submission", name, known) for name in options.names]:
            details = workload_details if known[name] == WORKLOADS else submission_details
            for part in details(name):
                console.print(part)
        return
    broken = problems(WORKLOADS, SUBMISSIONS)
    console.print(_workloads(options.version, data_dir, console.width >= _WIDE, broken))
    console.print(_submissions(broken))
    for line in broken:
        console.print(f"[yellow]{escape(line)}", soft_wrap=True, highlight=False)


def _as_data(version: str, data_dir: Path) -> dict[str, Any]:
    """Return everything installed as plain data; ``problems`` names plug-ins that cannot be loaded."""
    broken = problems(WORKLOADS, SUBMISSIONS)
    workloads = [
        {
            "name": spec.name,
            "task": spec.task,
            "metric": spec.metric,
            "direction": spec.direction,
            "validation_target": spec.validation_target,
            "test_target": spec.test_target,
            "budget_seconds": spec.budget,
            "eval_period_seconds": spec.eval_period,
            "step_hint": spec.step_hint,
            "batch_size": spec.batch_size,
            "variants": list(spec.variants),
            "data": _data_status(spec, data_dir),
        }
        for spec in _specs(version, broken)
    ]
    submissions = [{"name": name, "tuning": tuning, "summary": summary} for name, tuning, summary in _described(broken)]
    return {"version": version, "workloads": workloads, "submissions": submissions, "problems": broken}


def _specs(version: str, broken: list[str]) -> Iterator[WorkloadSpec]:
    """Yield the specs of a version; those that cannot be loaded are added to ``broken``."""
    for name in plugins(WORKLOADS):
        try:
            spec = get_spec(name)
        except BadInputError as error:
            broken.append(str(error))
            continue
        if version in spec.known_versions:
            yield spec.of(version=version)


def _described(broken: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, tuning and summary of each submission; those that cannot be loaded are added to ``broken``."""
    for name, entry in plugins(SUBMISSIONS).items():
        try:
            yield (name, *_describe(name, entry))
        except BadInputError as error:
            broken.append(str(error))


def _workloads(version: str, data_dir: Path, with_task: bool, broken: list[str]) -> Table:
    columns = ("name", "target", "budget", "data", *(["task"] if with_task else []))
    table = _table(f"Workloads, by the rules of AlgoPerf {version}", *columns)
    table.caption = (
        "+n: variants. Details: algoperf list NAME. Missing data: algoperf data prepare NAME, or algoperf "
        "data tiny NAME"
    )
    for spec in _specs(version, broken):
        table.add_row(
            f"{spec.name} +{len(spec.variants)}" if spec.variants else spec.name,
            f"{spec.metric} {target_words(spec.validation_target, spec.direction)}",
            f"{spec.budget:,g} s",
            _data_status(spec, data_dir),
            *([spec.task] if with_task else []),
        )
    return table


def _data_status(spec: WorkloadSpec, data_dir: Path) -> str:
    if not spec.files:
        return "in the package"
    there = sum((data_dir / name).exists() for name in spec.files)
    return "found" if there == len(spec.files) else f"{there} of {len(spec.files)} files" if there else "missing"


def _submissions(broken: list[str]) -> Table:
    table = _table("Submissions", "name", "tuning", "what it is")
    for name, *rest in _described(broken):
        table.add_row(name, *map(escape, rest))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for column in columns:
        table.add_column(column, no_wrap=column in ("name", "budget"), overflow="fold")
    return table


def _describe(name: str, entry: EntryPoint) -> tuple[str, str]:
    """Return how a submission is tuned, and its summary.

    For our submissions, both are read from the source code, because importing them would load torch. Those of other
    packages are imported, which also shows whether they work.

    Raises:
        BadInputError: If it cannot be loaded.
    """
    if not entry.module.startswith("algoperf_lightning."):
        from algoperf_lightning.plugins import get_submission

        submission = get_submission(name)
        lines = (inspect.getdoc(submission) or "").splitlines()
        return ("self" if submission.search_space is None else "external"), lines[0] if lines else ""
    try:
        found = importlib.util.find_spec(entry.module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise BadInputError(f"The submission {name!r} is in {entry.module}, which cannot be found.")
    module = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    if entry.attr not in classes:
        return "?", ""
    lines = (ast.get_docstring(classes[entry.attr]) or "").splitlines()
    return ("external" if _has_search_space(entry.attr, classes) else "self"), lines[0] if lines else ""


def _has_search_space(name: str, classes: dict[str, ast.ClassDef]) -> bool:
    node = classes.get(name)
    if node is None:
        return False
    names = [target.id for item in node.body for target in _targets(item) if isinstance(target, ast.Name)]
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return "search_space" in names or any(_has_search_space(base, classes) for base in bases)


def _targets(item: ast.stmt) -> list[ast.expr]:
    if isinstance(item, ast.AnnAssign) and item.value is not None:
        return [item.target]
    return item.targets if isinstance(item, ast.Assign) else []
