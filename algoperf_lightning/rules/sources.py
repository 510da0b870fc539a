"""The source code of a submission: its module and its own imported modules, or the methods of a notebook class."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from algoperf_lightning.submission import Submission

_INSTALLED = frozenset(("site-packages", "dist-packages"))
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))


@dataclass(frozen=True)
class Source:
    """One source of a submission."""

    name: str
    """Its name in warnings: a module, or a method of a class in a notebook."""
    tree: ast.AST
    names: Mapping[str, str] = field(default_factory=dict)
    """Dotted paths of names that the source does not import itself."""


def sources(submission: type) -> Iterator[Source]:
    """Yield the sources of a submission without importing or running them."""
    if _is_library(submission.__module__):
        return
    module = sys.modules.get(submission.__module__)
    path = getattr(module, "__file__", None)
    if path is None or submission.__module__ == "__main__":
        # Other code of a script or notebook does not belong to the submission.
        yield from _methods(submission)
        return
    waiting, seen = [(submission.__module__, Path(path))], set()
    while waiting:
        name, file = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        try:
            tree = _parse(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
        yield Source(name, tree)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        waiting += _own_modules(_imports(tree, package), submission.__module__, Path(path).parent)


def submissions_in(submission: Submission) -> list[Submission]:
    """Return a submission and the submissions that it contains, such as a wrapped one, from the outside to the inside.

    Attributes are searched, and lists, tuples and dicts in them.
    """
    found: list[Submission] = []
    waiting: list[Any] = [submission]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, (Submission, dict, list, tuple)) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Submission):
            found.append(each)
            each = vars(each)
        waiting += each.values() if isinstance(each, dict) else each
    return found


def files(submission: Submission) -> frozenset[str]:
    """Return the files with the code of a submission and of those that it contains, including their own base classes.

    A notebook cell has a file too.
    """
    found = set()
    for cls in {base for each in submissions_in(submission) for base in type(each).__mro__}:
        if not _is_library(cls.__module__) and cls is not object:
            found |= {member.__code__.co_filename for member in vars(cls).values() if inspect.isfunction(member)}
    return frozenset(found)


def is_own(module: str, file: str, own_files: frozenset[str]) -> bool:
    """Return whether a module belongs to a submission: it is one of its files, or in the same folder."""
    if file in own_files:
        return True
    if _is_library(module) or file.startswith("<"):
        return False
    return any(_lies_beside(Path(file), Path(each).parent) for each in own_files if not each.startswith("<"))


@lru_cache(maxsize=256)
def _parse(text: str) -> ast.AST:
    return ast.parse(text)


def _is_library(module: str) -> bool:
    return f"{module}.".startswith("algoperf_lightning.") and ".baselines." not in module


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the full names of imported modules; for ``from a import b`` both ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _own_modules(names: Iterator[str], submission: str, folder: Path) -> list[tuple[str, Path]]:
    """Return names and files of the submission's modules: in its package, or in the folder of its single file."""
    top, _, is_package = submission.partition(".")
    found = []
    for name in names:
        if _is_library(name) or (is_package and name.partition(".")[0] != top):
            continue
        if not is_package and _INSTALLED.intersection(folder.parts) and name != top:
            continue
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, AttributeError, ValueError):
            continue
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        if is_package or _lies_beside(Path(spec.origin), folder):
            found.append((name, Path(spec.origin)))
    return found


def _lies_beside(file: Path, folder: Path) -> bool:
    """Return whether a module is in a submission's folder, and not in a virtual environment within that folder."""
    if not file.is_relative_to(folder) or file.is_relative_to(_STANDARD_LIBRARY):
        return False
    return not _INSTALLED.intersection(file.relative_to(folder).parts)


def _methods(submission: type) -> Iterator[Source]:
    for name, member in vars(submission).items():
        if not inspect.isfunction(member):
            continue
        try:
            tree = _parse(textwrap.dedent(inspect.getsource(member)))
        except (OSError, SyntaxError):
            continue
        names = {}
        for key, value in member.__globals__.items():
            if inspect.ismodule(value):
                names[key] = value.__name__
            elif key in member.__code__.co_names and getattr(value, "__module__", None) not in (None, "__main__"):
                names[key] = f"{value.__module__}.{getattr(value, '__qualname__', key)}"
        yield Source(f"{submission.__name__}.{name}", tree, names)
