"""Scores against the tuning budget as a table on the terminal."""

from __future__ import annotations

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.tuning_budget import TuningBudget


def budget_table(board: Leaderboard, found: TuningBudget) -> list[RenderableType]:
    """Return rank and score of each submission with the best of some numbers of trials, the best of the last one first.

    Args:
        board: The leaderboard.
        found: Its results against the tuning budget; without draws, no bands are shown.
    """
    places = found.columns()
    table = Table(
        title=f"Score with the best of k trials: {escape(board.title)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("submission", overflow="fold")
    for place in places:
        table.add_column(f"k = {found.sizes[place]}", justify="right", no_wrap=True)
    for row in board.order:
        table.add_row(escape(board.submissions[row]), *(_field(found, place, row) for place in places))
    banded = np.isfinite(found.scores.low[places]).any()
    band = f" In brackets: its {found.level:.0%} bootstrap band, if there are enough trials."
    note = (
        "Rank and score. All trials of a submission on a workload form one pool; its time is the median, over all sets "
        f"of k of them, of the time of the fastest.{band * bool(banded)}"
    )
    return [table, Text(note, style="dim"), *(Text(each, style="yellow") for each in found.notes)]


def _field(found: TuningBudget, place: int, row: int) -> str:
    low, high = found.scores.low[place, row], found.scores.high[place, row]
    band = "" if np.isnan(low) else f" ({low:.2f}–{high:.2f})"
    return f"{found.ranks[place, row]}  {found.scores.value[place, row]:.4f}{band}"
