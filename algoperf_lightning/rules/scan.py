"""Checks of the source code of a submission: names of workloads, fingerprints, changes of objects that are not its own.

The submission's module and its own imported modules are read. Names are resolved through ``import ... as``,
``from ... import`` and plain assignments. This finds violations that are not hidden, and some false positives. It only
warns; people judge.

Source: the AlgoPerf rules, sections "Submission API" and "Disallowed submissions".
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.rules.patterns import DATA, FINGERPRINTS, FORBIDDEN, READING_METHODS, READS, USED
from algoperf_lightning.rules.sources import sources


def scan(submission: type) -> list[str]:
    """Return warnings about the source code of a submission's modules, each with its line."""
    found: list[str] = []
    for source in sources(submission):
        found += _warnings(source.name, source.tree, tuple(source.names.items()), tuple(plugins(WORKLOADS)))
    return list(dict.fromkeys(found))


@lru_cache(maxsize=256)  # all trials of a tuning run scan the same source
def _warnings(name: str, tree: ast.AST, names: tuple[tuple[str, str], ...], workloads: tuple[str, ...]) -> list[str]:
    scanner = _Scanner(name, dict(names), workloads)
    scanner.prepare(tree)
    scanner.visit(tree)
    return scanner.warnings


class _Scanner(ast.NodeVisitor):
    def __init__(self, where: str, names: Mapping[str, str], workloads: Iterable[str]) -> None:
        self.warnings: list[str] = []
        self._where = where
        self._names = dict(names)
        """Dotted path of each name in the source: ``t`` is ``torch``, ``load`` is ``torch.load``."""
        self._views: set[str] = set()
        """Names, and attributes of ``self``, that refer to a view of the workload."""
        self._own_data: set[str] = set()
        """Names that refer to a path or file of the submission's own package."""
        self._workloads = set(workloads)
        self._classes = {entry.attr for entry in plugins(WORKLOADS).values()}

    def prepare(self, tree: ast.AST) -> None:
        """Collect the definitions of names from the whole source."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._names[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                self._names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._views |= _view_arguments(node)
        for node in ast.walk(tree):  # again, because names are known now
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._learn(target, node.value)
            elif isinstance(node, ast.With):
                for item in node.items:
                    if item.optional_vars is not None and self._is_own_data(item.context_expr):
                        self._own_data |= {ast.unparse(item.optional_vars)}

    def _learn(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name) and (path := self._path(value)) and "." in path:
            self._names.setdefault(target.id, path)
        if isinstance(value, ast.Name) and value.id in self._views and isinstance(target, (ast.Name, ast.Attribute)):
            self._views.add(ast.unparse(target))
        if self._is_own_data(value):
            self._own_data.add(ast.unparse(target))

    # Names

    def _path(self, node: ast.expr) -> str:
        """Return the dotted path of a name or attribute, empty if it is not imported."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        root = self._names.get(node.id)
        if root is None:
            if attributes or node.id not in vars(builtins):
                return ""
            root = node.id
        return ".".join([root, *reversed(attributes)])

    def _is_own_data(self, node: ast.expr) -> bool:
        """Return whether an expression is derived from the path of the submission's own package."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id in ("__file__", "__package__"):
                return True
            if isinstance(part, (ast.Name, ast.Attribute)) and (
                self._path(part).startswith("importlib.resources") or ast.unparse(part) in self._own_data
            ):
                return True
        return False

    def _is_view(self, node: ast.expr) -> bool:
        return isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in self._views

    def _warn(self, node: ast.AST, message: str) -> None:
        self.warnings.append(f"{self._where}, line {getattr(node, 'lineno', 0)}: {message}.")

    # Imports

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if DATA.fullmatch(alias.name):
                self._warn(node, f"imports {alias.name}, which reads data or workloads")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = {alias.name for alias in node.names}
        if taken := sorted(names & self._classes):
            self._warn(node, f"imports the workload {taken[0]}")
            return
        for name in sorted(names):
            path = f"{node.module}.{name}"
            if not node.level and DATA.fullmatch(path) and path not in _TYPES:
                self._warn(node, f"imports {path}, which reads data or workloads")

    # What is named and used

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # docstrings are not checked
            self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        if not _is_batch_sizes(node):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and self._is_workload(node.value):
            self._warn(node, f"names the workload {node.value!r} outside of batch_sizes")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._classes:
            self._warn(node, f"refers to the workload {node.id}")
        elif isinstance(node.ctx, ast.Load):
            self._check_use(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        private = node.attr.startswith("_") and self._is_view(node.value)
        if node.attr in FORBIDDEN or private:
            self._warn(node, FORBIDDEN.get(node.attr, f"accesses {node.attr} behind the view of the workload"))
        if not (isinstance(node.ctx, ast.Load) and self._check_use(node)):
            self.generic_visit(node)

    def _check_use(self, node: ast.Name | ast.Attribute) -> bool:
        path = self._path(node)
        for what, pattern in USED.items():
            if path and pattern.fullmatch(path):
                self._warn(node, f"uses {path}: {what}")
                return True
        if DATA.fullmatch(path) and not any(map(DATA.fullmatch, self._names.values())):
            self._warn(node, f"uses {path}, which reads data or workloads")
            return True
        return False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in FORBIDDEN:
            self._warn(node, FORBIDDEN[node.name])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        told = [side.attr for side in sides if isinstance(side, ast.Attribute) and side.attr in FINGERPRINTS]
        if told and any(isinstance(side, ast.Constant) for side in sides):
            self._warn(node, f"compares {told[0]} with a constant, which may distinguish workloads")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        path = self._path(node.func)
        if path in ("importlib.import_module", "__import__"):
            self._check_import(node)
        elif path in ("getattr", "setattr", "delattr", "hasattr", "vars", "dir") and node.args:
            self._check_attribute(path, node)
        elif path and READS.fullmatch(path):
            self._check_reading(node, path, node.args[:1] or [keyword.value for keyword in node.keywords])
        elif isinstance(node.func, ast.Attribute) and node.func.attr in READING_METHODS and not path:
            self._check_reading(node, node.func.attr, [node.func.value])
        self.generic_visit(node)

    def _check_import(self, node: ast.Call) -> None:
        named = node.args[0] if node.args else None
        if not (isinstance(named, ast.Constant) and isinstance(named.value, str)):
            self._warn(node, "imports a module whose name is computed at run time")
        elif DATA.fullmatch(named.value):
            self._warn(node, f"imports {named.value}, which reads data or workloads")

    def _check_attribute(self, function: str, node: ast.Call) -> None:
        owner, *rest = node.args
        name = rest[0].value if rest and isinstance(rest[0], ast.Constant) else None
        if self._is_view(owner) and (function in ("vars", "dir", "setattr", "delattr") or str(name).startswith("_")):
            self._warn(node, f"accesses objects behind the view of the workload with {function}")
        elif function in ("setattr", "delattr") and self._is_others(owner):
            self._warn(node, f"changes {ast.unparse(owner)}, which belongs to other code, with {function}")
        elif isinstance(name, str) and name in FORBIDDEN:
            self._warn(node, FORBIDDEN[name])

    def _check_reading(self, node: ast.Call, what: str, of: list[ast.expr]) -> None:
        if not any(map(self._is_own_data, of)):
            self._warn(node, f"reads with {what} from outside its own package")

    # What is written to

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._check_target(target)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._check_target(node.target)
        self.generic_visit(node)

    def _check_target(self, target: ast.expr) -> None:
        if not isinstance(target, (ast.Attribute, ast.Subscript)):
            return
        if self._is_view(target.value):
            self._warn(target, f"writes to {ast.unparse(target)}, which is not its own")
        elif self._is_others(target.value):
            self._warn(target, f"writes to {ast.unparse(target)}, a global setting or a class that is not its own")

    def _is_others(self, node: ast.expr) -> bool:
        """Return whether an expression is an imported module or class, an attribute of one, or a type."""
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            if isinstance(node, ast.Attribute) and node.attr == "__class__" and ast.unparse(node.value) != "self":
                return True
            node = node.value
        if isinstance(node, ast.Call) and self._path(node.func) == "type" and node.args:
            return ast.unparse(node.args[0]) not in ("self", "cls")
        return isinstance(node, ast.Name) and node.id in self._names

    def _is_workload(self, text: str) -> bool:
        return any(text == name or text.startswith(f"{name}_") for name in self._workloads)


_TYPES = frozenset(("algoperf_lightning.workload.WorkloadView", "algoperf_lightning.workload.Loss"))
"""Names that a submission may import from modules that also contain forbidden ones."""


def _view_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the arguments of a function that are views of the workload, by annotation or position."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    found = {each.arg for each in arguments if each.annotation and "WorkloadView" in ast.unparse(each.annotation)}
    place = {"configure_optimizers": 2, "training_step": 1, "before_step": 2}.get(function.name)
    if place is not None and len(arguments) > place:
        found.add(arguments[place].arg)
    return found


def _is_batch_sizes(node: ast.Dict) -> bool:
    """Return whether a dict may be a table of batch sizes: from names to integers."""
    keys: list[Any] = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
    values: list[Any] = [_whole_number(value) for value in node.values]
    return bool(keys) and all(isinstance(key, str) for key in keys) and all(values)


def _whole_number(node: ast.expr) -> bool:
    """Return whether an expression is an integer constant, possibly computed: ``2**17``, ``128 * 8``."""
    return all(
        isinstance(part, (ast.BinOp, ast.operator)) or (isinstance(part, ast.Constant) and type(part.value) is int)
        for part in ast.walk(node)
    )
