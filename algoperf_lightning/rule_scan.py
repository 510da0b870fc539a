"""What the text of a submission says of the rules: names of workloads, fingerprints, hands on what is not its own.

A reading of source text finds what is written plainly, and some things that are innocent. It warns; people judge.

Source: the AlgoPerf rules, sections "Submission API" and "Disallowed submissions".
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from algoperf_lightning.registry import WORKLOADS, plugins

_FINGERPRINTS = frozenset(
    ("num_train_examples", "step_hint", "budget", "eval_period", "validation_target", "test_target", "metric")
)
"""What the view of a workload tells, and what would tell workloads apart if it were compared with a constant."""

_FORBIDDEN = {
    "_workload": "reaches behind the view of the workload",
    "lightning_module": "reaches for the workload itself",
    "datamodule": "reaches for the data",
    "eval_batch_size": "touches the evaluation batch size, which is the benchmark's",
    "get_eval_batch_size": "chooses an evaluation batch size, which is the benchmark's",
    "eval_dataloader": "touches the evaluation data",
}

_GLOBAL_SETTER = re.compile(
    r"torch\.(set_\w+|use_deterministic_algorithms|backends\.(\w+\.)*(set|enable|allow|preferred)_\w+)"
)


def scan(submission: type) -> list[str]:
    """Return warnings on the source of a submission's module, each with its line; empty if there is nothing to say."""
    if _is_library(submission):
        return []
    found: list[str] = []
    for where, tree, modules in _sources(submission):
        scanner = _Scanner(where, modules)
        scanner.visit(tree)
        found += scanner.warnings
    return list(dict.fromkeys(found))


def _is_library(submission: type) -> bool:
    return submission.__module__.startswith("algoperf_lightning.") and ".baselines." not in submission.__module__


def _sources(submission: type) -> Iterator[tuple[str, ast.AST, set[str]]]:
    """Yield a label, parsed text, and names of modules that the text does not import itself.

    The text is that of a submission's module, or of the methods of its class that can be read in a notebook.
    """
    module = sys.modules.get(submission.__module__)
    try:
        if module is None or submission.__module__ == "__main__":
            raise OSError  # a script's or a notebook's other text is not the submission's
        yield submission.__module__, ast.parse(inspect.getsource(module)), set()
    except (OSError, TypeError, SyntaxError):
        for name, member in vars(submission).items():
            if inspect.isfunction(member):
                try:
                    text = textwrap.dedent(inspect.getsource(member))
                    modules = {name for name, value in member.__globals__.items() if inspect.ismodule(value)}
                    yield f"{submission.__name__}.{name}", ast.parse(text), modules
                except (OSError, SyntaxError):
                    continue


class _Scanner(ast.NodeVisitor):
    def __init__(self, where: str, modules: set[str]) -> None:
        self.warnings: list[str] = []
        self._where = where
        self._modules = modules
        self._workloads = set(plugins(WORKLOADS))
        self._classes = {entry.attr for entry in plugins(WORKLOADS).values()}

    def _warn(self, node: ast.AST, message: str) -> None:
        self.warnings.append(f"{self._where}, line {getattr(node, 'lineno', 0)}: {message}.")

    def visit_Import(self, node: ast.Import) -> None:
        self._modules |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = {alias.name for alias in node.names}
        if taken := sorted(names & self._classes):
            self._warn(node, f"imports the workload {taken[0]}")

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring may name what it likes
            self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        if not _is_batch_sizes(node):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and self._is_workload(node.value):
            self._warn(node, f"names the workload {node.value!r} elsewhere than in batch_sizes")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._classes:
            self._warn(node, f"refers to the workload {node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _FORBIDDEN:
            self._warn(node, _FORBIDDEN[node.attr])
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in _FORBIDDEN:
            self._warn(node, _FORBIDDEN[node.name])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        told = [side.attr for side in sides if isinstance(side, ast.Attribute) and side.attr in _FINGERPRINTS]
        if told and any(isinstance(side, ast.Constant) for side in sides):
            self._warn(node, f"compares {told[0]} with a constant, which may tell workloads apart")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._check_target(target)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._check_target(node.target)
        self.generic_visit(node)

    def _check_target(self, target: ast.expr) -> None:
        root = target
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        if root is not target and isinstance(root, ast.Name) and root.id in self._modules:
            self._warn(target, f"writes to {ast.unparse(target)}, a global setting")

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        if "torch" in self._modules and _GLOBAL_SETTER.fullmatch(name):
            self._warn(node, f"calls {name}, a global setting")
        self.generic_visit(node)

    def _is_workload(self, text: str) -> bool:
        return any(text == name or text.startswith(f"{name}_") for name in self._workloads)


def _is_batch_sizes(node: ast.Dict) -> bool:
    """Return whether a dict may be a table of batch sizes: from names to whole numbers."""
    keys: list[Any] = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
    values: list[Any] = [_whole_number(value) for value in node.values]
    return bool(keys) and all(isinstance(key, str) for key in keys) and all(values)


def _whole_number(node: ast.expr) -> bool:
    """Return whether an expression is a whole number, or made of them: ``2**17``, ``128 * 8``."""
    return all(
        isinstance(part, (ast.BinOp, ast.operator)) or (isinstance(part, ast.Constant) and type(part.value) is int)
        for part in ast.walk(node)
    )
