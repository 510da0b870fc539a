"""Exceptions that end a run from outside: a signal, or the watchdog. They are never the submission's errors."""

from __future__ import annotations

import signal


class OutsideEnd(BaseException):
    """Raised by a handler of this library at any point of the program, so it may pass through a submission's code."""


class Preempted(OutsideEnd, SystemExit):
    """A signal ended the run regularly; its trial can be resumed.

    Args:
        signum: The signal.
        first_rank: Whether this is the first rank, whose exit code is that of a shell, 128 plus the signal's number;
            the exit code of other ranks is 0.
    """

    def __init__(self, signum: int, *, first_rank: bool = True) -> None:
        self.signum = signum
        super().__init__(128 + signum if first_rank else 0)


class InterruptedTwice(OutsideEnd, KeyboardInterrupt):
    """Ctrl-C was pressed again, to end without waiting for the checkpoint."""


class StepTimeoutError(OutsideEnd, SystemExit):
    """A training step did not end long after the budget was spent. The exit code is that of ``timeout``."""

    code: int

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 124


def is_from_outside(error: BaseException) -> bool:
    """Return whether an exception that passed through a submission's code probably came from a signal.

    While a timed run has its own handler of Ctrl-C, a plain ``KeyboardInterrupt`` is raised by code, not by a user.
    """
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True
    return isinstance(error, OutsideEnd)
