"""Files of the official harness for each start of a trial: ``flags_0.json``, after a preemption ``flags_1.json``."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from algoperf_lightning.scoring.own_runs import describe_compilation, describe_hardware
from algoperf_lightning.scoring.runs import Runs

_STARTS = re.compile(r"(flags|meta_data)_(\d{1,6})\.json")


def read_starts(folder: str, runs: Runs) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the flags and the metadata of each start of a trial, in order; at least one pair, empty without files.

    If a file of a start is missing or damaged, that of the previous start is used.

    Args:
        folder: The trial's folder.
        runs: Receives the findings.
    """
    starts: dict[int, dict[str, str]] = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 (fast on purpose)
        if match := _STARTS.fullmatch(name):
            starts.setdefault(int(match[2]), {})[match[1]] = name
    found = []
    flags: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    for _, names in sorted(starts.items()):
        if "flags" in names:
            flags = read_object(f"{folder}/{names['flags']}", runs) or flags
        if "meta_data" in names:
            meta = read_object(f"{folder}/{names['meta_data']}", runs) or meta
        found.append((flags, meta))
    return found or [({}, {})]


def read_object(path: str, runs: Runs) -> dict[str, Any]:
    """Return the JSON object in a file; empty without a file, and with a finding if it has other content."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        runs.note("conditions unknown", f"{path} cannot be read: {error}. Its content is ignored.")
        return {}
    if not isinstance(content, dict):
        runs.note("conditions unknown", f"{path} must contain a JSON object, but contains {str(content)[:80]}.")
        return {}
    return content


def describe_resumes(starts: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """Return a description of relevant changes between the starts of one trial; empty if there are none.

    Args:
        starts: Environment of each start, by the names of our own records, and other relevant settings.
    """
    described = [_describe(*start) for start in starts]
    lines = []
    for number, (before, now) in enumerate(itertools.pairwise(described), start=1):
        # Fields that are missing in a start count as unchanged.
        changed = [name for name in now if None not in (before[name], now[name]) and before[name] != now[name]]
        if changed:
            words = ", ".join(f"{name} {now[name]} instead of {before[name]}" for name in changed)
            lines.append(f"after resume {number} {words}")
    return "; ".join(lines)


def _describe(environment: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "hardware": describe_hardware(environment),
        "commit": environment.get("commit"),
        "python": environment.get("python"),
        "compilation": describe_compilation(environment),
        **settings,
    }
