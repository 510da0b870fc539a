"""How the end of a run is recorded."""

from __future__ import annotations

import signal

import lightning as L
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.training.calls import describe
from algoperf_lightning.utilities.interruption import Preempted, StepTimeoutError
from algoperf_lightning.workload import Workload

_LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
"""Texts of errors that collectives raise when another process has ended."""


def end_of(exception: BaseException, during: str, signum: int, ranks: int) -> tuple[Status, str]:
    """Return the status and the message of a run that ended with an exception.

    Args:
        exception: What was raised.
        during: What the run was doing.
        signum: A signal that had come before, 0 if none had.
        ranks: How many processes the run has.
    """
    if isinstance(exception, StepTimeoutError):
        return Status.FAILED, str(exception)
    if isinstance(exception, KeyboardInterrupt):
        return Status.PREEMPTED, "Interrupted from the keyboard; it can be resumed."
    if signum or isinstance(exception, Preempted | SIGTERMException):
        # Whatever the others raise then: they lose a rank that left before them.
        return Status.PREEMPTED, f"Ended by {signal_name(signum or signal.SIGTERM)}, in {during}; it can be resumed."
    if ranks > 1 and _is_lost_connection(exception):
        # A rank that fails says so itself, in a file of its own. One that was killed says nothing, and can be resumed.
        return Status.PREEMPTED, f"Another rank ended; it can be resumed. {describe(exception, during)}"
    return Status.FAILED, describe(exception, during)


def conclude(result: TrialResult, stopped: str) -> None:
    """Set the status of a run that has none yet; ``stopped`` is the message if it was stopped."""
    if result.is_reached:
        result.status = Status.REACHED
    elif result.used >= result.budget:
        result.status = Status.BUDGET_SPENT
    else:
        result.status, result.message = Status.STOPPED, stopped


def say_over(result: TrialResult) -> None:
    """Warn that a trial that is to be resumed is over."""
    text = f"{result.status.value} {result.message}".strip()
    rank_zero_warn(f"This trial is finished ({text}): nothing is run.")


def why_stopped(trainer: L.Trainer, workload: Workload, step: int) -> str:
    """Return who ended a run before its target and its budget."""
    if workload.view.stop_requested:
        return "The submission ended the run."
    if 0 <= trainer.max_steps <= step:
        return f"max_steps={trainer.max_steps} was reached."
    return "Another callback ended the run."


def signal_name(signum: int) -> str:
    """Return the name of a signal."""
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name


def _is_lost_connection(exception: BaseException) -> bool:
    if isinstance(exception, dist.DistBackendError | dist.DistNetworkError):
        return True
    return isinstance(exception, RuntimeError) and any(text in str(exception) for text in _LOST)
