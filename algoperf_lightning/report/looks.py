"""One look for all pictures: colours and markers, the page, the legend, the formats of the files."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.spec import nearest_or_raise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe and Ito's colours for the colour-blind, without the yellow, too pale for lines; then the marker changes. The
# second of each pair is its like on a dark page.
_COLOURS = (
    ("#0072B2", "#4aa3e8"),
    ("#D55E00", "#ff8440"),
    ("#009E73", "#20c79a"),
    ("#CC79A7", "#e59cc6"),
    ("#56B4E9", "#a9dcff"),
    ("#E69F00", "#ffc34d"),
    ("#000000", "#f2f2f2"),
)
_MARKERS = ("", "o", "s", "^")
_MANY = 10
"""More lines than these cannot be told apart: then the best of them are in colour, as many as there are colours."""
GREY, PALE = "#666666", "#bdbdbd"


@dataclass(frozen=True)
class Style:
    """How a submission's lines look, on the page and in pictures."""

    colour: str
    """Its own, whether or not it is drawn in it."""
    dark: str = ""
    """Its own on a dark page."""
    marker: str = ""
    """Empty for none."""
    front: bool = True
    """Whether it is drawn in its colour, over those that are not; they are grey until somebody picks them."""
    named: bool = True
    """Whether the legend of a picture has its name."""

    @property
    def drawn(self) -> str:
        """The colour of its lines in pictures."""
        return self.colour if self.front else PALE

    @property
    def width(self) -> float:
        """Of its lines, in points."""
        return 1.8 if self.front else 1.0


def styles(board: Leaderboard, highlight: Sequence[str] = ()) -> dict[str, Style]:
    """Return the look of each submission, by name, in the order of the ranking: different for the first 28.

    Args:
        board: The leaderboard.
        highlight: Submissions to show among the others, which are then grey and not named; empty for all, or the best
            of them if there are too many to be told apart.

    Raises:
        BadInputError: If a name to highlight is none of the submissions; the message names the nearest.
    """
    for name in highlight:
        nearest_or_raise("submission to highlight", name, dict.fromkeys(board.submissions))
    return styles_of([board.submissions[row] for row in board.order], highlight)


def styles_of(ranked: Sequence[str], highlight: Sequence[str] = ()) -> dict[str, Style]:
    """Return the look of each name, best first, as :func:`styles` does."""
    number = len(ranked) if len(ranked) <= _MANY else len(_COLOURS)
    looks = {}
    for place, name in enumerate(sorted(ranked, key=lambda name: name not in highlight)):
        front = name in highlight if highlight else place < number
        marker = _MARKERS[place // len(_COLOURS) % len(_MARKERS)]
        looks[name] = Style(*_COLOURS[place % len(_COLOURS)], marker, front, named=front or not highlight)
    return {name: looks[name] for name in ranked}


PICTURES = (".png", ".svg", ".pdf")
"""Formats that every picture is written in, as file names end."""
_DATES = {".svg": "Date", ".pdf": "CreationDate"}


@contextmanager
def settings() -> Iterator[None]:
    """Use matplotlib's settings for a picture, whatever those of the user are."""
    import matplotlib as mpl

    with (
        warnings.catch_warnings(),
        mpl.rc_context(
            {
                "svg.hashsalt": "algoperf",  # no random names, so that the same runs give the same file
                "text.parse_math": False,  # a $ in a name is a $
                "font.family": "DejaVu Sans",  # comes with matplotlib
                "text.hinting": "none",  # a quarter of the time of a PNG
            }
        ),
    ):
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)  # an emoji becomes a box
        yield


def save(figure: Figure, *paths: str | Path) -> None:
    """Write a figure to each path, in the format its name ends with.

    Raises:
        OSError: If a file cannot be written.
    """
    with settings():
        for path in map(Path, paths):
            options: dict[str, Any] = {"metadata": {_DATES[path.suffix]: None}} if path.suffix in _DATES else {}
            if path.suffix == ".png":
                options["pil_kwargs"] = {"compress_level": 3}  # a tenth larger, in a third of the time
            figure.savefig(path, dpi=130, **options)


def new_figure(title: str, height: float) -> tuple[Figure, Axes]:
    """Return a figure of a height in inches, with a title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, height))
    FigureCanvasAgg(figure)  # no window, whatever the default backend is
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    _set_title(axes, title)
    return figure, axes


def _set_title(axes: Axes, title: str) -> Text:
    return axes.set_title(title, loc="left", fontsize=11, y=1.0, pad=9)


_LINE = 0.205
"""Height of a line of the legend, in inches."""
_HANDLE = 0.38
"""Length of the piece of a line before its name, in inches."""
TITLE_LINE = 0.21
"""Height of a further line of a title, in inches."""


def arrange(
    figure: Figure,
    axes: Axes,
    names: Sequence[str],
    title: str,
    entries: Sequence[tuple[str, Style]],
    below: float = 0.0,
) -> None:
    """Divide the page between the axes and what lies around them, and write the legend beside them.

    By what is known of it: matplotlib's layout engine and its legend take longer than all the rest of a picture.

    Args:
        figure: The page.
        axes: Its axes, with everything in them.
        names: Labels of the vertical axis, if it has names instead of numbers.
        title: Heads the legend.
        entries: Lines of the legend; empty for no legend.
        below: Inches that labels of the horizontal axis need beside the usual.
    """
    from matplotlib.lines import Line2D

    left = 0.85 + 0.075 * max(0, max(map(len, names), default=0) - 5)
    texts = [figure.text(0, 0, text, fontsize=9, va="center") for text, _ in entries]
    heading = figure.text(0, 0, title, fontsize=10, va="center") if entries else None
    longest = [*sorted(texts, key=lambda text: len(text.get_text()))[-3:], *([heading] if heading else [])]
    right = 0.3 + max((float(text.get_window_extent().width) / figure.dpi + _HANDLE for text in longest), default=0)
    width = max(8.6, left + 4.8 + right)
    top = 0.45 + TITLE_LINE * wrap(figure, _set_title(axes, axes.get_title(loc="left")), width - left - 0.15)
    height = figure.get_figheight() - 0.45 + top + below
    figure.set_size_inches(width, height)
    inside = (width - left - right, height - 0.55 - top - below)
    figure.subplots_adjust(left / width, (0.55 + below) / height, 1 - right / width, 1 - top / height)
    axes.xaxis.set_label_coords(0.5, -(0.4 + below) / inside[1])
    axes.yaxis.set_label_coords(-0.62 / inside[0], 0.5)
    x, y = left + inside[0] + 0.12, height - 0.05 - top
    if heading:
        heading.set_position((x / width, y / height))
    for text, (_, look) in zip(texts, entries, strict=True):
        y -= _LINE
        text.set_position(((x + _HANDLE + 0.08) / width, y / height))
        piece = Line2D(
            [(x + part * _HANDLE) / width for part in (0, 0.5, 1)], [y / height] * 3,
            color=look.drawn, linewidth=look.width, marker=look.marker if look.front else "", markersize=5,
            markevery=[1], transform=figure.transFigure,
        )  # fmt: skip
        figure.add_artist(piece)


def wrap(figure: Figure, text: Text, room: float) -> int:
    """Wrap a text so that no line is wider than the room, in inches; return the number of further lines."""
    words, columns = text.get_text(), len(text.get_text())
    while columns > 1 and (wide := float(text.get_window_extent().width) / figure.dpi) > room:
        columns = max(1, min(columns - 1, int(columns * room / wide)))
        text.set_text(textwrap.fill(words, columns))
    return text.get_text().count("\n")


def legend_height(lines: int) -> float:
    """Return how high the axes must be, in inches, for a legend of so many lines."""
    return _LINE * (lines + 1)
