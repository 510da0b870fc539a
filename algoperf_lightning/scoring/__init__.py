"""Scores: time to target, performance profiles, leaderboards, official logs. NumPy only; no torch.

From Python::

    runs = read_runs(["logs/"])
    board = score_runs(runs, get_benchmark("0.5", "external"))
    board.scores, board.cells["my_submission", "wmt"].reason

The ``algoperf score`` command does this; ``docs/scoring.md`` says how scores come about.
"""

from algoperf_lightning.scoring.benchmarks import Benchmark, ScoredWorkload, get_benchmark
from algoperf_lightning.scoring.custom import read_benchmark
from algoperf_lightning.scoring.leaderboard import Cell, Leaderboard, score_runs
from algoperf_lightning.scoring.official_logs import write_official
from algoperf_lightning.scoring.readers import read_runs
from algoperf_lightning.scoring.runs import Finding, Runs, Trial

__all__ = [
    "Benchmark",
    "Cell",
    "Finding",
    "Leaderboard",
    "Runs",
    "ScoredWorkload",
    "Trial",
    "get_benchmark",
    "read_benchmark",
    "read_runs",
    "score_runs",
    "write_official",
]
