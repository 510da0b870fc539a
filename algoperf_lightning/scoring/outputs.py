"""A leaderboard as tables: on the terminal and as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from algoperf_lightning.scoring.cells import COUNTS, Cell
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.measure import Measure, resolved
from algoperf_lightning.scoring.uncertainty import Interval, Uncertainty

RESOLUTION = "After the minus sign: the time since the previous evaluation; the target was met between the two."
NO_BASELINE = "No submission is called baseline, so there are no relative times: choose one with --baseline NAME."
_SHORT = {"held-out missed": "h missed", "held-out 4x": "h 4x", "held-out no log": "h no log"}


def score_table(board: Leaderboard, uncertainty: Uncertainty) -> list[RenderableType]:
    """Return the leaderboard: rank, score, intervals, speedup over the baseline."""
    percent = f"{uncertainty.level:.0%}"
    part, speedups = uncertainty.studies, board.speedups
    columns = ["", "submission", "score", percent, "ranks", "counted"]
    columns += [] if speedups is None else [f"rel. {board.measure.noun}"]
    rows = []
    for row in board.order:
        fields = [
            str(board.ranks[row]),
            escape(board.submissions[row]),
            f"{board.scores[row]:.4f}",
            interval(part, row, 3),
            span(part.rank_low[row], part.rank_high[row]) if part.known[row] else "–",
            f"{int(np.isfinite(board.counted[row]).sum())} of {len(board.benchmark.base)}",
        ]
        rows.append(fields + ([] if speedups is None else ["–" if np.isnan(speedups[row]) else f"{speedups[row]:.3f}"]))
    caption = f"{percent}, ranks: bootstrap intervals of score and rank over studies. counted: workloads that count."
    caption += f" {uncertainty.caveat}" if uncertainty.caveat else ""
    if speedups is None:
        caption += f" {NO_BASELINE}"
    else:
        caption += f" rel. {board.measure.noun}: mean over that of {board.baseline}; below 1 is faster."
    table = Table(
        title=f"Scores: {escape(board.title)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for place, column in enumerate(columns):
        name = column == "submission"
        # Numbers are never truncated; long names are wrapped.
        width = None if name else max(len(column), *(len(fields[place]) for fields in rows))
        table.add_column(column, justify="left" if name else "right", min_width=width, overflow="fold")
    for fields in rows:
        table.add_row(*fields)
    return [table, Text(caption, style="dim")]


def times_tables(board: Leaderboard, width: int) -> list[RenderableType]:
    """Return times on the base workloads with reasons why they do not count, in as many tables as the width requires.

    Args:
        board: The leaderboard.
        width: Width of the terminal, in characters.
    """
    names = [board.submissions[row] for row in board.order]
    columns = {
        workload.name: [short(board.cells[name, workload.name]) for name in names] for workload in board.benchmark.base
    }
    room = width - max(map(len, ["submission", *names])) - 4
    tables: list[Table] = []
    left = 0
    for workload, fields in columns.items():
        header = workload.replace("_", "\n")
        needed = max(map(len, [*header.splitlines(), *fields])) + 3
        if not tables or needed > left:
            tables.append(Table(box=box.SIMPLE_HEAD, title_justify="left"))
            tables[-1].add_column("submission", no_wrap=True)
            left = room
        tables[-1].add_column(escape(header), justify="right", no_wrap=True)
        left -= needed
    first = 0
    for table in tables:
        last = first + len(table.columns) - 1
        for place, name in enumerate(names):
            table.add_row(escape(name), *(fields[place] for fields in list(columns.values())[first:last]))
        first = last
    tables[0].title = board.measure.heading
    brackets = any("(" in field for fields in columns.values() for field in fields)
    note = RESOLUTION + " In brackets: why it does not count (h: because of the held-out workload)." * brackets
    return [*tables, Text(note, style="dim")]


def short(cell: Cell) -> str:
    """Return a cell in a few characters: ``5,043 -241``, ``missed``, ``11,071 -242 (4x)``."""
    if cell.reason in ("no log", "missed"):
        return cell.reason
    used = resolved(cell.used, cell.resolution)
    return used if cell.reason == COUNTS else f"{used} ({_SHORT.get(cell.reason, cell.reason)})"


def interval(part: Interval, row: int, places: int) -> str:
    """Return a score's interval: ``0.512–0.634``, or a text that it is unknown."""
    if not part.known[row]:
        return "unknown"
    return f"{part.score_low[row]:.{places}f}–{part.score_high[row]:.{places}f}"


def faster_or_slower(mean: float, measure: Measure) -> str:
    """Describe a mean relative to the baseline: ``28.0 % faster``, ``18.8 % slower``, ``3.0 % more steps``.

    Example:
        >>> faster_or_slower(0.72, Measure()), faster_or_slower(1.188, Measure("steps"))
        ('28.0 % faster', '18.8 % more steps')
    """
    if np.isnan(mean):
        return "–"
    percent = f"{100 * abs(1 - mean):.1f} %"
    words = ("faster", "slower") if measure.unit == "seconds" else ("fewer steps", "more steps")
    return "equal" if percent == "0.0 %" else f"{percent} {words[int(mean > 1)]}"


def span(low: Any, high: Any) -> str:
    """Return ``2–4``, or ``2`` if both are equal."""
    return str(low) if low == high else f"{low}–{high}"


def write_tables(board: Leaderboard, uncertainty: Uncertainty, folder: Path) -> None:
    """Write ``scores.csv``, ``times.csv``, ``cells.csv`` and ``studies.csv``.

    ``times.csv`` has one row per submission and one column per workload, before any rule; ``cells.csv`` has the result
    of each of these times; ``studies.csv`` the best trial of each study. If they are not in plain seconds, the names of
    columns contain the unit, and ``times.csv`` has a column ``unit``.

    Raises:
        OSError: If a file cannot be written.
    """
    write_csv(folder / "scores.csv", _scores(board, uncertainty))
    names = [workload.name for workload in board.benchmark.workloads]
    rows = [[board.submissions[row], *map(number, board.times[row].tolist())] for row in board.order]
    header = ["submission", *names]
    if board.measure.column != "seconds":
        header.append("unit")
        rows = [[*fields, board.measure.column] for fields in rows]
    write_csv(folder / "times.csv", [header, *rows])
    write_csv(folder / "cells.csv", _cells(board))
    write_csv(folder / "studies.csv", _studies(board))


def number(value: float) -> str:
    """Return all digits of a number; ``inf`` and ``NaN`` by name."""
    return "NaN" if np.isnan(value) else repr(float(value))


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file.

    Raises:
        OSError: If it cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _scores(board: Leaderboard, uncertainty: Uncertainty) -> Iterable[Sequence[Any]]:
    part, wide = uncertainty.studies, uncertainty.trials
    yield (
        *("submission", "score", "rank", "score_low", "score_high", "rank_low", "rank_high"),
        *("score_low_with_trials", "score_high_with_trials", "workloads_counted"),
        *(f"{board.measure.noun}_over_baseline", "unit", "benchmark"),
    )
    speedups = board.speedups
    for row in board.order:
        yield (
            board.submissions[row],
            number(board.scores[row]),
            board.ranks[row],
            *(number(each[row]) if part.known[row] else "NaN" for each in (part.score_low, part.score_high)),
            *(each[row] if part.known[row] else "NaN" for each in (part.rank_low, part.rank_high)),
            *(number(each[row]) if wide.known[row] else "NaN" for each in (wide.score_low, wide.score_high)),
            int(np.isfinite(board.counted[row]).sum()),
            "no baseline" if speedups is None else number(speedups[row]),
            *(board.measure.column, board.title),
        )


def _cells(board: Leaderboard) -> Iterable[Sequence[Any]]:
    unit = board.measure.column
    yield (
        "submission",
        "workload",
        "held_out_of",
        unit,
        "share_of_budget",
        "ratio",
        "reason",
        "deciding_trials",
        "resolution",
    )
    for row in board.order:
        for workload in board.benchmark.workloads:
            cell = board.cells[board.submissions[row], workload.name]
            deciding = [study.winner.source for study in cell.studies if study.decides and study.winner is not None]
            yield (
                *(cell.submission, cell.workload, workload.base or "", number(cell.used)),
                number(cell.used / board.benchmark.budget(workload)),
                "" if workload.base else number(cell.ratio),
                *(cell.reason, " ; ".join(deciding), number(cell.resolution)),
            )


def _studies(board: Leaderboard) -> Iterable[Sequence[Any]]:
    yield (
        "submission",
        "workload",
        "study",
        "trials",
        board.measure.column,
        "winning_trial",
        "is_median",
        "source",
        "resolution",
    )
    for row in board.order:
        for workload in board.benchmark.workloads:
            cell = board.cells[board.submissions[row], workload.name]
            for study in cell.studies:
                yield (
                    *(cell.submission, cell.workload, study.study, study.trials, number(study.used)),
                    *(study.winner.number if study.winner else "", int(study.decides)),
                    study.winner.source if study.winner else "",
                    number(study.resolution),
                )
