"""Options of the clock among the arguments of trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.inputs import check_positive
from algoperf_lightning.utilities.yaml_files import read_yaml

_CLOCK_OPTION = "--time_budget."


def budget_override(arguments: Sequence[str], problems: list[str]) -> float | None:
    """Return the user's budget of the trials for the plan; None if it is the workload's.

    Args:
        arguments: Arguments of ``algoperf fit``.
        problems: Problems are added here.
    """
    given = _clock_options(arguments, problems)
    problems += [
        f"{_CLOCK_OPTION}{name} applies to the plan, not to a trial: use the options of `algoperf tune`."
        for name in ("ruleset", "unit", "scale")
        if name in given
    ]
    if "budget" not in given:
        return None
    try:
        budget = float(given["budget"])
        check_positive(f"{_CLOCK_OPTION}budget", budget)
    except (ValueError, TypeError):
        problems.append(f"{_CLOCK_OPTION}budget must be a positive number, but got {given['budget']!r}.")
        return None
    return budget


def _clock_options(arguments: Sequence[str], problems: list[str]) -> dict[str, Any]:
    """Return the clock's options in arguments of ``algoperf fit`` and their YAML files; the last one counts."""
    found: dict[str, Any] = {}
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        value = value if equals else next(iter(arguments[position + 1 :]), "")
        if name.startswith(_CLOCK_OPTION):
            found[name.removeprefix(_CLOCK_OPTION)] = value
        elif name in ("--config", "-c") and Path(value).is_file():
            try:
                content = read_yaml(value) or {}
            except BadInputError as error:
                problems.append(str(error))
                continue
            clock = content.get("time_budget") or {} if isinstance(content, dict) else content
            if isinstance(clock, dict):
                found.update(clock)
            else:
                problems.append(f"{value} is not a config: expected a mapping of options to values, but got {clock!r}.")
    return found
