"""Checks of what a user gives: names and numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from algoperf_lightning.errors import BadInputError


def check_positive(name: str, value: object) -> None:
    """Raise unless ``value`` is a positive, finite number.

    Raises:
        BadInputError: Naming ``name``, the value and what was expected.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise BadInputError(f"{name} must be a positive number, but got {value!r}.")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant: one with a similar spelling or these initials, or None.

    Example:
        >>> nearest("mnsit", ["digits", "mnist"]), nearest("lr", ["learning_rate"]), nearest("max-steps", ["max_steps"])
        ('mnist', 'learning_rate', 'max_steps')
    """
    known = list(known)
    written = str(name).replace("-", "_")
    words = {each: each.split("_") for each in known if "_" in each and "." not in each}
    by_initials = [each for each, parts in words.items() if "".join(part[:1] for part in parts) == written]
    return next(iter([*by_initials, *difflib.get_close_matches(written, known, n=1)]), None)


def nearest_or_raise(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """Return ``name`` if it is known, otherwise raise with the most similar known one.

    Raises:
        BadInputError: ``Unknown workload 'mnsit'. Did you mean 'mnist'? Choose from: cifar10, digits, mnist.``
    """
    if name in known:
        return name
    close = nearest(name, known)
    hint = f" Did you mean {close!r}?" if close else ""
    choices = f"Choose from: {', '.join(sorted(known))}." if known else "There are none."
    raise BadInputError(f"Unknown {kind} {name!r}.{hint} {choices}")
