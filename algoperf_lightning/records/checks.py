"""Checks of every record, so that damage is reported when it is read and not when it is used."""

from __future__ import annotations

import math
import shlex
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from algoperf_lightning.errors import BadInputError

_LARGEST_INTEGER = 2**64  # seeds are below; larger integers are damage, and exceed floats


class RecordError(BadInputError):
    """A trial's folder cannot be read."""


def remedy(folder: Path) -> str:
    """Return a description of what to do about a damaged trial."""
    command = f"algoperf repair {shlex.quote(str(folder))}"
    return (
        f"`{command}` restores it from its checkpoint, or moves it aside so that it can start again. For a "
        "study, `algoperf tune ... --retry-failed` does the same."
    )


def check_fields(record: object, hints: Mapping[str, Any], required: Sequence[str], where: Path | str) -> None:
    """Raise unless a record read from a file has fields of the right types.

    Args:
        record: The content of the file.
        hints: The type of each field: classes, literals, unions, ``list[T]``, ``dict[str, T]``, ``tuple[...]`` of fixed
            length. Numbers must be finite; an integer is also a float, but a boolean is not a number.
        required: Required fields.
        where: Name of the file in errors.

    Raises:
        RecordError: Naming the field, its value and what was expected.
    """
    if not isinstance(record, Mapping):
        raise RecordError(f"{where}: expected an object with fields, but got {_short(record)}.")
    if missing := [name for name in required if name not in record]:
        raise RecordError(f"{where}: {', '.join(missing)} missing.")
    for name, hint in hints.items():
        if name in record and not _fits(record[name], hint):
            raise RecordError(f"{where}: {name} must be {_words(hint)}, but is {_short(record[name])}.")


def check_at_least(record: Mapping[str, Any], names: Sequence[str], least: float, where: Path | str) -> None:
    """Raise if the number in one of some fields, if given, is below ``least``.

    Raises:
        RecordError: Naming the field and its value.
    """
    for name in names:
        if record.get(name) is not None and record[name] < least:
            raise RecordError(f"{where}: {name} must not be below {least:g}, but is {record[name]!r}.")


def check_format(record: Mapping[str, Any], newest: int, where: Path | str) -> None:
    """Raise if a file was written in a format that is newer than this library's.

    Raises:
        RecordError: Naming both formats.
    """
    found = record.get("format", newest)
    if not _fits(found, int) or found < 1:
        raise RecordError(f"{where}: format must be a positive integer, but is {_short(found)}.")
    if found > newest:
        raise RecordError(
            f"{where} has format {found}, and this version of algoperf-lightning reads up to {newest}. Use the version "
            "that wrote it, or a newer one."
        )


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if hint in (None, type(None)):
        return value is None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INTEGER
    if hint is float:
        return _fits(value, int) or (isinstance(value, float) and math.isfinite(value))
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is tuple and arguments[1:] == (...,):
        return isinstance(value, (list, tuple)) and all(_fits(item, arguments[0]) for item in value)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if isinstance(hint, type) and issubclass(hint, Enum):
        return isinstance(value, str) and value in [member.value for member in hint]
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(repr(member.value) for member in hint)}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_words(each) for each in get_args(hint))
    words = {int: "an integer", float: "a finite number", str: "a string", bool: "true or false", type(None): "null"}
    if hint in words:
        return words[hint]
    return "a list" if get_origin(hint) in (list, tuple) else "an object"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
