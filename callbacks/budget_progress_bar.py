"""BudgetProgressBar: the used budget, and the best metric compared with the target."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar as Bar
from rich.table import Table
from rich.text import Text

from algoperf_lightning.records.summary import used_of
from algoperf_lightning.result import TrialResult

from .step_end_only import StepEndOnly
from .time_budget import TimeBudget

_LONGEST_BAR, _SHORTEST_BAR = 40, 10  # characters

REFRESH_EVERY = 0.25
"""Minimum wall time between two drawings, in seconds."""


class BudgetProgressBar(StepEndOnly, ProgressBar):
    """Show the used budget, the steps, and the best metric with its target.

    The bar is drawn off the clock, only after readings of the clock. If the output is not a terminal, one line is
    printed for each evaluation instead.
    """

    follows_clock = True

    def __init__(self) -> None:
        super().__init__()
        self._console = Console()
        self._enabled = True
        self._live: Live | None = None
        self._budget: TimeBudget | None = None
        self._shown_seconds = -1.0
        self._next_drawing = 0.0

    def disable(self) -> None:
        """Show nothing; Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the empty bar."""
        clocks = [callback for callback in trainer.callbacks if isinstance(callback, TimeBudget)]
        if not self._enabled or not clocks:
            return
        self._budget = clocks[0]
        if self._console.is_terminal:
            # No automatic refresh: a second thread must not use the processor while the clock runs.
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
            self._draw()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Draw if the clock was read since the last drawing."""
        if self._budget is None or self._budget.seconds == self._shown_seconds:
            return
        self._shown_seconds = self._budget.seconds
        if self._live is not None and time.monotonic() >= self._next_drawing:
            with self._budget.untimed():
                self._draw()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, or print a line."""
        if self._budget is not None and not trainer.sanity_checking:
            with self._budget.untimed():
                if self._live is not None:
                    self._draw()
                else:
                    self._console.print(describe_progress(self._budget.result), highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the last drawing on the screen."""
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Release the terminal."""
        self._stop()

    def _draw(self) -> None:
        assert self._live is not None
        assert self._budget is not None
        self._live.update(drawing(self._budget.result, self._console.width), refresh=True)
        self._next_drawing = time.monotonic() + REFRESH_EVERY

    def _stop(self) -> None:
        if self._live is not None:
            self._draw()
            self._live.stop()
        self._live = None
        self._budget = None


def drawing(result: TrialResult, width: int) -> Group:
    """Return two lines: the run with a bar of its budget, and :func:`describe_progress`, folded if necessary.

    Args:
        result: The run so far.
        width: Of the terminal, in characters.
    """
    name = f"{result.workload} · {result.submission}"
    room = min(_LONGEST_BAR, max(_SHORTEST_BAR, width - len(name) - 1))
    head = Table.grid(padding=(0, 1, 0, 0))
    head.add_column(overflow="fold")
    head.add_column(min_width=room)
    head.add_row(Text(name, style="bold"), Bar(total=result.budget, completed=result.used, width=room))
    return Group(head, Text(describe_progress(result), overflow="fold"))


def describe_progress(result: TrialResult) -> str:
    """Return one line: ``12.3 of 60 s · step 3,210 · best accuracy 0.9733, target 0.98``."""
    best = "–" if math.isnan(result.best) else f"{result.best:.4f}"
    steps = "" if result.unit == "steps" else f" · step {result.steps:,}"
    used = used_of(result.used, result.budget, result.unit)
    target = "no target" if result.validation_target is None else f"target {result.validation_target:g}"
    return f"{used}{steps} · best {result.metric} {best}, {target}"
