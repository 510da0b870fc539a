"""Own runs scored against a board: only the board's submissions define the fastest times, so its scores are fixed."""

from __future__ import annotations

import numpy as np

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import Benchmark
from algoperf_lightning.scoring.cells import Cells
from algoperf_lightning.scoring.mathematics import Rows
from algoperf_lightning.scoring.runs import Runs, Trial, counted, present, some_of
from algoperf_lightning.scoring.table import TrialTable


def split_by_board(runs: Runs) -> tuple[list[Trial], list[Trial]]:
    """Return own trials, and those of boards; all count as own if there are no others."""
    own = [trial for trial in runs.trials if trial.board is None]
    boards = [trial for trial in runs.trials if trial.board is not None]
    return (own, boards) if own else (boards, [])


def check_own(runs: Runs, benchmark: Benchmark) -> None:
    """Refuse own runs that have no workload in common with the board's benchmark.

    Raises:
        BadInputError: If there is a board, and no own run is on a workload of ``benchmark``.
    """
    own, boards = split_by_board(runs)
    names = {workload.name for workload in benchmark.workloads}
    if boards and not any(trial.workload in names for trial in own):
        raise BadInputError(
            f"None of the own runs is on a workload of {_names(boards)}: found "
            f"{some_of(trial.workload for trial in own)}, expected {', '.join(sorted(names))}. "
            "`algoperf boards` lists the boards and their workloads."
        )


def reference_rows(table: TrialTable) -> Rows | None:
    """Return which submissions belong to a board, shape ``(S,)``; None if all or none do."""
    rows = np.zeros(len(table.submissions), dtype=np.bool_)
    for place, trial in table.trials.items():
        rows[place[0]] |= trial.board is not None
    return None if rows.all() or not rows.any() else rows


def note_beside_board(table: TrialTable, cells: Cells, reference: Rows, runs: Runs) -> None:
    """Note the meaning and the limitations of the comparison with a board."""
    boards = _names(list(table.trials.values()))
    own = [name for name, theirs in zip(table.submissions, reference, strict=True) if not theirs]
    verb = "is" if len(own) == 1 else "are"
    runs.note(
        "against a board",
        f"{some_of(own)} {verb} scored against {boards}, whose submissions alone set the fastest times: their scores "
        f"are the same as without {some_of(own)}.",
        strict=False,
    )
    mine = [cells[name, workload.name] for name in own for workload in table.benchmark.base]
    if faster := [cell for cell in mine if cell.ratio < 1]:
        listed = some_of(f"{cell.submission} on {cell.workload} ({cell.ratio:.3f} times)" for cell in faster)
        runs.note(
            "against a board",
            f"Faster than every submission of {boards} that counts: {listed}. The score counts it as equal to the "
            "fastest, and does not show by how much it is faster.",
            strict=False,
        )
    for name in own:
        _note_part(name, table, cells, runs)
        _note_held_out(name, table, cells, runs)


def _note_part(name: str, table: TrialTable, cells: Cells, runs: Runs) -> None:
    base = table.benchmark.base
    there = [workload.name for workload in base if cells[name, workload.name].reason != "no log"]
    if there and len(there) < len(base):
        includes = " ".join(f"--include {workload}" for workload in there)
        runs.note(
            "against a board",
            f"{name} was run on {counted(len(there), 'workload')} of {len(base)}, and the others count as not trained. "
            f"To compare on these alone, with scores other than the published ones: {includes}.",
            strict=False,
        )


def _note_held_out(name: str, table: TrialTable, cells: Cells, runs: Runs) -> None:
    lost = [
        held_out
        for held_out in table.benchmark.held_out
        if held_out.base and cells[name, held_out.base].reason == "held-out no log"
    ]
    if lost:
        excludes = " ".join(f"--exclude {held_out.name}" for held_out in lost)
        runs.note(
            "against a board",
            f"{name} does not count on {some_of(held_out.base or '' for held_out in lost)}, because it was not run on "
            f"the held-out workload. To compare without it, with scores other than the published ones: {excludes}.",
            strict=False,
        )


def _names(trials: list[Trial]) -> str:
    return " and ".join(present(trial.board for trial in trials))
