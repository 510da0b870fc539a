"""The record of a run that ended with an exception."""

from __future__ import annotations

import signal

import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.training.calls import describe
from algoperf_lightning.utilities.interruption import Preempted, StepTimeoutError

from .run_state import End, signal_name

_LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
"""Messages of errors that collectives raise when another process has ended."""


def end_of(exception: BaseException, during: str, signum: int, ranks: int) -> End:
    """Return the end of a run that an exception ended.

    Args:
        exception: The raised exception.
        during: What the run was doing.
        signum: A signal that was received before, 0 if there was none.
        ranks: Number of processes of the run.
    """
    if isinstance(exception, StepTimeoutError):
        return End(Status.FAILED, str(exception))
    if isinstance(exception, KeyboardInterrupt):
        return End(Status.PREEMPTED, "Interrupted from the keyboard; it can be resumed.")
    if signum or isinstance(exception, Preempted | SIGTERMException):
        # Also for other exceptions of the other ranks: their collectives fail because a rank has left.
        name = signal_name(signum or signal.SIGTERM)
        return End(Status.PREEMPTED, f"Ended by {name}, in {during}; it can be resumed.")
    if ranks > 1 and _is_lost_connection(exception):
        # A rank that fails writes its error to its own file. One that was killed writes nothing, and can be resumed.
        return End(Status.PREEMPTED, f"Another rank ended; it can be resumed. {describe(exception, during)}")
    return End(Status.FAILED, describe(exception, during))


def say_over(result: TrialResult) -> None:
    """Warn that a trial that is to be resumed is complete."""
    text = f"{result.status.value} {result.message}".strip()
    rank_zero_warn(f"This trial is finished ({text}): nothing is run.")


def _is_lost_connection(exception: BaseException) -> bool:
    if isinstance(exception, dist.DistBackendError | dist.DistNetworkError):
        return True
    return isinstance(exception, RuntimeError) and any(text in str(exception) for text in _LOST)
