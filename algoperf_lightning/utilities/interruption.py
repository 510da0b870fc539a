"""What ends a run from outside: a signal, or the watchdog. Never the submission's doing."""

from __future__ import annotations

import signal


class OutsideEnd(BaseException):
    """Raised by a handler of this library, wherever the program was; so it may pass through a submission's code."""


class Preempted(OutsideEnd, SystemExit):
    """A signal ended the run in order; its trial can be resumed.

    Args:
        signum: The signal.
        first_rank: Whether this process speaks for the trial: its exit code is a shell's, 128 plus the signal's number;
            that of other ranks is 0.
    """

    def __init__(self, signum: int, *, first_rank: bool = True) -> None:
        self.signum = signum
        super().__init__(128 + signum if first_rank else 0)


class InterruptedTwice(OutsideEnd, KeyboardInterrupt):
    """Ctrl-C was pressed again by someone who does not want to wait for the first one's checkpoint."""


class StepTimeoutError(OutsideEnd, SystemExit):
    """A training step did not end, long after the budget was spent. The exit code is that of ``timeout``."""

    code: int

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 124


def is_from_outside(error: BaseException) -> bool:
    """Return whether an exception that passed through a submission's code came from a signal, as far as one can tell.

    While a timed run has its own handler of Ctrl-C, a plain ``KeyboardInterrupt`` is raised by code, not by a user.
    """
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True
    return isinstance(error, OutsideEnd)
