"""Entry points of installed packages. Problems of a package are reported, and do not affect other packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions


@dataclass(frozen=True)
class Discovered:
    """The entry points of a group."""

    usable: dict[str, EntryPoint] = field(default_factory=dict)
    """By name, sorted."""
    problems: dict[str, str] = field(default_factory=dict)
    """Reasons why names cannot be loaded, with the packages; also packages whose file cannot be read."""


@cache
def discover(group: str) -> Discovered:
    """Return the entry points of a group, and the problems of others, without importing them."""
    found = Discovered()
    offers: dict[str, list[EntryPoint]] = {}
    for distribution in _distributions():
        try:
            entries = [entry for entry in distribution.entry_points if entry.group == group]
        except Exception as error:  # not UTF-8, or a line without "="
            if _mentions(distribution, group):
                package = _name(distribution)
                found.problems[package] = f"The entry points of the package {package} cannot be read: {error}."
            continue
        for entry in entries:
            offers.setdefault(entry.name, []).append(entry)
    for name, entries in sorted(offers.items()):
        if len({entry.value for entry in entries}) > 1:
            both = " and ".join(f"{entry.value} of {package_of(entry)}" for entry in entries)
            found.problems[name] = (
                f"Two packages offer {name!r} in {group}: {both}. Uninstall one of them, rename its entry point, or "
                "give the import path of the class."
            )
        elif entries[0].pattern.fullmatch(entries[0].value) is None:
            found.problems[name] = (
                f"The entry point {name!r} of the package {package_of(entries[0])} is {entries[0].value!r}, but must "
                "be like 'package.module:Class'."
            )
        else:
            found.usable[name] = entries[0]
    return found


def package_of(entry: EntryPoint) -> str:
    """Return the name of the installed package that has an entry point."""
    return _name(entry.dist) if entry.dist is not None else "?"


def _distributions() -> Iterator[Distribution]:
    """Yield installed packages; of several copies on the path the first one, as an import would."""
    seen = set()
    for distribution in distributions():
        key = _folder_name(distribution)
        if key not in seen:
            seen.add(key)
            yield distribution


def _folder_name(distribution: Distribution) -> str:
    """Return the package's name from its metadata folder, because reading the metadata of all packages is slow."""
    path = getattr(distribution, "_path", None)
    if path is None:
        return str(id(distribution))
    name: str = path.name
    for ending in (".dist-info", ".egg-info"):
        name = name.removesuffix(ending)
    return name.partition("-")[0].lower().replace(".", "_")


def _name(distribution: Distribution) -> str:
    with suppress(Exception):  # METADATA is missing or damaged
        if name := distribution.metadata["Name"]:
            return name
    return _folder_name(distribution)


def _mentions(distribution: Distribution, group: str) -> bool:
    """Return whether an unreadable file of entry points contains some of this group."""
    path = getattr(distribution, "_path", None)
    with suppress(OSError):
        return path is not None and group.encode() in (path / "entry_points.txt").read_bytes()
    return False
