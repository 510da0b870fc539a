"""An agreement as tables on the terminal and as plain data for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from algoperf_lightning.scoring.agreement import Agreement, Coefficient


def agreement_tables(found: Agreement, board: str) -> Iterator[RenderableType]:
    """Return a table of the ranks, one of the workloads, and a line for each coefficient.

    Args:
        found: The agreement.
        board: The board's name.
    """
    table = _table(f"Ranks of the submissions that the runs and {board} share")
    for column in ("submission", f"in {board}", "rank here", "rank there", "score here", "score there"):
        table.add_column(
            column, justify="right" if column[0] in "rs" and "sub" not in column else "left", overflow="fold"
        )
    for row, (name, theirs) in enumerate(zip(found.submissions, found.theirs, strict=True)):
        numbers = (
            *(str(each[row]) for each in found.ranks),
            f"{found.scores[row]:.4f}",
            f"{found.board_scores[row]:.4f}",
        )
        table.add_row(escape(name), escape(theirs), *numbers)
    yield table
    if found.workloads:
        yield _of_workloads(found, board)
    level = f"{100 * found.level:g} %"
    yield Text(f"Kendall's tau: {_shown(found.tau)} ({level} interval over the studies of both)")
    yield Text(f"rank-biased overlap: {_shown(found.overlap)}")
    yield Text(f"ceiling: two resamples of the board's studies agree with tau {_shown(found.ceiling)}")
    for caveat in found.caveats:
        yield Text(caveat, style="yellow")


def _of_workloads(found: Agreement, board: str) -> Table:
    table = _table(f"Kendall's tau of the times on each workload with those in {board}")
    for column in ("workload", "there", "tau", "interval"):
        table.add_column(column, justify="left" if column in ("workload", "there") else "right", overflow="fold")
    for each in found.workloads:
        value, interval = (f"{_shown(each.tau)} ").split(" ", 1)
        table.add_row(escape(each.workload), escape(each.theirs), value, interval.strip(" ()"))
    return table


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)


def _shown(coefficient: Coefficient) -> str:
    """Return a coefficient and its interval: ``0.67 (0.44 to 0.89)``."""
    if math.isnan(coefficient.value):
        return "–"
    return f"{coefficient.value:.2f} ({coefficient.low:.2f} to {coefficient.high:.2f})"


def as_data(found: Agreement, board: str) -> dict[str, Any]:
    """Return an agreement for JSON; NaN is null.

    Args:
        found: The agreement.
        board: The board's name.
    """
    own, theirs = found.ranks
    return {
        "board": board,
        **_coefficient("tau", found.tau),
        "rank_biased_overlap": _coefficient("value", found.overlap),
        "ceiling": _coefficient("tau", found.ceiling),
        "level": found.level,
        "draws": found.draws,
        "submissions": [
            {
                "name": name,
                "board_name": found.theirs[row],
                "rank": int(own[row]),
                "board_rank": int(theirs[row]),
                "score": float(found.scores[row]),
                "board_score": float(found.board_scores[row]),
            }
            for row, name in enumerate(found.submissions)
        ],
        "workloads": [
            {"name": each.workload, "board_name": each.theirs, **_coefficient("tau", each.tau)}
            for each in found.workloads
        ],
        "caveats": list(found.caveats),
    }


def _coefficient(name: str, found: Coefficient) -> dict[str, float | None]:
    values = {name: found.value, "low": found.low, "high": found.high}
    return {key: None if math.isnan(value) else value for key, value in values.items()}
