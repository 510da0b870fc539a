"""What stands under the title of the report: what was scored, and how."""

from __future__ import annotations

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.runs import counted, present

_CHOSEN = {
    "published": "of each study the trial that reached the target at the smallest evaluation index is taken, then the "
    "fastest of these, as for the published scores",
    "rules": "of each study the fastest trial is taken, as the rules say",
}


def introduction(board: Leaderboard) -> list[str]:
    """Return the paragraphs."""
    benchmark = board.benchmark
    held_out = f" and {counted(len(benchmark.held_out), 'held-out workload')}" if benchmark.held_out else ""
    conditions = ", and neither does a workload whose held-out one was not trained under the same conditions"
    strict = conditions if held_out else ""
    text = (
        f"{counted(len(board.submissions), 'submission')} on {counted(len(benchmark.base), 'base workload')}"
        f"{held_out}, with {counted(benchmark.studies, 'study')} of {counted(benchmark.trials, 'trial')} expected. "
        f"Compared are {board.measure.name}. Mode {board.mode}: {_CHOSEN[board.mode]}. What a workload took is the "
        f"median over studies. More than {benchmark.limit:g} times the fastest does not count{strict}. "
        f"{_relative_to(board)}"
    )
    return [text]


def _relative_to(board: Leaderboard) -> str:
    if board.reference is None:
        return "A score is relative to the submissions scored together."
    boards = " and ".join(present(trial.board for trial in board.table.trials.values()))
    return (
        f"The fastest are those of {boards} alone, so that its scores are the same without the others. Who is faster "
        "has a ratio below 1, which the score counts as 1."
    )
