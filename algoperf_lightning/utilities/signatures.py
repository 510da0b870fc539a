"""What a class's constructor takes, through ``**options`` that are handed on to its base classes."""

from __future__ import annotations

import inspect
import typing
from typing import Any


def constructor_parameters(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return a constructor's keyword arguments, and whether it takes names beside them.

    A constructor with ``**kwargs`` is taken to hand them to the next one up; if that one takes nothing (it is
    the base class's own, say), the class keeps them for itself, and any name will do.
    """
    found: dict[str, inspect.Parameter] = {}
    handed_on = False
    for owner in cls.__mro__[:-1]:
        if "__init__" not in vars(owner):
            continue
        init: Any = vars(owner)["__init__"]
        own = list(inspect.signature(init).parameters.values())[1:]
        named = [p for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        hints = _hints(init)
        for parameter in named:
            annotation = hints.get(parameter.name, parameter.empty)
            found.setdefault(parameter.name, parameter.replace(annotation=annotation))
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            return found, handed_on and not named
        handed_on = True
    return found, handed_on


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # names that exist for the type checker only: the types of such a constructor are not checked
        return {}
