"""One look for all pictures: colours and markers, the page, the legend, the formats of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.spec import nearest_or_raise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    ranked = [board.submissions[row] for row in board.order]
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


def save(figure: Figure, *paths: str | Path) -> None:
    """Write a figure to each path, in the format its name ends with.

    Raises:
        OSError: If a file cannot be written.
    """
    import matplotlib as mpl

    # No date and no random names within, so that the same runs give the same file.
    with mpl.rc_context({"svg.hashsalt": "algoperf"}):
        for path in map(Path, paths):
            figure.savefig(path, dpi=130, metadata={_DATES[path.suffix]: None} if path.suffix in _DATES else None)


def new_figure(height: float, lines: int) -> tuple[Figure, Axes]:
    """Return a figure at least ``height`` inches high, higher if the legend of so many lines needs it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, max(height, 0.8 + 0.21 * lines)), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the default backend is
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def name_others(axes: Axes, number: int) -> None:
    """Put the submissions that are not named into the legend, together."""
    if number:
        axes.plot([], [], color=PALE, linewidth=1.0, label=counted(number, "other"))


def add_legend(axes: Axes, title: str) -> None:
    """Put a legend beside the axes."""
    axes.legend(
        title=title, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, alignment="left",
        handlelength=2.8, borderaxespad=0.0,
    )  # fmt: skip
