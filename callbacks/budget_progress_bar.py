"""BudgetProgressBar: how much of the budget is used, and how far the target is."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from algoperf_lightning.result import TrialResult
from algoperf_lightning.summary import used_of

from .step_end_only import StepEndOnly
from .time_budget import TimeBudget

REFRESH_EVERY = 0.25
"""Seconds of wall time between two drawings at least."""


class BudgetProgressBar(StepEndOnly, ProgressBar):
    """Show what is used of the budget, steps, and the best metric beside its target.

    It is drawn only when the clock was read anyway, and off the clock. Where the output is no terminal, one line is
    printed for each evaluation instead.
    """

    follows_clock = True

    def __init__(self) -> None:
        super().__init__()
        self._console = Console()
        self._enabled = True
        self._progress: Progress | None = None
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
            self._progress = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"),
                console=self._console,
                auto_refresh=False,  # no second thread may take the processor while the clock runs
            )
            result = self._budget.result
            self._progress.add_task(f"{result.workload} · {result.submission}", total=result.budget, text="")
            self._progress.start()
            self._draw()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Draw, if the clock was read since."""
        if self._budget is None or self._budget.seconds == self._shown_seconds:
            return
        self._shown_seconds = self._budget.seconds
        if self._progress is not None and time.monotonic() >= self._next_drawing:
            with self._budget.untimed():
                self._draw()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, or print a line."""
        if self._budget is not None and not trainer.sanity_checking:
            with self._budget.untimed():
                if self._progress is not None:
                    self._draw()
                else:
                    self._console.print(describe_progress(self._budget.result), highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the last drawing on the screen."""
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop()

    def _draw(self) -> None:
        assert self._progress is not None
        assert self._budget is not None
        result = self._budget.result
        self._progress.update(
            self._progress.task_ids[0], completed=result.used, text=describe_progress(result), refresh=True
        )
        self._next_drawing = time.monotonic() + REFRESH_EVERY

    def _stop(self) -> None:
        if self._progress is not None:
            self._draw()
            self._progress.stop()
        self._progress = None
        self._budget = None


def describe_progress(result: TrialResult) -> str:
    """Return one line: ``12.3 of 60 s · step 3,210 · best accuracy 0.9733, target 0.98``."""
    best = "–" if math.isnan(result.best) else f"{result.best:.4f}"
    steps = f" · step {result.steps:,}" if result.unit == "seconds" else ""
    used = used_of(result.used, result.budget, result.unit)
    return f"{used}{steps} · best {result.metric} {best}, target {result.validation_target:g}"
