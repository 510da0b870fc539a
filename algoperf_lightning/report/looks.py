"""The common style of all pictures: colours and markers, the page, the legend, the file formats."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.utilities.inputs import nearest_or_raise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe and Ito's colours, which colour-blind readers can distinguish, without yellow, which is too pale for lines; then
# the marker changes. The second of each pair is for dark pages.
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
"""With more lines than this, which could not be distinguished, only the best are coloured, one for each colour."""
GREY, PALE = "#666666", "#bdbdbd"


@dataclass(frozen=True)
class Page:
    """Colours of the background and the axes of a picture; the dark ones are those of the report's page."""

    background: str
    text: str
    muted: str
    """Colour of reference lines and notes."""
    grid: str
    dark: bool = False


LIGHT = Page("#ffffff", "#000000", GREY, "#e5e5e5")
DARK = Page("#15171b", "#e4e7eb", "#a0a8b4", "#2f343c", dark=True)


@dataclass(frozen=True)
class Style:
    """Style of a submission's lines, on the page and in pictures."""

    colour: str
    """Its colour, even if it is drawn in grey."""
    dark: str = ""
    """Its colour on a dark page."""
    marker: str = ""
    """Marker; empty for none."""
    front: bool = True
    """Whether it is drawn in its colour, above the others, which are grey until they are selected."""
    named: bool = True
    """Whether the legend of a picture contains its name."""

    @property
    def drawn(self) -> str:
        """The colour of its lines in pictures."""
        return self.colour if self.front else PALE

    def on(self, page: Page) -> str:
        """Return its colour on a page."""
        return self.dark if page.dark else self.colour

    @property
    def width(self) -> float:
        """Width of its lines, in points."""
        return 1.8 if self.front else 1.0


def styles(board: Leaderboard, highlight: Sequence[str] = ()) -> dict[str, Style]:
    """Return the style of each submission, by name, in the order of the ranking; the first 28 are different.

    Args:
        board: The leaderboard.
        highlight: Submissions to highlight; the others are grey and not named. Empty for all, or for the best ones if
            there are too many to distinguish.

    Raises:
        BadInputError: If a name to highlight is not a submission; the message suggests the most similar one.
    """
    for name in highlight:
        nearest_or_raise("submission to highlight", name, dict.fromkeys(board.submissions))
    return styles_of([board.submissions[row] for row in board.order], highlight)


def styles_of(ranked: Sequence[str], highlight: Sequence[str] = ()) -> dict[str, Style]:
    """Return the style of each name, best first; see :func:`styles`."""
    number = len(ranked) if len(ranked) <= _MANY else len(_COLOURS)
    looks = {}
    for place, name in enumerate(sorted(ranked, key=lambda name: name not in highlight)):
        front = name in highlight if highlight else place < number
        marker = _MARKERS[place // len(_COLOURS) % len(_MARKERS)]
        looks[name] = Style(*_COLOURS[place % len(_COLOURS)], marker, front, named=front or not highlight)
    return {name: looks[name] for name in ranked}


PICTURES = (".png", ".svg", ".pdf")
"""Formats of every picture, as file name extensions."""
_DATES = {".svg": "Date", ".pdf": "CreationDate"}


@contextmanager
def settings(page: Page = LIGHT) -> Iterator[None]:
    """Use our settings of matplotlib for a picture, independent of the user's.

    Args:
        page: Colours of the background and the axes.
    """
    import matplotlib as mpl

    colours: dict[Any, str] = {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), page.background),
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), page.text),
        "grid.color": page.grid,
    }
    with (
        warnings.catch_warnings(),
        mpl.rc_context(
            {
                "svg.hashsalt": "algoperf",  # no random names, so that the same runs give the same file
                "text.parse_math": False,  # a $ in a name is not mathematics
                "font.family": "DejaVu Sans",  # part of matplotlib
                "text.hinting": "none",  # a quarter of the time of a PNG
                **colours,
            }
        ),
    ):
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)  # an emoji becomes a box
        yield


def save(figure: Figure, *paths: str | Path) -> None:
    """Write a figure to each path, in the format of its extension.

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
    FigureCanvasAgg(figure)  # never opens a window, whatever the default backend is
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
    """Lay out the page with its axes and their labels, and write the legend next to the axes.

    The layout is computed from known sizes: matplotlib's layout engine and legend take longer than the rest of a
    picture.

    Args:
        figure: The page.
        axes: Its axes, with all their content.
        names: Labels of the vertical axis, if it has names instead of numbers.
        title: Title of the legend.
        entries: Lines of the legend; empty for no legend.
        below: Additional inches for labels of the horizontal axis.
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
    """Wrap a text so that no line is wider than the given inches; return the number of additional lines."""
    words, columns = text.get_text(), len(text.get_text())
    while columns > 1 and (wide := float(text.get_window_extent().width) / figure.dpi) > room:
        columns = max(1, min(columns - 1, int(columns * room / wide)))
        text.set_text(textwrap.fill(words, columns))
    return text.get_text().count("\n")


def legend_height(lines: int) -> float:
    """Return the height of the axes, in inches, that a legend with this number of lines requires."""
    return _LINE * (lines + 1)
