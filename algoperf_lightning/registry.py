"""Plug-ins by name, found through entry points.

A package, ours or anyone's, offers workloads in the entry-point group ``algoperf_lightning.workloads`` and submissions
in ``algoperf_lightning.submissions``. Nothing is imported until it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.spec import LATEST_VERSION, WorkloadSpec, nearest_or_raise

if TYPE_CHECKING:
    from algoperf_lightning.submission import Submission
    from algoperf_lightning.workload import Workload

WORKLOADS = "algoperf_lightning.workloads"
SUBMISSIONS = "algoperf_lightning.submissions"


class MissingLibraryError(BadInputError, ImportError):
    """A plug-in needs a library that is not installed."""


@cache
def plugins(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, sorted.

    Raises:
        BadInputError: If two packages offer different things under one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise BadInputError(
                f"Two plug-ins are named {entry.name!r} in {group}: {other.value} and {entry.value}. "
                "Uninstall one of the packages or rename its entry point."
            )
    return found


def get_workload(name: str) -> type[Workload]:
    """Return the workload class of that name.

    Raises:
        BadInputError: If there is none; the message names the nearest.
        MissingLibraryError: If the workload needs a library that is not installed.
    """
    loaded: type[Workload] = _load(WORKLOADS, "workload", name)
    return loaded


def get_submission(name: str) -> type[Submission]:
    """Return the submission class of that name.

    Raises:
        BadInputError: If there is none; the message names the nearest.
        MissingLibraryError: If the submission needs a library that is not installed.
    """
    loaded: type[Submission] = _load(SUBMISSIONS, "submission", name)
    return loaded


def get_spec(name: str) -> WorkloadSpec:
    """Return a workload's spec without importing torch where the plug-in allows it.

    A plug-in that lists its specs as ``SPECS`` in a module ``spec`` beside the workload's own module is read from
    there; any other is imported whole.

    Raises:
        BadInputError: If there is no such workload.
    """
    entry = plugins(WORKLOADS)[nearest_or_raise("workload", name, plugins(WORKLOADS))]
    package = entry.module.rpartition(".")[0]
    with suppress(ModuleNotFoundError):  # the package's own trouble is told when it is imported below
        if package and importlib.util.find_spec(f"{package}.spec") is not None:
            specs: tuple[WorkloadSpec, ...] = getattr(importlib.import_module(f"{package}.spec"), "SPECS", ())
            for spec in specs:
                if spec.name == name:
                    return spec
    return get_workload(name).spec


def find_workload(full_name: str, version: str = LATEST_VERSION) -> WorkloadSpec:
    """Return the spec of a full name: a workload, a variant of one, either of them at tiny size.

    Raises:
        BadInputError: If there is none; the message names the nearest.

    Example:
        >>> find_workload("digits").full_name
        'digits'
    """
    known = plugins(WORKLOADS)
    if full_name in known:
        return get_spec(full_name).of(version=version)
    for name in sorted(known, key=len, reverse=True):
        if full_name.startswith(f"{name}_"):
            rest = full_name.removeprefix(f"{name}_")
            variant = rest.removesuffix("tiny").removesuffix("_")
            return get_spec(name).of(version=version, variant=variant or None, tiny=rest.endswith("tiny"))
    nearest_or_raise("workload", full_name, known)
    raise AssertionError("unreachable")


def find_submission(name: str) -> type[Submission]:
    """Return the submission class of a registered name, or of an import path: ``my_package.my_module.MyClass``.

    Raises:
        BadInputError: If there is none.
    """
    module, _, attribute = name.rpartition(".")
    if not module:
        return get_submission(name)
    try:
        found: type[Submission] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BadInputError(f"The submission {name!r} cannot be imported: {error}.") from error
    return found


def name_of(plugin: type) -> str:
    """Return the name a class is registered by, else its own name (a class from a notebook cell, say)."""
    value = f"{plugin.__module__}:{plugin.__qualname__}"
    for group in (WORKLOADS, SUBMISSIONS):
        for name, entry in plugins(group).items():
            if entry.value == value:
                return name
    return plugin.__name__


def _load(group: str, kind: str, name: str) -> Any:
    entry = plugins(group)[nearest_or_raise(kind, name, plugins(group))]
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("algoperf_lightning"):
            raise
        raise MissingLibraryError(
            f"The {kind} {name!r} needs the library {error.name!r}, which is not installed: pip install {error.name}."
        ) from error
