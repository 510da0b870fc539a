"""Arguments of functions and constructors, including ``**options`` that are passed to base classes."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def constructor_parameters(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return a constructor's keyword arguments, and whether it accepts other names.

    A constructor with ``**kwargs`` is assumed to pass them to the constructor of its base class; if that one has no
    arguments, the class uses them itself, and accepts any name.
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
    """Return the types of the arguments of a class's own constructor that can be resolved.

    A dataclass's constructor repeats the annotations of its base classes, whose names may only be defined in the
    modules of these classes.
    """
    for source in (vars(owner)["__init__"], *([owner] if dataclasses.is_dataclass(owner) else [])):
        with suppress(Exception):  # names that only exist for type checkers: these types are not checked
            return typing.get_type_hints(source)
    return {}


def resolve_annotations(cls: type) -> None:
    """Replace a class's own annotations, which may be strings, by types.

    A dataclass repeats the annotations of its base classes, and jsonargparse resolves them in the module of the
    dataclass, where names may be undefined; the types of all of its arguments would then not be checked.

    Raises:
        NameError: If a name only exists for type checkers.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    cls.__annotations__ = {name: hints[name] for name in vars(cls).get("__annotations__", {})}


def accepts(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Return whether a function can be called with these arguments, according to its signature."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # it has no signature
        return True
    return True
