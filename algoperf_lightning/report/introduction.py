"""The introduction of the report: what was scored, and how."""

from __future__ import annotations

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.runs import counted, present

_CHOSEN = {
    "published": "each study counts by the trial that reached the target at the smallest evaluation index, and by the "
    "fastest of these if there are several, as in the published scores",
    "rules": "each study counts by its fastest trial, as the rules say",
}


def introduction(board: Leaderboard) -> list[str]:
    """Return the paragraphs."""
    benchmark = board.benchmark
    held_out = f" and {counted(len(benchmark.held_out), 'held-out workload')}" if benchmark.held_out else ""
    conditions = ", nor does a workload whose held-out variant was not trained under the same conditions"
    strict = conditions if held_out else ""
    text = (
        f"{counted(len(board.submissions), 'submission')} on {counted(len(benchmark.base), 'base workload')}"
        f"{held_out}, with {counted(benchmark.studies, 'study')} of {counted(benchmark.trials, 'trial')} expected. "
        f"Submissions are compared by {board.measure.name}. Mode {board.mode}: {_CHOSEN[board.mode]}. The result on a "
        f"workload is the median over studies. More than {benchmark.limit:g} times the fastest does not count{strict}. "
        f"{_relative_to(board)}"
    )
    return [text]


def _relative_to(board: Leaderboard) -> str:
    if board.reference is None:
        return "A score is relative to the submissions scored together."
    boards = " and ".join(present(trial.board for trial in board.table.trials.values()))
    return (
        f"Ratios are to the fastest submission of {boards} alone, so its scores do not change when others are added. A "
        "submission that is faster still has a ratio below 1, which the score counts as 1."
    )
