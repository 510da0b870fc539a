"""The parts of a report: sections with text, tables, charts and files. Data only, without their appearance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.uncertainty import Uncertainty


@dataclass(frozen=True)
class Cell:
    """A field of a table: the text, and the value for sorting and colours."""

    text: str
    value: float | str | None = None
    """None or NaN: sorted last; for texts without a value, the text."""
    tone: Literal["", "out", "best"] = ""
    """``out``: does not count; ``best``: the main number of the table."""
    note: str = ""
    """Details, shown on hover or tap."""


@dataclass(frozen=True)
class Heat:
    """Colours the fields of a column by their values; fields without a finite value are not coloured.

    With ``middle``, values below and above it have different colours; without it, larger values are darker.
    """

    low: float
    """The value of the palest colour; with ``middle``, of the strongest colour below it."""
    high: float
    """The value of the strongest colour."""
    middle: float | None = None
    log: bool = False
    """Whether the scale of colours is logarithmic."""

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
    """Its header, which may be broken at underscores."""
    note: str = ""
    """Explanation, shown on hover or tap."""
    heat: Heat | None = None
    text: bool = False
    """Whether it contains text, which is left-aligned and wrapped."""


Field = Cell | str | float
"""A number is shown with four significant digits; NaN as ``–``, ``inf`` as ``missed``."""


@dataclass(frozen=True)
class Table:
    """A table; a click on a header sorts it."""

    columns: Sequence[Column | str]
    """Columns; a plain name is a column of numbers, and the first one always contains the names of rows."""
    rows: Sequence[Sequence[Field]]
    title: str = ""
    text: Sequence[str] = ()
    """Paragraphs above it."""
    submissions: Sequence[str] | None = None
    """Submission of each row, for the legend of the page; None if rows are not submissions."""
    folded: bool = False
    """Whether it is collapsed at first, for long tables."""


@dataclass(frozen=True)
class Axis:
    """An axis of a chart."""

    label: str
    low: float | None = None
    """Limits; None uses those of the data. Values outside are not shown."""
    high: float | None = None
    log: bool = False
    names: Sequence[str] = ()
    """For an axis of names instead of numbers; their positions are 0, 1, 2, ..., from the left or the top."""
    percent: bool = False
    """Whether shares in [0, 1] are written as percentages."""


Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """A line or a row of points of a chart; NaN leaves a gap."""

    x: Values
    y: Values
    submission: str | None = None
    """Submission that defines colour and marker, and that the legend switches on and off; None: grey, always shown."""
    low: Values | None = None
    """Lower ends of intervals of ``y``: a band along a line, or error bars at points. Always with ``high``."""
    high: Values | None = None
    x_low: Values | None = None
    """Lower ends of intervals of ``x``, drawn as error bars. Always with ``x_high``."""
    x_high: Values | None = None
    line: Literal["straight", "step", "none"] = "straight"
    """``step``: each value is constant up to the next ``x``; ``none``: points."""
    strong: bool = True
    """False: thin and pale, for the background (single trials behind their median)."""
    name: str = ""
    """Name on hover, after the submission: ``study 2, trial 4``."""
    notes: Sequence[str] = ()
    """Details of each point, shown on hover; empty, or one for each point."""
    marks: Sequence[int] = ()
    """Indices of points that are marked with a diamond, for example where a target was reached."""

    def __post_init__(self) -> None:
        """Check that the lengths are equal; otherwise the section has a bug."""
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
    """A chart: drawn by the page, with hover and zoom, and written to picture files for papers."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    rules: Sequence[Rule] = ()
    text: str = ""
    """A caption."""
    picture: str = ""
    """Name of the picture files without extension: ``tuning_budget_wmt``; empty for none."""
    values: dict[str, str] = field(default_factory=dict)
    """Values before the names of submissions in the legend of the picture: scores or times."""
    legend: str = ""
    """Name of ``values``, used as title of the legend of the picture."""


@dataclass(frozen=True)
class Group:
    """Charts of a section under a heading, for example those of one workload."""

    title: str
    """The heading, which also precedes the titles of its charts."""
    charts: Sequence[Chart] = ()
    folded: Mapping[str, Sequence[Chart]] = field(default_factory=dict)
    """Charts that are collapsed at first, by the title of the line that expands them and names the charts."""

    @property
    def all_charts(self) -> list[Chart]:
        """The charts, including the collapsed ones."""
        return [*self.charts, *(chart for charts in self.folded.values() for chart in charts)]


@dataclass(frozen=True)
class Section:
    """A part of the report under one heading."""

    title: str
    text: Sequence[str] = ()
    """Paragraphs, each one or two sentences. Plain text is escaped; ``Markup("<em>{}</em>").format(name)`` may contain
    emphasis."""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    reading: Sequence[str] = ()
    """Paragraphs on how to read it, collapsed at first."""
    files: dict[str, Sequence[Sequence[Any]]] = field(default_factory=dict)
    """CSV files that are written next to the report, by name: rows of fields, the header first."""
    above: Sequence[Table] = ()
    """Tables above the charts; ``tables`` are below them."""
    groups: Sequence[Group] = ()
    """Further charts, under headings, below ``charts``."""

    @property
    def all_charts(self) -> list[Chart]:
        """The charts, including those of groups."""
        return [*self.charts, *(chart for group in self.groups for chart in group.all_charts)]


Maker = Callable[[Leaderboard, Uncertainty], Section | None]
"""Makes a section; returns None if there is nothing to show."""
