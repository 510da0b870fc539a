"""Hooks for observing a run: around a submission's calls and before each evaluation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


class Observer:
    """Base class of observers, whose methods a workload calls at fixed points of a run; they do nothing here."""

    def configuring(self) -> AbstractContextManager[None]:
        """Return a context for the submission's ``configure_optimizers``; the model is built and untrained."""
        return nullcontext()

    def data_are_open(self) -> None:
        """The data loaders were created and training starts; the submission has not run since its configuration."""

    def look_at_modes(self) -> None:
        """An evaluation is about to set the model to evaluation mode."""

    def evaluation_begins(self) -> None:
        """The model is evaluated next."""

    def warn(self, warning: str) -> None:
        """Something other than the submission changes how the run is measured; the record should name it."""
