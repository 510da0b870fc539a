"""What functions and constructors take, through ``**options`` that are handed on to base classes."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from contextlib import suppress
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
        hints = _hints(owner)
        for parameter in named:
            annotation = hints.get(parameter.name, parameter.empty)
            found.setdefault(parameter.name, parameter.replace(annotation=annotation))
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            return found, handed_on and not named
        handed_on = True
    return found, handed_on


def _hints(owner: Any) -> dict[str, Any]:
    """Return the types of a class's own constructor's arguments, as far as they can be resolved.

    A dataclass's constructor repeats the annotations of its base classes, whose names may only mean something in their
    modules; the class itself knows whose they are.
    """
    for source in (vars(owner)["__init__"], *([owner] if dataclasses.is_dataclass(owner) else [])):
        with suppress(Exception):  # names that exist for the type checker only: these types are not checked
            return typing.get_type_hints(source)
    return {}


def resolve_annotations(cls: type) -> None:
    """Replace a class's own annotations, which may be text, by the types that they mean.

    A dataclass repeats the annotations of its base classes, and jsonargparse resolves them in the module of the
    dataclass, where the names may mean nothing; the types of all of its arguments would then go unchecked.

    Raises:
        NameError: If a name exists for the type checker only.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    cls.__annotations__ = {name: hints[name] for name in vars(cls).get("__annotations__", {})}


def accepts(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Return whether a function can be called with these arguments, as far as its signature says."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # it has no signature to ask
        return True
    return True
