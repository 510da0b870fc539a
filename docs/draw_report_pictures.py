"""Draws the pictures of ``reading_a_report.md``: charts of the reports of two boards, and one sweep.

    python docs/draw_report_pictures.py
    python docs/draw_report_pictures.py --sweep sweep     # of `algoperf tune --sweep`: the picture of a basin, too

The charts are those of the report, so the pictures show what a reader of a report sees.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from algoperf_lightning.cli import main
from algoperf_lightning.report.figures import draw
from algoperf_lightning.report.looks import save, styles
from algoperf_lightning.report.sections import SECTIONS
from algoperf_lightning.scoring import bootstrap, choose_benchmark, read_runs, score_runs
from algoperf_lightning.scoring.boards import find_board

PICTURES = Path(__file__).parent / "pictures"
WANTED = {
    "v0.5-external": ("scores", "profile", "curves_wmt", "tuning_budget", "anytime", "anytime_wmt", "pairs"),
    "v1.0-self-tuning": ("step_cost_fastmri",),
}
"""Pictures of the reports of boards, by their names."""


def draw_board(name: str, wanted: tuple[str, ...]) -> None:
    """Draw what is wanted of a board.

    Raises:
        ValueError: If its report has no picture of a name.
    """
    runs = read_runs([find_board(name)])
    board = score_runs(runs, choose_benchmark(runs))
    uncertainty = bootstrap(board)
    sections = [section for make in SECTIONS if (section := make(board, uncertainty)) is not None]
    charts = {chart.picture: chart for section in sections for chart in section.charts}
    if missing := [each for each in wanted if each not in charts]:
        raise ValueError(f"The report has no pictures {', '.join(missing)}; it has {', '.join(sorted(charts))}.")
    for each in wanted:
        save(draw(charts[each], styles(board)), PICTURES / f"report_{each}.png")


def draw_sweep(runs: str) -> None:
    """Draw the basin of a sweep over one hyperparameter of one submission on one workload."""
    with tempfile.TemporaryDirectory() as folder:
        main(["sensitivity", runs, "--output", folder])
        (picture,) = Path(folder).glob("sensitivity_*.png")
        (PICTURES / "report_sensitivity.png").write_bytes(picture.read_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sweep", metavar="RUNS", help="folder of a sweep")
    options = parser.parse_args()
    for name, wanted in WANTED.items():
        draw_board(name, wanted)
    if options.sweep is not None:
        draw_sweep(options.sweep)
