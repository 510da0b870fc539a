"""Converts errors of parsers, constructors and the Trainer to one line: the option, the value, what was expected."""

from __future__ import annotations

import inspect
import re
import types
import typing
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from algoperf_lightning.commands.fit_arguments import FitArguments, Given
from algoperf_lightning.errors import BadInputError, in_one_line
from algoperf_lightning.tuning.checks import shown
from algoperf_lightning.utilities.inputs import nearest

_ALL_OPTIONS = "`algoperf fit --help` shows all options."
_NOISE = re.compile(
    r"Subtypes: |Given value|Errors:|Does not validate|- Expected a <class 'NoneType'>|Subclass types|- a "
)

_TYPES = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a string", "NoneType": "null"}
_CLASS_PROBLEM = re.compile(r"Problem with given class_path '([^']+)':\s+(.+)")


def wrong_value(error: ArgumentError, given: FitArguments) -> BadInputError:
    """Return the error for the option whose value does not have the type that its class declares."""
    text = str(error)
    missing = [group for group in ("workload", "submission") if group not in given.options.classes]
    if missing and "arguments are required" in text:
        which = " and no ".join(missing)
        example = " ".join(f"--{group} NAME" for group in missing)
        return BadInputError(
            f"No {which} was given. Give {example}, or a config that contains them: --config digits. `algoperf "
            "list` shows all names."
        )
    try:
        check_types(given)
    except BadInputError as found:
        return found
    if nested := _CLASS_PROBLEM.search(text):
        class_path, said = nested.groups()
        return BadInputError(f"{class_path}: {said.rstrip('.')}. {_ALL_OPTIONS}")
    lines = [line.strip(" -") for line in text.splitlines() if line.strip() and not _NOISE.search(line)]
    return BadInputError(f"{' '.join(' '.join(lines).split())}. {_ALL_OPTIONS}")


def check_types(given: FitArguments) -> None:
    """Check each value separately against the type that is declared for its option.

    Raises:
        BadInputError: Naming the first option with a value of another type.
    """
    for option in given.given:
        annotation = given.options.annotation_of(option.key)
        if annotation is not inspect.Parameter.empty and not _converts(option, annotation):
            hint = _hint(option, annotation)
            raise BadInputError(f"{option} must be {_words(annotation)}, but is {shown(option.value)}.{hint}")


def refused_by_trainer(error: Exception, given: Sequence[Given]) -> BadInputError:
    """Return the Trainer's message about its options, with the options that it mentions."""
    if isinstance(error, BadInputError):
        return error
    said = " ".join(str(error).split()) or type(error).__name__
    options = list({each.key: each for each in given if each.key.startswith("trainer.")}.values())  # the last counts
    named = [each for each in options if each.key.split(".")[1].removesuffix("+") in said]
    named = named or [each for each in options if not each.source]
    listed = f" Given: {', '.join(f'{each} {shown(each.value)}' for each in named)}." if named else ""
    return BadInputError(f"The Trainer rejects its options: {said.rstrip('.')}.{listed}")


def cause(error: BaseException) -> BaseException:
    """Return the bad input that the parser has wrapped, or a constructor's error, in one line."""
    inner: BaseException | None = error
    last = error
    while inner is not None and not isinstance(inner, BadInputError):
        last = inner
        inner = inner.__cause__ or inner.__context__
    return inner or BadInputError(f"The objects of this command cannot be created: {in_one_line(last)}.")


def _converts(option: Given, annotation: Any) -> bool:
    """Return whether the parser accepts a value for an option of that type."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    try:
        if option.source:
            parser.parse_object({"value": option.value})
        else:
            parser.parse_args([f"--value={option.value}"])
    except Exception:
        return False
    return True


def _hint(option: Given, annotation: Any) -> str:
    close = nearest(str(option.value), [str(each) for each in _literals(annotation)])
    return f" Did you mean {close!r}?" if close else ""


def _literals(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        yield from typing.get_args(annotation)
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _literals(member)


def _words(annotation: Any) -> str:
    """Return the description of a type for messages: ``float or null``, ``one of 16, 32``."""
    words = []
    if values := list(dict.fromkeys(map(str, _literals(annotation)))):
        words.append(f"one of {', '.join(values)}")
    members = [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = list(typing.get_args(annotation))
    for member in members:
        if typing.get_origin(member) is typing.Literal:
            continue
        name = re.sub(r"\w+\.", "", inspect.formatannotation(member))  # without the names of modules
        words.append(_TYPES.get(name, name))
    return " or ".join(words)
