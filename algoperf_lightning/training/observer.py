"""Where a run can be looked at from outside: around a submission's calls and before each evaluation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


class Observer:
    """Is called by a workload at fixed places of a run, and does nothing there; who looks at runs derives from it."""

    def configuring(self) -> AbstractContextManager[None]:
        """Return a context for the submission's ``configure_optimizers``; the model is built and untrained."""
        return nullcontext()

    def data_are_open(self) -> None:
        """The data loaders were made and training starts; no code of the submission ran since it was configured."""

    def look_at_modes(self) -> None:
        """An evaluation is about to set the model to evaluation mode."""

    def evaluation_begins(self) -> None:
        """The model is evaluated next."""

    def warn(self, warning: str) -> None:
        """Something beside the submission changes how the run is measured; the record is to say so."""
