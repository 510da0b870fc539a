"""``--hparams FILE`` of ``algoperf fit``: the hyperparameters of a trial, in the format of official logs and plans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError

OPTION = "--hparams"
_BEFORE = ("--submission", "--config", "-c")
"""Options that set a complete submission; its hyperparameters come after them."""


def expand_hparams(arguments: Sequence[str]) -> list[str]:
    """Replace ``--hparams FILE`` by an option for each hyperparameter in the file.

    They are inserted at the position of the option, but after their submission; arguments after both override them.

    Raises:
        BadInputError: If no file follows, or it cannot be read or is not a JSON object of plain values.
    """
    left: list[str] = []
    expanded: list[str] = []
    place = 0
    given = iter(arguments)
    for argument in given:
        name, equals, value = argument.partition("=")
        if name == OPTION:
            file = value if equals else next(given, "")
            expanded += [f"--submission.{key}={_text(entry)}" for key, entry in _read(file).items()]
            place = len(left)
        else:
            left.append(argument)
    if not expanded:
        return left
    for index, argument in enumerate(left):
        name, equals, _ = argument.partition("=")
        if name in _BEFORE:
            place = max(place, index + (1 if equals else 2))
    return [*left[:place], *expanded, *left[place:]]


def _read(file: str) -> dict[str, Any]:
    if not file:
        raise BadInputError(f"{OPTION} needs a file: the hparams.json of a trial.")
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{OPTION} {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadInputError(f"{OPTION} {file} is not JSON: {error}.") from error
    if not isinstance(content, dict) or not content or any(isinstance(value, dict) for value in content.values()):
        raise BadInputError(
            f"{OPTION} {file} must hold one point, an object of hyperparameters and their values such as "
            '{"learning_rate": 0.001}. A search space is for `algoperf tune --search-space`.'
        )
    return content


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
