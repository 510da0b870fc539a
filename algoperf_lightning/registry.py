"""Plug-ins by name, found through entry points.

Packages provide workloads in the entry-point group ``algoperf_lightning.workloads`` and submissions in
``algoperf_lightning.submissions``. Plug-ins are imported on first use. A package that cannot be imported only affects
its own plug-ins.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

from algoperf_lightning.errors import BadInputError, PluginError, in_one_line
from algoperf_lightning.sizes import at_size, size_of
from algoperf_lightning.spec import LATEST_VERSION, WorkloadSpec
from algoperf_lightning.utilities.discovery import discover, package_of
from algoperf_lightning.utilities.inputs import nearest_or_raise
from algoperf_lightning.utilities.libraries import not_installed, require_libraries

WORKLOADS = "algoperf_lightning.workloads"
SUBMISSIONS = "algoperf_lightning.submissions"

_Found = TypeVar("_Found")


def plugins(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, sorted; without those in :func:`problems`."""
    return discover(group).usable


def problems(*groups: str) -> list[str]:
    """Return a line for each unusable entry point: malformed, or a name that two packages use."""
    return [line for group in groups for line in discover(group).problems.values()]


def names(group: str) -> list[str]:
    """Return all names of a group, including unusable ones."""
    found = discover(group)
    return sorted({**found.usable, **found.problems})


def get_class(group: str, kind: str, name: str) -> type:
    """Return the plug-in whose class has a name: ``AdamW``. This imports all plug-ins of the group.

    Raises:
        BadInputError: If there is none; the message suggests the most similar name.
        MissingLibraryError: If it needs a library that is not installed.
    """
    classes: dict[str, type] = {}
    for registered in plugins(group):
        with suppress(PluginError):
            loaded = _load(group, kind, registered)
            classes[loaded.__name__] = loaded
    return _with_its_libraries(classes[nearest_or_raise(kind, name, classes)])


def get_spec(name: str) -> WorkloadSpec:
    """Return a workload's spec, without importing torch if the plug-in allows it.

    If a plug-in lists its specs as ``SPECS`` in a module ``spec`` next to the workload's module, only this module is
    imported; otherwise the complete plug-in is.

    Raises:
        BadInputError: If the workload is unknown, or cannot be loaded.
    """
    entry = _entry(WORKLOADS, "workload", name)
    package = entry.module.rpartition(".")[0]

    def listed() -> tuple[WorkloadSpec, ...]:
        with suppress(ModuleNotFoundError):  # errors of the package are reported when it is imported below
            if package and importlib.util.find_spec(f"{package}.spec") is not None:
                specs: tuple[WorkloadSpec, ...] = getattr(importlib.import_module(f"{package}.spec"), "SPECS", ())
                return specs
        return ()

    for spec in _guarded(entry, "workload", listed):
        if spec.name == name:
            return spec
    own = getattr(load_plugin(WORKLOADS, "workload", name, object), "spec", None)
    if not isinstance(own, WorkloadSpec):
        raise PluginError(f"{_described(entry, 'workload')} must be a subclass of Workload with a spec, but has none.")
    return own


def find_workload(full_name: str, version: str = LATEST_VERSION) -> WorkloadSpec:
    """Return the spec of a full name: a workload or a variant, possibly at tiny or small size.

    Raises:
        BadInputError: If the name is unknown; the message suggests the most similar one.

    Example:
        >>> find_workload("digits").full_name
        'digits'
    """
    known = dict.fromkeys(names(WORKLOADS))
    if full_name in known:
        return get_spec(full_name).of(version=version)
    for name in sorted(known, key=len, reverse=True):
        if full_name.startswith(f"{name}_"):
            rest = full_name.removeprefix(f"{name}_")
            size = size_of(full_name)
            variant = rest.removesuffix(size or "").removesuffix("_")
            return get_spec(name).of(version=version, variant=variant or None, **at_size(size))
    nearest_or_raise("workload", full_name, known)
    raise AssertionError("unreachable")


def name_of(plugin: type) -> str:
    """Return the registered name of a class, or its own name, for example for a class from a notebook cell."""
    value = f"{plugin.__module__}:{plugin.__qualname__}"
    for group in (WORKLOADS, SUBMISSIONS):
        for name, entry in plugins(group).items():
            if entry.value == value:
                return name
    return plugin.__name__


def load_plugin(group: str, kind: str, name: str, base: type[_Found]) -> type[_Found]:
    """Return the class of an entry point.

    Raises:
        BadInputError: If the name is unknown; the message suggests the most similar one.
        PluginError: If it cannot be loaded, whatever its package raises on import, or is not a subclass of ``base``;
            the message names the package.
        MissingLibraryError: If it needs a library that is not installed.
    """
    loaded = _load(group, kind, name)
    return _with_its_libraries(_checked(loaded, base, _described(_entry(group, kind, name), kind), PluginError))


def _load(group: str, kind: str, name: str) -> Any:
    entry = _entry(group, kind, name)
    return _guarded(entry, kind, entry.load)


def _with_its_libraries(plugin: type[_Found]) -> type[_Found]:
    """Return a plug-in if the libraries that its spec names are installed; only workloads have one."""
    if isinstance(spec := getattr(plugin, "spec", None), WorkloadSpec):
        require_libraries(f"The workload {spec.name!r}", spec.libraries, spec.extra)
    return plugin


def _guarded(entry: EntryPoint, kind: str, load: Callable[[], _Found]) -> _Found:
    """Return ``load()``, which imports code of an entry point's package.

    Raises:
        PluginError: For any exception but Ctrl-C, also for ``sys.exit``.
    """
    what = _described(entry, kind)
    try:
        return load()
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.startswith("algoperf_lightning"):
            if entry.module.startswith("algoperf_lightning."):
                raise
            raise PluginError(f"{what} is not compatible with this version of algoperf-lightning: {error}.") from error
        if f"{entry.module}.".startswith(f"{missing}."):
            raise PluginError(f"{what} is {entry.value!r}, but there is no module {missing!r}.") from error
        raise not_installed(f"The {kind} {entry.name!r}", [missing]) from error
    except BaseException as error:
        raise PluginError(f"{what} cannot be loaded: {in_one_line(error)}.") from error


def _described(entry: EntryPoint, kind: str) -> str:
    return f"The {kind} {entry.name!r} of the package {package_of(entry)}"


def _entry(group: str, kind: str, name: str) -> EntryPoint:
    if name not in plugins(group) and name in discover(group).problems:
        raise PluginError(discover(group).problems[name])
    return plugins(group)[nearest_or_raise(kind, name, plugins(group))]


def import_class(kind: str, path: str, base: type[_Found]) -> type[_Found]:
    """Return the class of an import path: ``my_module.MyClass``. Modules are also looked for in the current folder.

    Raises:
        BadInputError: If it cannot be imported, or is not a subclass of ``base``.
    """
    return _checked(_import(kind, path), base, f"The {kind} {path!r}")


def _import(kind: str, path: str) -> Any:
    module_name, _, attribute = path.rpartition(".")
    if not all(part.isidentifier() for part in path.split(".")):
        raise BadInputError(f"The {kind} {path!r} is neither a name nor an import path like my_module.MyClass.")
    # At the end, so that a file here does not shadow an installed library.
    if os.getcwd() not in sys.path and "" not in sys.path:  # noqa: PTH109 (an entry of sys.path is text)
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise BadInputError(f"The {kind} {path!r} needs {error.name!r}, which is not installed.") from error
        raise BadInputError(
            f"The {kind} {path!r} cannot be imported: there is no module {error.name!r}, neither installed nor in "
            "the current folder."
        ) from error
    except BaseException as error:
        raise BadInputError(f"The {kind} {path!r} cannot be imported: {in_one_line(error)}.") from error
    if not hasattr(module, attribute):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module_name]
        classes = dict.fromkeys(key for key in own if isinstance(getattr(module, key), type))
        where = getattr(module, "__file__", None) or module_name
        nearest_or_raise(f"class of {module_name} ({where})", attribute, classes)
    return getattr(module, attribute)


def _checked(found: Any, base: type[_Found], what: str, error: type[BadInputError] = BadInputError) -> type[_Found]:
    if not (isinstance(found, type) and issubclass(found, base)):
        raise error(f"{what} must be a subclass of {base.__name__}, but is {found!r}.")
    return found
