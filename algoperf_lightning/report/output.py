"""The output of ``algoperf score --output``: tables, pictures, the page."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from algoperf_lightning.files import make_folder
from algoperf_lightning.report.figures import draw
from algoperf_lightning.report.introduction import introduction
from algoperf_lightning.report.looks import PICTURES, save, styles
from algoperf_lightning.report.page import write_page
from algoperf_lightning.report.sections import SECTIONS
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.outputs import write_tables
from algoperf_lightning.scoring.uncertainty import Uncertainty


def write_output(board: Leaderboard, uncertainty: Uncertainty, folder: Path, highlight: Sequence[str] = ()) -> Path:
    """Write the tables, the pictures and the page of a leaderboard.

    Args:
        board: The leaderboard.
        uncertainty: Its intervals.
        folder: Output folder, which is created if necessary.
        highlight: Submissions to highlight; the others are grey. Empty for all.

    Returns:
        Path of the page.

    Raises:
        BadInputError: If the folder cannot be created, or a name to highlight is unknown.
        OSError: If a file cannot be written.
    """
    looks = styles(board, highlight)
    make_folder(folder, "--output")
    write_tables(board, uncertainty, folder)
    sections = [section for make in SECTIONS if (section := make(board, uncertainty)) is not None]
    for section in sections:
        for name, rows in section.files.items():
            with (folder / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
        for chart in section.all_charts:
            if chart.picture:
                save(draw(chart, looks), *(folder / f"{chart.picture}{ending}" for ending in PICTURES))
    path = folder / "report.html"
    write_page(f"Scores: {board.title}", introduction(board), sections, looks, path)
    return path
