"""What stands under the title of the report: what was scored, and how."""

from __future__ import annotations

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.runs import counted

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
        "A score is relative to the submissions scored together."
    )
    return [text]
