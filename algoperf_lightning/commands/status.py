"""``algoperf status``: how studies stand, from what is on disk."""

from __future__ import annotations

from collections.abc import Sequence

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.tuning.state import look
from algoperf_lightning.tuning.studies import find_studies, in_order
from algoperf_lightning.tuning.view import describe, status_table, summary
from algoperf_lightning.utilities import terminal


def run(arguments: Sequence[str]) -> None:
    """Print a table of all trials, and a summary."""
    parser = Parser(prog="algoperf status", description="Show what `algoperf tune` has done so far.")
    parser.add_argument(
        "runs", nargs="+", metavar="RUNS", help="the output folder of `algoperf tune`, or a study in it"
    )
    options = parser.parse(arguments)
    states = [look(trial) for trial in in_order(find_studies(options.runs))]
    console = terminal.console()
    console.print(status_table(states, console.width))
    for state in states:
        if state.message:
            console.print(describe(state), style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(summary(states), soft_wrap=True)
