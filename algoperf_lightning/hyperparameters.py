"""Ranges of hyperparameters as declared by submissions, and their validation."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.signatures import constructor_parameters

if TYPE_CHECKING:
    from algoperf_lightning.submission import Submission

_INTERVAL = re.compile(r"([\[(])\s*([^\s,]+)\s*,\s*([^\s,]+)\s*([\])])")


class Interval:
    """An interval of finite numbers in mathematical notation: ``[0, 1)`` includes 0 but not 1; ends may be ``inf``.

    Example:
        >>> 0 in Interval("[0, 1)"), 1 in Interval("[0, 1)"), float("inf") in Interval("[0, inf)")
        (True, False, False)

    Raises:
        BadInputError: If the text is not an interval, or the interval is empty.
    """

    def __init__(self, text: str) -> None:
        match = _INTERVAL.fullmatch(text) if isinstance(text, str) else None
        try:
            if match is None:
                raise ValueError
            self._low, self._high = float(match[2]), float(match[3])
        except ValueError:
            raise BadInputError(f"A range is an interval such as '[0, 1)' or '(0, inf)', but got {text!r}.") from None
        self._with_low, self._with_high = match[1] == "[", match[4] == "]"
        if not (self._low < self._high or (self._low == self._high and self._with_low and self._with_high)):
            raise BadInputError(f"The range {text!r} is empty: expected a lower end that is less than the upper end.")
        self._text = text

    def __contains__(self, value: float) -> bool:
        above = self._low <= value if self._with_low else self._low < value
        below = value <= self._high if self._with_high else value < self._high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        return self._text


@dataclass(frozen=True)
class Hyperparameter:
    """A numeric hyperparameter with the constraints from its annotation and its range."""

    name: str
    interval: Interval | None
    """Declared range; None if the submission declares none."""
    whole: bool
    """Whether the value must be an integer."""
    optional: bool
    """Whether the value may be None."""

    def check(self, owner: str, value: Any) -> None:
        """Raise an error unless a value has the right type and is in range. Without a range, all values are valid.

        Raises:
            BadInputError: ``AdamW: learning_rate must be a number in [0, inf), but got -0.1.``
        """
        if self.interval is None or (value is None and self.optional):
            return
        number = isinstance(value, Integral if self.whole else Real) and not isinstance(value, bool)
        if not number or value not in self.interval:
            kind = "an integer" if self.whole else "a number"
            none = " or None" if self.optional else ""
            raise BadInputError(f"{owner}: {self.name} must be {kind} in {self.interval}{none}, but got {value!r}.")


GRADIENT_CLIP = Hyperparameter("gradient_clip", Interval("(0, inf)"), whole=False, optional=True)
MICRO_BATCHES = Hyperparameter("micro_batches", Interval("[1, inf)"), whole=True, optional=False)
REGULARISERS = (
    Hyperparameter("dropout", Interval("[0, 1)"), whole=False, optional=True),
    Hyperparameter("label_smoothing", Interval("[0, 1)"), whole=False, optional=False),
    GRADIENT_CLIP,
    MICRO_BATCHES,
)
"""Constraints of the attributes common to all submissions."""


def check_regularisers(submission: Submission) -> None:
    """Check the attributes common to all submissions.

    Raises:
        BadInputError: If a value is out of its range. The message names the first one.
    """
    for attribute in REGULARISERS:
        attribute.check(type(submission).__name__, getattr(submission, attribute.name))


def check_hyperparameters(submission: type[Submission], values: Mapping[str, Any]) -> None:
    """Check the values of hyperparameters against the ranges declared by the class.

    Raises:
        BadInputError: If a value is out of its range. The message names the first one.
    """
    for name, hyperparameter in numeric_hyperparameters(submission).items():
        if name in values:
            hyperparameter.check(submission.__name__, values[name])


def numeric_hyperparameters(submission: type[Submission]) -> dict[str, Hyperparameter]:
    """Return the numeric hyperparameters of a class, identified by annotation, or else by default or range."""
    ranges: dict[str, str] = {}
    for cls in reversed(submission.__mro__):
        ranges |= vars(cls).get("hyperparameter_ranges", {})
    found: dict[str, Hyperparameter] = {}
    for name, parameter in constructor_parameters(submission)[0].items():
        default, kinds = parameter.default, _alternatives(parameter.annotation)
        numbers = kinds & {int, float}
        if not kinds and (name in ranges or (isinstance(default, Real) and not isinstance(default, bool))):
            numbers = {float}  # not annotated, so all numbers are valid
        if numbers:
            found[name] = Hyperparameter(
                name,
                Interval(ranges[name]) if name in ranges else None,
                whole=numbers == {int},
                optional=default is None or types.NoneType in kinds,
            )
    return found


def _alternatives(hint: Any) -> set[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return set(typing.get_args(hint))
    return set() if hint is inspect.Parameter.empty else {hint}
