"""The code of a trial: the classes of submission and workload, and the checksums of their source files."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from algoperf_lightning.submission import Submission
    from algoperf_lightning.workload import Workload

_LIBRARY = "algoperf_lightning"
_SITES = ("site-packages", "dist-packages")


def describe_source(workload: Workload) -> dict[str, Any]:
    """Return the import paths of a trial's classes and the checksums of their source files, for the record.

    The source files are the modules that define the submission, wrapped submissions, and the workload, with their base
    classes; modules of the same package; and, unless the package is installed, imported modules in the same folder. Of
    this library's own modules, only those that define the classes are listed; the others are identified by its version,
    like other packages.

    Returns:
        ``submission_class`` and ``workload_class``, and ``source``: SHA-256 by the file's path from its import root
        (``my_package/my_module.py``).
    """
    from algoperf_lightning.submission import Submission  # which import torch
    from algoperf_lightning.workload import Workload

    def held_by(submission: Submission) -> Iterator[Submission]:
        yield submission
        for value in vars(submission).values():
            if isinstance(value, Submission):
                yield from held_by(value)

    common = {*Workload.__mro__, *Submission.__mro__}
    classes = [type(workload), *map(type, held_by(workload.submission))]
    files = {name: path for cls in classes for name, path in _files_of(cls, common)}
    return {
        "submission_class": _import_path(type(workload.submission)),
        "workload_class": _import_path(type(workload)),
        "source": {name: digest for name, path in sorted(files.items()) if (digest := _checksum(path)) is not None},
    }


def _import_path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _files_of(cls: type, common: Container[type]) -> Iterator[tuple[str, Path]]:
    own = cls.__module__.partition(".")[0]
    for base in cls.__mro__:
        module, path = base.__module__, _file_of(base.__module__)
        top = module.partition(".")[0]
        if path is None or base in common or top in sys.stdlib_module_names:
            continue
        name = _name_of(module, path)
        installed = _root(path, name).name in _SITES
        if installed and top not in (own, _LIBRARY):
            continue  # a base class of another package, which is identified by its version
        yield name, path
        if top != _LIBRARY:
            yield from _package(top)
        if top != _LIBRARY and not installed:
            yield from _beside(_root(path, name))


def _file_of(module: str) -> Path | None:
    file = _file_name(sys.modules[module]) if module in sys.modules else ""
    return Path(file) if file else None


def _file_name(module: ModuleType) -> str:
    """Return the source file of a module; an empty string if it has none."""
    file = vars(module).get("__file__")
    return file if isinstance(file, str) and file.endswith(".py") else ""


def _name_of(module: str, path: Path) -> str:
    parts = module.replace(".", "/")
    if module == "__main__":
        return path.name
    return f"{parts}/__init__.py" if path.name == "__init__.py" else f"{parts}.py"


def _root(path: Path, name: str) -> Path:
    return path.parents[min(name.count("/"), len(path.parents) - 1)]


def _package(top: str) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package."""
    package = _file_of(top)
    if package is not None and package.name == "__init__.py":
        for file in package.parent.rglob("*.py"):
            yield f"{top}/{file.relative_to(package.parent).as_posix()}", file


def _beside(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield modules that were imported from a folder, but not from a virtual environment in it."""
    for module, loaded in list(sys.modules.items()):
        if module in ("__main__", "conftest") or module.partition(".")[0] == _LIBRARY:
            continue
        file, parts = _file_name(loaded), module.replace(".", os.sep)
        if file in (f"{root}{os.sep}{parts}.py", f"{root}{os.sep}{parts}{os.sep}__init__.py"):
            yield _name_of(module, Path(file)), Path(file)


def _checksum(path: Path) -> str | None:
    with suppress(OSError):  # removed since it was imported
        return _digest(path, path.stat().st_mtime_ns)
    return None


@cache
def _digest(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe_change(name: str, was: Any, now: Any) -> str:
    """Return a description of changes in an environment, with the names of changed source files.

    Example:
        >>> describe_change("torch_threads", 8, 4)
        'torch_threads was 8 and is now 4'
        >>> describe_change("source", {"a.py": "0f", "b.py": "1c"}, {"a.py": "2d", "b.py": "1c"})
        'the source of a.py has changed'
    """
    if name == "source" and isinstance(was, dict) and isinstance(now, dict):
        files = sorted(file for file in was.keys() | now.keys() if was.get(file) != now.get(file))
        return f"the source of {', '.join(files)} has changed"
    return f"{name} was {was!r} and is now {now!r}"


def find_source(name: str, checksum: str, roots: Iterable[str | Path]) -> Path | None:
    """Return the file of a recorded name below some import roots, preferably one with the recorded checksum.

    Nothing is imported.
    """
    found = [path for root in roots if (path := Path(root) / name).is_file()]
    return next((path for path in found if _checksum(path) == checksum), found[0] if found else None)
