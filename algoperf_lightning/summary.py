"""A trial's result as a person reads it."""

from __future__ import annotations

import math

from rich.markup import escape
from rich.table import Table

from algoperf_lightning.result import Status, TrialResult

_WORDS = {
    Status.REACHED: "[green]target reached",
    Status.BUDGET_SPENT: "[yellow]budget spent, target missed",
    Status.STOPPED: "[yellow]stopped before the target",
    Status.PREEMPTED: "[yellow]preempted, can be resumed",
    Status.RUNNING: "running, or killed",
    Status.FAILED: "[red]failed",
}


def result_table(result: TrialResult) -> Table:
    """Return a short table: the target, when it was reached, how many evaluations, where the record lies."""
    table = Table(show_header=False, title=f"{result.workload} · {result.submission}", title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    sign = "≥" if result.direction == "max" else "≤"
    table.add_row("result", _WORDS[result.status])
    table.add_row("target", f"validation {result.metric} {sign} {result.validation_target:g}")
    if math.isfinite(result.time_to_target):
        table.add_row("time to target", f"{result.time_to_target:.2f} s, step {result.step_to_target:,}")
    table.add_row("best", "–" if math.isnan(result.best) else f"{result.best:.4f}")
    table.add_row(
        "used", f"{result.submission_seconds:.2f} of {result.budget:g} s ({result.ruleset}), {result.steps:,} steps"
    )
    table.add_row("evaluations", str(len(result.evaluations)))
    if result.nonfinite_loss_step is not None:
        table.add_row("diverged", f"loss not finite at step {result.nonfinite_loss_step:,}")
    if result.tiny_data:
        table.add_row("data", "[yellow]tiny, not the real ones: no result of the benchmark")
    for warning in result.warnings:
        table.add_row("rule check", f"[yellow]{escape(warning)}")
    if result.message:
        table.add_row("note", result.message)
    if result.folder is not None:
        table.add_row("record", str(result.folder))
    return table
