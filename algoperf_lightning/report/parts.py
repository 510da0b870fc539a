"""What a report is made of: sections with text, tables, charts and files. Data only; how they look is not said here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.uncertainty import Uncertainty


@dataclass(frozen=True)
class Cell:
    """A field of a table: what is read, and what it is sorted and coloured by."""

    text: str
    value: float | str | None = None
    """None or NaN: has no place in an order, and comes last; a text without a value is its own."""
    tone: Literal["", "out", "best"] = ""
    """``out``: does not count; ``best``: the number that the table is about."""
    note: str = ""
    """More, shown on hover or tap."""


@dataclass(frozen=True)
class Heat:
    """Colours the fields of a column by their values; fields without a finite value stay plain.

    With ``middle``, values below it are in one colour and those above in another; without it, more is darker.
    """

    low: float
    """The value of the palest field; with ``middle``, of the strongest one below it."""
    high: float
    """The value of the strongest."""
    middle: float | None = None
    log: bool = False
    """Whether equal factors are equal steps of colour, instead of equal differences."""

    def strength(self, value: float) -> float:
        """Return the strength of a value's colour: in [0, 1], or with ``middle`` in [-1, 1].

        Example:
            >>> Heat(0.0, 2.0).strength(0.5), Heat(0.25, 4.0, middle=1.0, log=True).strength(0.5)
            (0.25, -0.5)
        """

        def scale(x: float) -> float:
            return math.log(max(x, 1e-300)) if self.log else x

        start = self.low if self.middle is None else self.middle
        end = self.low if self.middle is not None and value < self.middle else self.high
        span = abs(scale(end) - scale(start)) or 1.0
        return max(0.0 if self.middle is None else -1.0, min(1.0, (scale(value) - scale(start)) / span))


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """Its header; underscores are places to break it."""
    note: str = ""
    """What it means, shown on hover or tap."""
    heat: Heat | None = None
    text: bool = False
    """Whether it holds words, to be set to the left and broken over lines."""


Field = Cell | str | float
"""A number is shown with four significant digits; NaN as ``–``, ``inf`` as ``missed``."""


@dataclass(frozen=True)
class Table:
    """A table; a click on a header sorts it."""

    columns: Sequence[Column | str]
    """A name alone is a column of numbers; the first one always names the row."""
    rows: Sequence[Sequence[Field]]
    title: str = ""
    text: Sequence[str] = ()
    """Paragraphs above it."""
    submissions: Sequence[str] | None = None
    """Whose each row is, so that the legend of the page finds it; None if rows are not submissions'."""
    folded: bool = False
    """Whether it is closed until somebody opens it; for long ones."""


@dataclass(frozen=True)
class Axis:
    """An axis of a chart."""

    label: str
    low: float | None = None
    """None: where the data ends. Values outside are cut off."""
    high: float | None = None
    log: bool = False
    names: Sequence[str] = ()
    """For an axis of names instead of numbers; places on it are 0, 1, 2, ..., from the left or the top."""
    percent: bool = False
    """Whether shares in [0, 1] are written as per cent."""


Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """A line or a row of points of a chart; NaN leaves a gap."""

    x: Values
    y: Values
    submission: str | None = None
    """Gives its colour and marker, and is what the legend switches on and off; None: grey, always shown."""
    low: Values | None = None
    """Lower ends of intervals of ``y``: a pale band along a line, whiskers at points. Always with ``high``."""
    high: Values | None = None
    x_low: Values | None = None
    """Ends of intervals of ``x``, drawn as whiskers. Always with ``x_high``."""
    x_high: Values | None = None
    line: Literal["straight", "step", "none"] = "straight"
    """``step``: each value holds up to the next ``x``; ``none``: points."""
    strong: bool = True
    """False: thin and pale, for what stands behind (single trials behind their median)."""
    name: str = ""
    """What it is called on hover, after the submission: ``study 2, trial 4``."""
    notes: Sequence[str] = ()
    """More about each point, shown on hover; empty for none, else as many as points."""
    marks: Sequence[int] = ()
    """Places of points to be marked with a diamond, as where a target was reached."""

    def __post_init__(self) -> None:
        """Check that the lengths agree: a mistake of who wrote the section."""
        pairs = (("low", "high"), ("x_low", "x_high"))
        given = {name: getattr(self, name) for name in ("y", *pairs[0], *pairs[1])} | {"notes": self.notes or None}
        wrong = [name for name, values in given.items() if values is not None and len(values) != len(self.x)]
        if wrong or any((given[a] is None) != (given[b] is None) for a, b in pairs):
            raise ValueError(f"A series of {len(self.x)} points has {wrong or 'one end of an interval'} that differs.")


@dataclass(frozen=True)
class Rule:
    """A straight line of reference across a chart: a target, a budget, a ratio of 1."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True)
class Chart:
    """A chart: drawn by the page to be hovered and zoomed, and as picture files for papers."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    rules: Sequence[Rule] = ()
    text: str = ""
    """A caption."""
    picture: str = ""
    """Name of the picture files without their ending: ``tuning_budget_wmt``; empty for none."""
    values: dict[str, str] = field(default_factory=dict)
    """What the legend of the picture says before a submission's name: its score, its time."""
    legend: str = ""
    """What ``values`` are: heads the legend of the picture."""


@dataclass(frozen=True)
class Section:
    """A part of the report under one heading."""

    title: str
    text: Sequence[str] = ()
    """Paragraphs, each a sentence or two. Plain text is escaped; ``Markup("<em>{}</em>").format(name)`` may hold
    emphasis."""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    reading: Sequence[str] = ()
    """Paragraphs on how to read it, closed until somebody opens them."""
    files: dict[str, Sequence[Sequence[Any]]] = field(default_factory=dict)
    """CSV files to be written beside the report, by name: rows of fields, the header first."""


Maker = Callable[[Leaderboard, Uncertainty], Section | None]
"""Makes a section; None where there is nothing to say."""
