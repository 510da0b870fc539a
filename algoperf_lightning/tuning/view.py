"""Display of the progress of studies: a table, a live table, or occasional lines in a log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from algoperf_lightning.records.summary import target_words, used_of
from algoperf_lightning.spec import UNITS
from algoperf_lightning.tuning.state import State, TrialState, Watch, count

_STYLES = {
    State.RUNNING: "cyan",
    State.INTERRUPTED: "yellow",
    State.FAILED: "red",
    State.REACHED: "green",
    State.BUDGET_SPENT: "yellow",
    State.STOPPED: "yellow",
}
_NAMES = ("submission", "workload")
_SHORTEST_NAME = 12  # width to which names are wrapped
_LIVE_ROWS = 20
_LIVE_REST = 4  # lines of a live table that are not rows: its header, the summary, the prompt
_LIVE_SECONDS = 1.0
_LOG_SECONDS = 60.0
_LEAST_REST = 20  # minimum time between updates, as a multiple of their duration, because they slow the trials down


def status_table(states: Sequence[TrialState], width: int) -> Table | Text:
    """Return a table with a row for each trial, or lines if the terminal is too narrow for all numbers.

    Numbers are never truncated; names are wrapped.

    Args:
        states: The trials.
        width: Width of the terminal, in characters.
    """
    units = sorted({state.trial.study.unit for state in states})
    columns = ["submission", "study", "workload", "trial", "state", "/".join(units), "best", "target", "left"]
    rows = [_fields(state) for state in states]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    names = [place for place, column in enumerate(columns) if column in _NAMES]
    least = [min(each, _SHORTEST_NAME) if place in names else each for place, each in enumerate(widths)]
    gap = 2 if sum(widths) + 2 * len(columns) <= width else 1
    if sum(least) + gap * len(columns) > width:
        return Text("\n").join(Text(describe(state), style=_style(state), overflow="fold") for state in states)
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(
            column,
            overflow="fold",
            min_width=least[place],
            no_wrap=place not in names,
            justify="left" if place <= columns.index("state") else "right",
        )
    for state, fields in zip(states, rows, strict=True):
        table.add_row(*(Text(text, style=_style(state) if text == state.state else "") for text in fields))
    return table


def _fields(state: TrialState) -> list[str]:
    return [
        state.trial.study.submission,
        state.trial.study.label,
        state.trial.study.workload,
        str(state.trial.number),
        str(state.state),
        f"{state.used:,.0f} of {state.budget:,.0f}",
        "" if math.isnan(state.best) else f"{state.best:.4g}",
        _target(state, sign=False),
        _left(state),
    ]


def _style(state: TrialState) -> str:
    return _STYLES.get(state.state, "dim")


def summary(states: Sequence[TrialState], slots: int | None = None) -> str:
    """Return one line: the number of trials in each state, and the maximum remaining time.

    Args:
        states: All trials.
        slots: Number of concurrent trials; None if unknown.
    """
    counts = ", ".join(f"{number} {state}" for state, number in count(states).items())
    line = f"{len(states)} trial{'s' if len(states) > 1 else ''}: {counts}"
    return f"{line}; {left} left" if (left := left_at_worst(states, slots)) else line


def left_at_worst(states: Sequence[TrialState], slots: int | None = None) -> str:
    """Return a description of the maximum remaining time of unfinished trials; empty if there are none.

    Args:
        states: All trials.
        slots: Number of concurrent trials; None if unknown.
    """
    can_run = [state for state in states if state.state is not State.FAILED]
    left = {unit: sum(state.left for state in can_run if state.trial.study.unit == unit) for unit in UNITS}
    words = [f"{left[unit]:,.0f} {unit}" for unit in ("steps", "epochs") if left[unit]]
    if seconds := left["seconds"]:
        on_slots = "" if slots in (None, 1) else f" ({duration(seconds / min(slots, len(states)))} on {slots} slots)"
        words.append(f"{duration(seconds)} of submission time{on_slots}")
    return f"at most {' and '.join(words)}" if words else ""


def duration(seconds: float) -> str:
    """Return a duration as text.

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
def watching(watch: Watch, slots: int | None, plain: bool) -> Iterator[Show]:
    """Show the states of trials while they run: a live table on a terminal, otherwise lines.

    Args:
        watch: All trials of the plan, including finished ones.
        slots: Number of concurrent trials; None if unknown.
        plain: Show lines on a terminal too.
    """
    console = Console()
    if plain or not console.is_terminal:
        yield Show(_Lines(watch, slots), _LIVE_SECONDS)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Show(lambda: live.update(_live(watch, slots, console.size), refresh=True), _LIVE_SECONDS)


class Show:
    """Shows the states of trials, if the last update was long enough ago."""

    def __init__(self, show: Callable[[], None], pause: float) -> None:
        self._show = show
        self._pause = pause
        self._next = 0.0

    def __call__(self) -> None:
        """Show the states, if it is time."""
        begin = time.monotonic()
        if begin >= self._next:
            self._show()
            now = time.monotonic()
            self._next = now + max(self._pause, _LEAST_REST * (now - begin))


class _Lines:
    """Prints a line for each trial that starts or ends, and a summary every minute."""

    def __init__(self, watch: Watch, slots: int | None) -> None:
        self._watch = watch
        self._slots = slots
        self._known: dict[str, State] = {}
        self._next_summary = time.monotonic() + _LOG_SECONDS

    def __call__(self) -> None:
        states = self._watch.look()
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
    """Return the state of a trial in one line."""
    line = f"{state.trial.name}: {state.state}"
    if state.message:
        return f"{line}: {' '.join(state.message.split())}"  # the cause may be on any of its lines
    if state.used:
        line += f" after {used_of(state.used, state.budget, state.trial.study.unit)}"
    return line if math.isnan(state.best) else f"{line}, best {state.best:.4g} ({_target(state)})"


def _live(watch: Watch, slots: int | None, size: ConsoleDimensions) -> Group:
    states = watch.look()
    running = [state for state in states if state.state is State.RUNNING]
    failed = [state for state in states if state.state is State.FAILED]
    over = [state for state in states if state.state.over]
    over.sort(key=lambda state: (state.trial.folder / "trial.json").stat().st_mtime)
    rows = min(_LIVE_ROWS, max(1, size.height - _LIVE_REST))  # lines below the screen would not be visible
    room = max(0, rows - len(running) - len(failed))
    shown = [*failed, *over[len(over) - room if room < len(over) else 0 :], *running][-rows:]
    table = [status_table(shown, size.width)] if shown else []
    return Group(*table, Text(summary(states, slots), overflow="fold"))


def _target(state: TrialState, *, sign: bool = True) -> str:
    result = state.result
    if result is None:
        return ""
    words = target_words(result.validation_target, result.direction, ".4g")
    return words if sign else words.removeprefix("≥ ").removeprefix("≤ ")


def _left(state: TrialState) -> str:
    if state.state in (State.RUNNING, State.INTERRUPTED):
        return f"≤ {duration(state.left) if state.trial.study.unit == 'seconds' else f'{state.left:,.0f}'}"
    return ""
