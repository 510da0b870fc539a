"""Search spaces: AlgoPerf's JSON form, read from a file or from a submission's class, and checked.

The form is an object (ranges and choices from which points are drawn) or an array (complete points); an object of plain
values is one point, as in the ``hparams.json`` of official logs::

    {"learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"}, "dropout_rate": {"feasible_points": [0.0, 0.1]}}
    [{"learning_rate": 1e-3, "dropout_rate": 0.0}, {"learning_rate": 3e-3, "dropout_rate": 0.1}]
    {"learning_rate": 1e-3, "dropout_rate": 0.0}

Source: the AlgoPerf benchmark documentation, section "External tuning ruleset", and its ``tuning_search_space.json``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.tuning.checks import (
    as_number,
    is_finite,
    is_number,
    mismatches,
    number_reader,
    plain,
    problem,
    raise_if,
    range_must_have,
    read_json,
    shown,
)

if TYPE_CHECKING:
    from algoperf_lightning.submission import Submission

Scaling = Literal["log", "linear"]

_RANGE_KEYS = ("min", "max", "scaling")
_FEASIBLE = "feasible_points"


@dataclass(frozen=True)
class Range:
    """A continuous hyperparameter, uniform on a linear or a logarithmic scale."""

    minimum: float
    maximum: float
    scaling: Scaling

    def at(self, u: float) -> float:
        """Return the value at share ``u`` of the way through the range, ``u`` in [0, 1)."""
        if self.scaling == "log":
            value = self.minimum * math.exp(u * math.log(self.maximum / self.minimum))
        else:
            value = self.minimum + u * (self.maximum - self.minimum)
        return min(max(value, self.minimum), self.maximum)  # rounding may exceed an end

    @property
    def size(self) -> float:
        """Number of different values."""
        return math.inf

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(zip(_RANGE_KEYS, (self.minimum, self.maximum, self.scaling), strict=True))

    def __str__(self) -> str:
        return f"{self.minimum:g} to {self.maximum:g} ({self.scaling})"


@dataclass(frozen=True)
class Choices:
    """A discrete hyperparameter: a few equally likely values."""

    values: tuple[Any, ...]

    def at(self, u: float) -> Any:
        """Return the value whose share of [0, 1) contains ``u``."""
        return self.values[min(math.floor(u * len(self.values)), len(self.values) - 1)]

    @property
    def different(self) -> tuple[Any, ...]:
        """The values, each once."""
        return tuple({repr(value): value for value in self.values}.values())

    @property
    def size(self) -> float:
        """How many different values there are."""
        return len(self.different)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {_FEASIBLE: list(self.values)}

    def __str__(self) -> str:
        return " or ".join(str(value) for value in self.values)


@dataclass(frozen=True)
class SearchSpace:
    """A search space: ranges and choices from which points are drawn, or a list of complete points.

    Build one with :meth:`load`, :meth:`of` or :meth:`parse`, which check it. Either ``dimensions`` or ``points`` is
    empty. The order of the keys matters: it determines the dimension of the sequence of each hyperparameter.
    """

    source: str = field(compare=False)
    """Origin for messages: a file or a class."""
    dimensions: Mapping[str, Range | Choices] = field(default_factory=dict)
    points: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def load(cls, path: str | Path, submission: type[Submission] | None = None) -> SearchSpace:
        """Read a JSON file; with ``submission``, also check it against that constructor.

        Raises:
            BadInputError: If the file cannot be read, or with all problems of the search space; it names the file.
        """
        problems: list[str] = []
        declared = read_json(Path(path), problems)
        return cls.parse(declared, str(path), submission, problems)

    @classmethod
    def of(cls, submission: type[Submission]) -> SearchSpace | None:
        """Return the search space a submission's class declares, or None if it tunes itself.

        Raises:
            BadInputError: With all problems of the search space; it names the class.
        """
        if submission.search_space is None:
            return None
        return cls.parse(submission.search_space, f"{submission.__name__}.search_space", submission)

    @classmethod
    def parse(
        cls,
        declared: Any,
        source: str,
        submission: type[Submission] | None = None,
        problems: Sequence[str] = (),
    ) -> SearchSpace:
        """Build a search space from AlgoPerf's JSON form as Python objects.

        Args:
            declared: An object of ranges and choices, a list of points, or one point, as in a trial's ``hparams.json``.
            source: Origin for messages.
            submission: The class whose constructor must accept every point; None checks only the form.
            problems: Problems found while reading, which are part of the same error.

        Raises:
            BadInputError: With all problems, each with the hyperparameter, the value and what was expected.
        """
        found = list(problems)
        names: Mapping[Any, Any] = {}
        if _is_point(declared):
            declared = [declared]
        if isinstance(declared, Mapping):
            read = {name: _read_dimension(name, entry, found) for name, entry in declared.items()}
            space = cls(source, {name: dimension for name, dimension in read.items() if dimension is not None})
            names = declared
        elif isinstance(declared, Sequence) and not isinstance(declared, (str, bytes)):
            space = cls(source, points=_read_points(declared, found))
            names = space.points[0] if space.points else {}
        else:
            expected = "an object of ranges and feasible points, or a list of points"
            raise BadInputError(f"The search space {source}: expected {expected}, but got {shown(declared)}.")
        if submission is not None:
            space = space._with_numbers(submission)
        if not declared:
            found.append(problem("hyperparameters", declared, "at least one range or point"))
        elif names and submission is not None:
            found += mismatches(submission, names, space._values())
        raise_if(found, source)
        return space

    @property
    def size(self) -> float:
        """Number of different points; infinite if there is a range. For a list, its length."""
        if self.points:
            return len(self.points)
        return math.prod(dimension.size for dimension in self.dimensions.values())

    def to_json(self) -> Any:
        """Return AlgoPerf's JSON form, of plain types; :meth:`parse` of it gives an equal search space."""
        if self.points:
            return [dict(point) for point in self.points]
        return {name: dimension.to_json() for name, dimension in self.dimensions.items()}

    def describe(self) -> dict[str, str]:
        """Return one line per hyperparameter: ``0.0001 to 0.01 (log)``, or its possible values."""
        if not self.points:
            return {name: str(dimension) for name, dimension in self.dimensions.items()}
        columns = {name: dict.fromkeys(str(point[name]) for point in self.points) for name in self.points[0]}
        return {name: " or ".join(values) for name, values in columns.items()}

    def _with_numbers(self, submission: type[Submission]) -> SearchSpace:
        """Return the search space with numbers instead of strings such as ``"1e-3"``, unless strings are expected."""
        read = number_reader(submission)
        dimensions = {
            name: Choices(tuple(read(name, value) for value in each.values)) if isinstance(each, Choices) else each
            for name, each in self.dimensions.items()
        }
        points = tuple({name: read(name, value) for name, value in point.items()} for point in self.points)
        return SearchSpace(self.source, dimensions, points)

    def _values(self) -> Iterator[tuple[str, str, Any, object]]:
        """Yield label, hyperparameter, value and displayed value of everything that may be passed to a constructor."""
        for name, dimension in self.dimensions.items():
            if isinstance(dimension, Range):
                yield name, name, dimension.minimum, f"a range, {dimension}"
            else:
                yield from ((name, name, value, shown(value)) for value in dimension.values)
        for number, point in enumerate(self.points, start=1):
            yield from ((f"point {number}, {name}", name, value, shown(value)) for name, value in point.items())


def _is_point(declared: Any) -> bool:
    """Return whether an object contains only values, no ranges or choices."""
    return (
        isinstance(declared, Mapping)
        and bool(declared)
        and not any(isinstance(value, (Mapping, list, tuple)) for value in declared.values())
    )


def _read_dimension(name: Any, declared: Any, problems: list[str]) -> Range | Choices | None:
    expected = f"an object with {', '.join(_RANGE_KEYS)}, or with {_FEASIBLE}"
    if not isinstance(declared, Mapping):
        problems.append(problem(name, declared, expected))
        return None
    before = len(problems)
    if unknown := [key for key in declared if key not in (*_RANGE_KEYS, _FEASIBLE)]:
        problems.append(problem(name, {key: declared[key] for key in unknown}, expected))
    if _FEASIBLE in declared:  # the benchmark then ignores everything else
        values = _read_values(name, declared[_FEASIBLE], problems)
        return Choices(values) if len(problems) == before else None
    if missing := [key for key in _RANGE_KEYS if key not in declared]:
        problems.append(problem(name, dict(declared), f"{expected} ({', '.join(missing)} not given)"))
    ends = {key: as_number(plain(declared[key])) for key in ("min", "max") if key in declared}
    scaling = declared.get("scaling", "linear")
    if scaling not in get_args(Scaling):
        problems.append(problem(name, scaling, "'log' or 'linear' as scaling"))
    if bad := {key: end for key, end in ends.items() if not is_number(end) or not is_finite(end)}:
        problems.append(problem(name, bad, "finite numbers as min and max"))
    elif len(ends) == 2 and (expected := range_must_have(ends["min"], ends["max"], scaling)):
        problems.append(problem(name, ends, expected))
    return Range(float(ends["min"]), float(ends["max"]), scaling) if len(problems) == before else None


def _read_values(name: str, declared: Any, problems: list[str]) -> tuple[Any, ...]:
    if not isinstance(declared, Sequence) or isinstance(declared, (str, bytes)) or not declared:
        problems.append(problem(name, declared, f"a list of one or more values as {_FEASIBLE}"))
        return ()
    values = tuple(plain(value) for value in declared)
    problems += [problem(name, value, "a finite number") for value in values if not is_finite(value)]
    return values


def _read_points(declared: Sequence[Any], problems: list[str]) -> tuple[dict[str, Any], ...]:
    points: list[dict[str, Any]] = []
    for number, entry in enumerate(declared, start=1):
        label = f"point {number}"
        if not isinstance(entry, Mapping) or not entry:
            problems.append(problem(label, entry, "an object of hyperparameters and their values"))
            continue
        point = {name: plain(value) for name, value in entry.items()}
        points.append(point)
        for name, value in point.items():
            if not is_finite(value):
                problems.append(problem(f"{label}, {name}", value, "a finite number"))
            if name not in points[0]:
                problems.append(problem(f"{label}, {name}", value, f"the keys of the first point ({_keys(points[0])})"))
        for name in points[0]:
            if name not in point:
                expected = f"{label}, {name}: expected a value, as the first point has one"
                problems.append(f"{expected}, but got the keys {_keys(point)}.")
    return tuple(points)


def _keys(point: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, point))
