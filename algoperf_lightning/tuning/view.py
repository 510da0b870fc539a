"""How studies stand, for people: a table, a live table, or a line now and then in a log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from algoperf_lightning.summary import used_of
from algoperf_lightning.tuning.plan import PlannedTrial
from algoperf_lightning.tuning.state import State, TrialState, count, look

_STYLES = {
    State.RUNNING: "cyan",
    State.INTERRUPTED: "yellow",
    State.FAILED: "red",
    State.REACHED: "green",
    State.BUDGET_SPENT: "yellow",
    State.STOPPED: "yellow",
}
_LIVE_ROWS = 20
_LIVE_SECONDS = 1.0
_LOG_SECONDS = 60.0


def status_table(states: Sequence[TrialState]) -> Table:
    """Return a table with a row for each trial."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in ("submission", "study", "workload", "trial", "state"):
        table.add_column(column, no_wrap=True)
    units = sorted({state.trial.study.unit for state in states})
    for column in ("/".join(units), "best", "target", "left"):
        table.add_column(column, no_wrap=True, justify="right")
    for state in states:
        study = state.trial.study
        style = _STYLES.get(state.state, "dim")
        table.add_row(
            escape(study.submission),
            str(study.number),
            escape(study.workload),
            str(state.trial.number),
            f"[{style}]{state.state}",
            f"{state.used:,.0f} of {state.budget:,.0f}",
            "" if math.isnan(state.best) else f"{state.best:.4g}",
            "" if state.result is None else f"{state.result.validation_target:.4g}",
            _left(state),
        )
    return table


def summary(states: Sequence[TrialState], slots: int | None = None) -> str:
    """Return one line: how many trials stand how, and how much is left at worst.

    Args:
        states: All trials.
        slots: How many trials run side by side; None if that is not known.
    """
    counts = ", ".join(f"{number} {state}" for state, number in count(states).items())
    line = f"{len(states)} trial{'s' if len(states) > 1 else ''}: {counts}"
    return f"{line}; {left} left" if (left := left_at_worst(states, slots)) else line


def left_at_worst(states: Sequence[TrialState], slots: int | None = None) -> str:
    """Return in words what is left at worst, of trials that can still run; empty if nothing is.

    Args:
        states: All trials.
        slots: How many trials run side by side; None if that is not known.
    """
    can_run = [state for state in states if state.state is not State.FAILED]
    steps = sum(state.left for state in can_run if state.trial.study.unit == "steps")
    seconds = sum(state.left for state in can_run if state.trial.study.unit == "seconds")
    words = []
    if steps:
        words.append(f"{steps:,.0f} steps")
    if seconds:
        on_slots = "" if slots in (None, 1) else f" ({duration(seconds / min(slots, len(states)))} on {slots} slots)"
        words.append(f"{duration(seconds)} of submission time{on_slots}")
    return f"at most {' and '.join(words)}" if words else ""


def duration(seconds: float) -> str:
    """Return a duration as people say it.

    Example:
        >>> duration(42), duration(200), duration(7_300), duration(200_000)
        ('42 s', '3 min', '2.0 h', '56 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3_600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 36_000 else f"{seconds / 3_600:,.0f} h"


@contextmanager
def watching(trials: Sequence[PlannedTrial], slots: int | None, plain: bool) -> Iterator[Show]:
    """Show how trials stand while they run: a live table on a terminal, else lines.

    Args:
        trials: All trials of the plan, also those that are over.
        slots: How many run side by side; None if that is not known.
        plain: Lines, also on a terminal.
    """
    console = Console()
    if plain or not console.is_terminal:
        yield Show(_Lines(trials, slots), _LIVE_SECONDS)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Show(lambda: live.update(_live(trials, slots), refresh=True), _LIVE_SECONDS)


class Show:
    """Shows how trials stand, if the last time was long enough ago."""

    def __init__(self, show: Callable[[], None], pause: float) -> None:
        self._show = show
        self._pause = pause
        self._next = 0.0

    def __call__(self) -> None:
        """Show, if it is time to."""
        if time.monotonic() >= self._next:
            self._show()
            self._next = time.monotonic() + self._pause


class _Lines:
    """A line for each trial that begins or ends, and a summary every minute."""

    def __init__(self, trials: Sequence[PlannedTrial], slots: int | None) -> None:
        self._trials = trials
        self._slots = slots
        self._known: dict[str, State] = {}
        self._next_summary = time.monotonic() + _LOG_SECONDS

    def __call__(self) -> None:
        states = [look(trial) for trial in self._trials]
        for state in states:
            name = state.trial.name
            known = self._known.setdefault(name, state.state)
            if state.state is not known:
                self._known[name] = state.state
                print(describe(state), flush=True)  # noqa: T201
        if time.monotonic() >= self._next_summary:
            self._next_summary = time.monotonic() + _LOG_SECONDS
            print(summary(states, self._slots), flush=True)  # noqa: T201


def describe(state: TrialState) -> str:
    """Return how a trial stands, in one line."""
    line = f"{state.trial.name}: {state.state}"
    if state.message:
        return f"{line}: {state.message.splitlines()[0]}"
    if state.used:
        line += f" after {used_of(state.used, state.budget, state.trial.study.unit)}"
    return line if math.isnan(state.best) else f"{line}, best {state.best:.4g} ({_target(state)})"


def _live(trials: Sequence[PlannedTrial], slots: int | None) -> Group:
    states = [look(trial) for trial in trials]
    running = [state for state in states if state.state is State.RUNNING]
    failed = [state for state in states if state.state is State.FAILED]
    over = [state for state in states if state.state.over]
    over.sort(key=lambda state: (state.trial.folder / "trial.json").stat().st_mtime)
    room = max(0, _LIVE_ROWS - len(running) - len(failed))
    shown = [*failed, *over[len(over) - room if room < len(over) else 0 :], *running][-_LIVE_ROWS:]
    return Group(status_table(shown), Text(summary(states, slots)))


def _target(state: TrialState) -> str:
    result = state.result
    if result is None:
        return ""
    return f"{'≥' if result.direction == 'max' else '≤'} {result.validation_target:.4g}"


def _left(state: TrialState) -> str:
    if state.state in (State.RUNNING, State.INTERRUPTED):
        return f"≤ {duration(state.left) if state.trial.study.unit == 'seconds' else f'{state.left:,.0f}'}"
    return ""
