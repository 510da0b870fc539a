"""A trial's result as text and tables."""

from __future__ import annotations

import math

from rich.markup import escape
from rich.table import Table

from algoperf_lightning.records.busy_machine import busy_machine
from algoperf_lightning.records.trial import COARSE, DEFAULT_CLOCK, Status, Trial
from algoperf_lightning.spec import Direction, Unit

STATUS_WORDS = {
    Status.REACHED: "[green]target reached",
    Status.BUDGET_SPENT: "[yellow]budget spent, target missed",
    Status.STOPPED: "[yellow]stopped before the target",
    Status.PREEMPTED: "[yellow]preempted, can be resumed",
    Status.RUNNING: "running, or killed",
    Status.FAILED: "[red]failed",
}


def target_words(target: float | None, direction: Direction, digits: str = "g") -> str:
    """Return a target as text.

    Example:
        >>> target_words(0.97, "max"), target_words(1.5, "min"), target_words(None, "min")
        ('≥ 0.97', '≤ 1.5', 'none')
    """
    return "none" if target is None else f"{'≥' if direction == 'max' else '≤'} {target:{digits}}"


def status_words(result: Trial) -> str:
    """Return the state of a trial as text with Rich's markup."""
    if result.status is Status.BUDGET_SPENT and result.stops_at_budget:
        return "[green]budget spent, as planned"
    return "[red]diverged" if result.diverged else STATUS_WORDS[result.status]


def used_of(used: float, budget: float, unit: Unit) -> str:
    """Return the used part of a budget as text.

    Example:
        >>> used_of(12.34, 60.0, "seconds"), used_of(580, 1200, "steps"), used_of(2.5, 100, "epochs")
        ('12.3 of 60 s', '580 of 1,200 steps', '2.5 of 100 epochs')
    """
    if unit == "seconds":
        return f"{used:,.1f} of {budget:,g} s"
    return f"{used:,.0f} of {budget:,.0f} steps" if unit == "steps" else f"{used:,.4g} of {budget:,g} epochs"


def result_table(result: Trial) -> Table:
    """Return a short table: the target, when it was reached, the number of evaluations, the folder of the record."""
    table = Table(show_header=False, title=f"{result.workload} · {result.submission}", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")  # paths are wrapped, never truncated
    for name, value in result_rows(result):
        table.add_row(name, value)
    return table


def result_rows(result: Trial) -> list[tuple[str, str]]:
    """Return the main facts of a result, as names and values with Rich's markup."""
    rows: list[tuple[str, str]] = []

    def add(name: str, value: str) -> None:
        rows.append((name, value))

    add("result", status_words(result))
    target = target_words(result.validation_target, result.direction)
    add("target", target if result.validation_target is None else f"validation {result.metric} {target}")
    if result.step_to_target is not None:
        if result.unit == "seconds":
            add("time to target", f"{result.time_to_target:.2f} s, step {result.step_to_target:,}")
        else:
            add("steps to target", f"{result.step_to_target:,}, in {result.time_to_target:.2f} s")
        add("resolution", _resolution(result))
    add("best", "–" if math.isnan(result.best) else f"{result.best:.4f}")
    if result.final is not None and result.stops_at_budget:
        value = result.final.metrics.get(f"validation/{result.metric}", math.nan)
        add("final", f"{value:.4f}{' (of the untrained model, as the run diverged)' if result.diverged else ''}")
    other = f"{result.steps:,} steps" if result.unit == "seconds" else f"{result.submission_seconds:.2f} s"
    add("used", f"{used_of(result.used, result.budget, result.unit)} ({result.ruleset}), {other}")
    if result.scale != 1.0:
        add("scale", f"[yellow]{result.scale:g} x the workload's seconds, for this machine")
    if result.clock != DEFAULT_CLOCK:
        add("clock", f"[yellow]{escape(result.clock)}, not {DEFAULT_CLOCK}: not a measurement")
    if len(result.environments) > 1:
        steps = ", ".join(f"{each['from_step']:,}" for each in result.environments[1:])
        add("resumed", f"[yellow]in another environment, from step {steps}: see the record")
    add("evaluations", str(len(result.evaluations)))
    if result.nonfinite_loss_step is not None:
        add("diverged", f"loss not finite at step {result.nonfinite_loss_step:,}")
    if waited := busy_machine(result):
        add("busy machine", f"[yellow]{escape(waited)}")
    if result.tiny_data:
        add("data", "[yellow]tiny, not the real data: not a benchmark result")
    if result.changed:
        add("changed record", f"[red]{escape(result.changed)}")
    for warning in result.warnings:
        add("rule check", f"[yellow]{escape(warning)}")
    for note in result.notes:
        add("note", escape(note))
    if result.message:
        add("note", escape(result.message))
    if result.folder is not None:
        add("record", escape(str(result.folder)))
    return rows


def _resolution(result: Trial) -> str:
    """Return the resolution of the time to the target as text."""
    number = f"{result.resolution:.3g}" if result.unit == "seconds" else f"{result.resolution:,.4g}"
    earlier = f"{number} {'s' if result.unit == 'seconds' else result.unit}"
    text = f"the previous evaluation was {earlier} earlier"
    if result.resolution > COARSE * result.used_to_target:
        return f"[yellow]{text}: reached within the first evaluations, so the time is coarse"
    return text
