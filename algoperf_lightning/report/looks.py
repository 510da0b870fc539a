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

# Okabe and Ito's colours for the colour-blind, without the yellow, too pale for lines; then the marker changes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("", "o", "s", "^")
GREY, PALE = "#666666", "#bdbdbd"


@dataclass(frozen=True)
class Style:
    """How a submission's lines look."""

    colour: str
    marker: str = ""
    """Empty for none."""
    width: float = 1.8
    """In points."""
    front: bool = True
    """Whether it is named, and drawn over those that are not."""


def styles(board: Leaderboard, highlight: Sequence[str] = ()) -> dict[str, Style]:
    """Return the look of each submission, by name: different for the first 28 of the ranking.

    Args:
        board: The leaderboard.
        highlight: Submissions to show among the others, which are then grey and not named; empty for all.

    Raises:
        BadInputError: If a name to highlight is none of the submissions; the message names the nearest.
    """
    for name in highlight:
        nearest_or_raise("submission to highlight", name, dict.fromkeys(board.submissions))
    ranked = [board.submissions[row] for row in board.order]
    shown = [name for name in ranked if name in highlight or not highlight]
    looks = dict.fromkeys(ranked, Style(PALE, width=1.0, front=False))
    for place, name in enumerate(shown):
        marker = _MARKERS[place // len(_COLOURS) % len(_MARKERS)]
        looks[name] = Style(_COLOURS[place % len(_COLOURS)], marker)
    return looks


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
