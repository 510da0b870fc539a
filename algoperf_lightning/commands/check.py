"""``algoperf check``: test an optimizer or a submission against the contract."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table
from torch.optim import Optimizer

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.plugins import get_submission
from algoperf_lightning.registry import SUBMISSIONS, import_class, names
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing.contract.checks import CHECKS, check_optimizer, check_submission
from algoperf_lightning.testing.contract.report import Report
from algoperf_lightning.utilities import terminal
from algoperf_lightning.utilities.inputs import nearest

_COLOURS = {"passed": "green", "failed": "red", "not applicable": "dim"}


def run(arguments: Sequence[str]) -> None:
    """Print the results of the checks; exit with code 1 if one failed."""
    parser = Parser(
        prog="algoperf check",
        description="Check an optimizer or a submission for common mistakes, without data.",
    )
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="a registered submission, or the import path of a class: my_module.MyClass, torch.optim.AdamW",
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; can be repeated"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="CHECK", help="run only this check; can be repeated"
    )
    parser.add_argument("--skip", action="append", default=[], metavar="CHECK", help="skip this check; can be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--list", action="store_true", help="show all checks, and what a failure means")
    options = parser.parse(arguments)
    if options.list:
        _list(as_json=options.json)
        return
    if options.name is None:
        raise BadInputError(
            "algoperf check needs the name of a submission, or the import path of a class: algoperf check "
            "torch.optim.AdamW. `algoperf check --list` shows the checks."
        )
    report = _checked(options.name, _options(options.option), options.only, options.skip)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        _show(report)
    raise SystemExit(0 if report.passed else 1)


def _checked(name: str, options: dict[str, Any], only: Sequence[str], skip: Sequence[str]) -> Report:
    found: Any = _class(name)
    try:
        if issubclass(found, Submission):
            return check_submission(found, only=only, skip=skip, **options)
        return check_optimizer(found, only=only, skip=skip, **options)
    except TypeError as error:
        raise BadInputError(
            f"{name} cannot be created: {error}. Pass its arguments with --option NAME=VALUE."
        ) from error


def _class(name: str) -> type:
    """Return the class of a registered name or an import path, ``module.Class`` or ``module:Class``."""
    path = name.replace(":", ".")
    if "." not in path:
        if name not in names(SUBMISSIONS) and (path := _torch_optimizer(name)):
            raise BadInputError(f"There is no submission {name!r}. Did you mean {path}?")
        return get_submission(name)
    found: type = import_class("optimizer or submission", path, object)
    if not issubclass(found, (Submission, Optimizer)):
        raise BadInputError(f"{name} must be a subclass of Submission or torch.optim.Optimizer, but is {found!r}.")
    return found


def _torch_optimizer(name: str) -> str:
    import torch

    close = {each.lower(): each for each in torch.optim.__all__ if isinstance(getattr(torch.optim, each), type)}
    if nearest(name, names(SUBMISSIONS)) is None and name.lower() in close:
        return f"torch.optim.{close[name.lower()]}"
    return ""


def _options(given: Sequence[str]) -> dict[str, Any]:
    options = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            raise BadInputError(f"--option must be NAME=VALUE, for example --option lr=0.1, but got {each!r}.")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = {"true": True, "false": False, "null": None}.get(value.lower(), value)
    return options


def _show(report: Report) -> None:
    console = terminal.console()
    table = Table(title=f"{escape(report.subject)}: {report.summary}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("found", overflow="fold")
    for row in report.rows:
        table.add_row(row.check, f"[{_COLOURS[row.status]}]{row.status}", f"{row.seconds:.1f} s", escape(row.found))
    console.print(table)
    for row in report.failed:
        console.print(f"[red]{row.check}[/]: {CHECKS[row.check].title} A failure means: {row.meaning}", soft_wrap=True)
    if report.failed:
        console.print("docs/check.md describes each check, and how to fix what it finds.", soft_wrap=True)


def _list(*, as_json: bool) -> None:
    if as_json:
        rows = [{"check": each.name, "holds": each.title, "meaning": each.meaning} for each in CHECKS.values()]
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("check", "what must hold", "what a failure means"):
        table.add_column(column, overflow="fold")
    for each in CHECKS.values():
        table.add_row(each.name, each.title, each.meaning)
    terminal.console().print(table)
