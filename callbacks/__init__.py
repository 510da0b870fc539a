"""Callbacks that turn ``Trainer.fit`` into a measurement."""

from __future__ import annotations

from .budget_progress_bar import BudgetProgressBar
from .instruments import Instruments
from .stop_hopeless import StopHopeless
from .time_budget import TimeBudget
from .trial_recorder import TrialRecorder

__all__ = ["BudgetProgressBar", "Instruments", "StopHopeless", "TimeBudget", "TrialRecorder"]
