"""Draws the picture of ``performance_profile.md``: a performance profile with arrows to its parts.

    python docs/draw_profile_guide.py

The lines are three submissions of the first AlgoPerf competition. What the arrows point at is computed from the board.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from algoperf_lightning.scoring import Leaderboard, choose_benchmark, find_board, read_runs, score_runs
from algoperf_lightning.scoring.mathematics import performance_profile

PICTURE = Path(__file__).parent / "pictures" / "profile_guide.png"
MAIN, EARLY, STEADY = "shampoo_submission", "amos", "cyclic_lr"
"""The submission that is explained, and two whose lines cross."""

COLOURS = {MAIN: "#0b61a4", EARLY: "#c1440e", STEADY: "#4c7a34"}
FACTORS = np.linspace(1, 4, 3001)


def ratios_of(board: Leaderboard, name: str) -> np.ndarray:
    """Return the sorted times of a submission over the fastest ones; inf where the time does not count."""
    return np.sort(board.ratios[board.submissions.index(name)])


def draw(board: Leaderboard) -> Figure:
    """Draw the profile of three submissions, with what its parts mean."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.subplots()
    for name, colour in COLOURS.items():
        share = performance_profile(ratios_of(board, name), FACTORS)
        axes.plot(FACTORS, share, color=colour, linewidth=2.4 if name == MAIN else 1.6)
        axes.annotate(name, (4, share[-1]), (6, 0), textcoords="offset points", color=colour, va="center")
        if name == MAIN:
            axes.fill_between(FACTORS, share, color=colour, alpha=0.08, linewidth=0)
    point_at_ends(axes, board)
    point_at_steps(axes, board)
    axes.set(xlim=(0.97, 4), ylim=(0, 1.02), xlabel="time to the target, over that of the fastest submission")
    axes.set_ylabel("share of workloads")
    axes.set_yticks(np.arange(9) / 8, [f"{k}/8" for k in range(9)])
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def point_at(axes: Axes, text: str, point: tuple[float, float], at: tuple[float, float]) -> None:
    """Write a text with an arrow to a point, both in the units of the axes."""
    arrow = {"arrowstyle": "->", "color": "#333333", "linewidth": 1.1, "shrinkB": 3}
    axes.annotate(text, point, at, arrowprops=arrow, fontsize=9.5, va="center", color="#222222")


def point_at_ends(axes: Axes, board: Leaderboard) -> None:
    """Explain where the main line begins and ends, and the area under it."""
    ratios = ratios_of(board, MAIN)
    total, fastest, counted = len(ratios), int((ratios <= 1).sum()), int(np.isfinite(ratios).sum())
    score = board.scores[board.submissions.index(MAIN)]
    text = f"1. Left end: {MAIN} is\nthe fastest on {fastest} of {total} workloads"
    point_at(axes, text, (1, fastest / total), (1.06, 0.045))
    text = f"3. Right end: the time counts on {counted}\nof {total} workloads, and not on {total - counted}"
    point_at(axes, text, (3.97, counted / total), (3.0, 0.96))
    axes.text(2.55, 0.3, f"4. Score: the shaded share of the area, {score:.2f}", fontsize=9.5, color=COLOURS[MAIN])


def point_at_steps(axes: Axes, board: Leaderboard) -> None:
    """Explain a step of the main line, and where the two others cross."""
    ratios = ratios_of(board, MAIN)
    step = ratios[np.isfinite(ratios)][-2]
    height = ((ratios <= step).sum() - 0.5) / len(ratios)
    text = f"2. A step at {step:.2f}: on one more workload\nthe time is {step:.2f} times the fastest"
    point_at(axes, text, (step, height), (1.75, 0.96))
    early, steady = (performance_profile(ratios_of(board, name), FACTORS) for name in (EARLY, STEADY))
    crossing = int(np.argmax(steady > early))
    text = f"5. Crossing: {EARLY} is the fastest more often,\n{STEADY} is not far behind on more workloads"
    point_at(axes, text, (FACTORS[crossing], early[crossing]), (2.0, 0.15))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    mpl.rcParams["font.size"] = 10
    runs = read_runs([find_board("v0.5-external")])
    draw(score_runs(runs, choose_benchmark(runs))).savefig(PICTURE, dpi=130)
