"""Order of the warnings of the rule checks: first those that affect scores."""

from __future__ import annotations

from collections.abc import Iterable

_ORDER = (
    "trial.json was changed",
    "A clock",
    "Parameters or buffers changed",
    "configure_optimizers took",
    "A hook or a forward pass",
    "Threads or processes",
    "Other code ran alongside",
    "Methods were replaced",
    "The workload",
    "The data pipeline",
    "The model's structure",
    "The model's modes",
    "The interpreter",
    "A global setting",
    "The environment",
)


def gravity(warning: str) -> int:
    """Return a sort key of warnings: those from the run before those from the source code."""
    return next((place for place, begin in enumerate(_ORDER) if warning.startswith(begin)), len(_ORDER))


def gravest_first(warnings: Iterable[str]) -> list[str]:
    """Return warnings by importance, without duplicates.

    Example:
        >>> gravest_first(["my_entry, line 3: uses exec.", "The environment changed during the run: X.", "A clock ..."])
        ['A clock ...', 'The environment changed during the run: X.', 'my_entry, line 3: uses exec.']
    """
    return sorted(dict.fromkeys(warnings), key=gravity)
