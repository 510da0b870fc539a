"""Checks of search spaces: their values, and whether these fit a submission's constructor."""

from __future__ import annotations

import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.inputs import nearest
from algoperf_lightning.utilities.signatures import constructor_parameters

_LONGEST = 120  # characters of a value in a message


def problem(name: object, value: object, expected: str) -> str:
    """Return one line that names the hyperparameter, what was expected, and the value."""
    return f"{name}: expected {expected}, but got {shown(value)}."


def shown(value: object) -> str:
    """Return a value in the form for messages, truncated if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def raise_if(problems: Sequence[str], source: str) -> None:
    """Raise one error with all problems, if there are any.

    Raises:
        BadInputError: Naming ``source``, with a line for each problem.
    """
    if problems:
        lines = "".join(f"\n- {line}" for line in problems)
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise BadInputError(f"The search space {source} has {count}:{lines}")


def read_json(path: Path, problems: list[str]) -> Any:
    """Return the content of a JSON file; duplicate keys are added to ``problems``.

    Raises:
        BadInputError: If the file cannot be read or is not JSON; it names the file.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for key, value in pairs:
            if key in read:  # Python's reader would silently keep the last one
                problems.append(problem(key, [read[key], value], "one entry of that name"))
            read[key] = value
        return read

    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except OSError as error:
        raise BadInputError(f"The search space {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested too deeply
        raise BadInputError(f"The search space {path} is not JSON, or is truncated: {error}.") from error


def plain(value: Any) -> Any:
    """Convert NumPy scalars to Python's; return other values unchanged."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def as_number(value: Any) -> Any:
    """Convert strings with finite numbers to numbers; return other values unchanged.

    Example:
        >>> as_number("1e-3"), as_number("7"), as_number("cosine"), as_number(True)
        (0.001, 7, 'cosine', True)
    """
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        with suppress(ValueError):
            number = kind(value)
            return number if is_finite(number) else value
    return value


def number_reader(submission: type) -> Callable[[str, Any], Any]:
    """Return a function of a hyperparameter's name and value that converts numbers which were written as strings.

    Search-space files contain such strings, mostly ``"1e-3"`` (a string in YAML 1.1). Unless the annotation allows
    strings, `algoperf fit` would also read a number, so plan and record agree.
    """
    parameters, _ = constructor_parameters(submission)

    def read(name: str, value: Any) -> Any:
        annotation = parameters[name].annotation if name in parameters else inspect.Parameter.empty
        text_expected = annotation not in (inspect.Parameter.empty, Any) and fits(value, annotation)
        return value if text_expected else as_number(value)

    return read


def is_number(value: object) -> bool:
    """Return whether a value is a number in JSON; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """Return whether a value is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Return False for infinities, NaN and integers beyond the range of floats; True for other types."""
    try:
        return not is_number(value) or math.isfinite(value)
    except OverflowError:
        return False


def range_must_have(minimum: float, maximum: float, scaling: Any) -> str:
    """Return the problem of a range; empty if it is valid."""
    low, high = float(minimum), float(maximum)
    if low >= high:
        return "min below max (write a single value as feasible_points)"
    if scaling == "log" and low <= 0:
        return "min above 0, as the scaling is log"
    # Drawing a value divides or subtracts the ends, which must not overflow.
    return "" if is_finite(high / low if scaling == "log" else high - low) else "ends that are less far apart"


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a value fits a parameter with an annotation; annotations other than plain types accept anything.

    Example:
        >>> fits(1, float), fits(True, float), fits(1.0, int), fits(None, float | None), fits("1", list[int])
        (True, False, False, True, True)
    """
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, member) for member in typing.get_args(annotation))
    if origin is typing.Literal:
        return any(type(value) is type(option) and value == option for option in typing.get_args(annotation))
    if annotation is float:
        return is_number(value)
    if annotation is int:
        return is_integer(value)
    if annotation in (None, types.NoneType):
        return value is None
    return not any(annotation is plain_type for plain_type in (bool, str)) or isinstance(value, annotation)


def mismatches(submission: type, names: Mapping[Any, Any], values: Iterable[tuple[str, str, Any, object]]) -> list[str]:
    """Return the reasons why a submission's constructor does not accept the points of a search space.

    Args:
        submission: The class; hyperparameters are the keyword arguments of its ``__init__``.
        names: The hyperparameters that are set, with the declaration of each.
        values: Rows of a label for messages, the hyperparameter, a value, and the value as messages show it.
    """
    parameters, takes_any = constructor_parameters(submission)
    known = ", ".join(parameters) or "none"
    problems = []
    for name, declared in names.items():
        if name not in parameters and not takes_any:
            close = nearest(name, parameters)
            hint = f" (did you mean {close!r}?)" if close else ""
            problems.append(problem(name, declared, f"a hyperparameter of {submission.__name__}{hint}: {known}"))
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in names:
            expected = f"values, as {submission.__name__} has no default for it"
            problems.append(f"{name}: expected {expected}, but it is not in the search space.")
    for label, name, value, as_shown in values:
        if name not in parameters or value is parameters[name].default:
            continue  # defaults always fit, whatever the annotation is: `clip: float = None`
        annotation = parameters[name].annotation
        if not fits(value, annotation):
            problems.append(f"{label}: expected {inspect.formatannotation(annotation)}, but got {as_shown}.")
    return problems


def free_names(submission: type, names: Iterable[str]) -> tuple[str, ...]:
    """Return the hyperparameters that no constructor names, so that only ``**kwargs`` accepts them."""
    parameters, takes_any = constructor_parameters(submission)
    return tuple(name for name in names if name not in parameters) if takes_any else ()
