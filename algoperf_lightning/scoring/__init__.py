"""Scores: time to target, performance profiles, leaderboards, official logs. NumPy only; no torch.

From Python::

    runs = read_runs(["logs/"])
    board = score_runs(runs, choose_benchmark(runs))  # or get_benchmark("0.5", "external")
    board.scores, board.cells["my_submission", "wmt"].reason

The ``algoperf score`` command does this; ``docs/scoring.md`` describes how scores are computed;
``algoperf_lightning.report`` draws pictures and writes the page.
"""

from algoperf_lightning.scoring.anytime import Anytime, anytime
from algoperf_lightning.scoring.benchmarks import (
    Benchmark,
    ScoredWorkload,
    get_benchmark,
    get_small_suite,
    get_tiny_suite,
)
from algoperf_lightning.scoring.boards import add_board, find_board, packaged_boards
from algoperf_lightning.scoring.cells import Cell
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.scoring.compact_csv import write_compact
from algoperf_lightning.scoring.comparison import Comparison, Question, compare, compare_all
from algoperf_lightning.scoring.custom import read_benchmark
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_runs
from algoperf_lightning.scoring.official_logs import write_official
from algoperf_lightning.scoring.readers import read_runs
from algoperf_lightning.scoring.runs import Finding, Runs, Trial
from algoperf_lightning.scoring.selection import Selection
from algoperf_lightning.scoring.sensitivity import Sensitivity, sensitivities
from algoperf_lightning.scoring.tuning_budget import TuningBudget, tuning_budget
from algoperf_lightning.scoring.uncertainty import Uncertainty, bootstrap
from algoperf_lightning.scoring.units import by_clean_seconds, by_steps, on_machine
from algoperf_lightning.scoring.verdict import verdict
from algoperf_lightning.scoring.views import Views, views_of

__all__ = [
    "Anytime",
    "Benchmark",
    "Cell",
    "Comparison",
    "Finding",
    "Leaderboard",
    "Question",
    "Runs",
    "ScoredWorkload",
    "Selection",
    "Sensitivity",
    "Trial",
    "TuningBudget",
    "Uncertainty",
    "Views",
    "add_board",
    "anytime",
    "bootstrap",
    "by_clean_seconds",
    "by_steps",
    "choose_benchmark",
    "compare",
    "compare_all",
    "find_board",
    "get_benchmark",
    "get_small_suite",
    "get_tiny_suite",
    "on_machine",
    "packaged_boards",
    "read_benchmark",
    "read_runs",
    "score_runs",
    "sensitivities",
    "tuning_budget",
    "verdict",
    "views_of",
    "write_compact",
    "write_official",
]
