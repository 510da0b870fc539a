"""``algoperf status``: the progress of studies, from the files on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.tuning.state import TrialState, count, look
from algoperf_lightning.tuning.studies import find_studies, in_order
from algoperf_lightning.tuning.view import describe, status_table, summary
from algoperf_lightning.utilities import terminal


def run(arguments: Sequence[str]) -> None:
    """Print a table of all trials and a summary, or JSON."""
    parser = Parser(prog="algoperf status", description="Show the progress of `algoperf tune`.")
    parser.add_argument(
        "runs", nargs="+", metavar="RUNS", help="the output folder of `algoperf tune`, or a study in it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse(arguments)
    states = [look(trial) for trial in in_order(find_studies(options.runs))]
    if options.json:
        data = {"trials": list(map(_as_data, states)), "counts": {str(key): n for key, n in count(states).items()}}
        print(json.dumps(data, indent=2, allow_nan=False))
        return
    console = terminal.console()
    console.print(status_table(states, console.width))
    for state in states:
        if state.message:
            console.print(describe(state), style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(summary(states), soft_wrap=True)


def _as_data(state: TrialState) -> dict[str, Any]:
    study, result = state.trial.study, state.result
    return {
        "submission": study.submission,
        "workload": study.workload,
        "study": study.label,
        "trial": state.trial.number,
        "folder": str(state.trial.folder),
        "state": str(state.state),
        "message": state.message or None,
        "unit": study.unit,
        "used": state.used,
        "budget": state.budget,
        "best": state.best if math.isfinite(state.best) else None,
        "target": None if result is None else result.validation_target,
        "metric": None if result is None else result.metric,
    }
