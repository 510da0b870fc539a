"""Handling of signals that ask a timed run to end."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

import lightning as L

from algoperf_lightning.utilities.interruption import InterruptedTwice, OutsideEnd, Preempted

_SIGNALS = ("SIGTERM", "SIGUSR1", "SIGINT")  # Windows does not have the second one
_SAME_PRESS = 1.0
"""Seconds within which a second Ctrl-C counts as the first one, forwarded by a launcher."""

_NOTICE = b"\nInterrupted: the run is saved after this step and ends. Press Ctrl-C again to end it immediately.\n"


class CallSignal:
    """A way to raise an exception in the main thread during one call, before a run has its own signal handlers.

    Within the block SIGTERM is handled as before, unless :meth:`raise_in_main_thread` has sent it.
    """

    def __init__(self) -> None:
        self._error: OutsideEnd | None = None
        self._previous: Any = None
        self._handler = self._handle

    def __enter__(self) -> CallSignal:
        """Replace the signal handler, if this is the main thread."""
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "pthread_kill"):
            self._previous = signal.getsignal(signal.SIGTERM)
            if self._previous is not None:  # otherwise the handler is not Python's, and could not be restored
                signal.signal(signal.SIGTERM, self._handler)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the signal handler."""
        if self._previous is not None and signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, self._previous)

    def raise_in_main_thread(self, error: OutsideEnd) -> bool:
        """Raise an exception in the main thread as soon as it runs Python; return whether this is possible."""
        thread = threading.main_thread().ident
        if self._previous is None or thread is None:
            return False
        self._error = error
        signal.pthread_kill(thread, signal.SIGTERM)
        return True

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._error is not None:
            raise self._error
        if callable(self._previous):
            self._previous(signum, frame)
        elif self._previous is signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


class RunSignals:
    """Handles SIGTERM, SIGUSR1 (sent by a cluster shortly before its time limit) and Ctrl-C during one fit.

    While the submission trains, a signal sets a flag that is exchanged at the clock's next reading: all ranks save and
    end after the same step. During an evaluation, which may be long, it ends the run immediately; the evaluation is
    repeated when the run is resumed. Lightning instead broadcasts at every step on every rank, reads the result on the
    host, and writes a checkpoint from inside the signal handler.

    Handlers belong to the main thread; a run in another thread is not interrupted by signals.

    Args:
        trainer: The Trainer of the run.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self.received = 0
        """The first received signal, 0 if there was none."""
        self._trainer = trainer
        self._at_once = False
        self._pressed = 0.0
        self._error: OutsideEnd | None = None
        self._handler = self._handle  # one object, so that it can be recognised
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is None or (number == signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN):
                continue  # Ctrl-C is not for a job in the background
            self._previous[number] = signal.signal(number, self._handler)
        if trainer.received_sigterm:  # between Lightning's start and ours
            trainer._signal_connector.received_sigterm = False
            self.received = int(signal.SIGTERM)

    def evaluating(self, evaluating: bool) -> None:
        """Set whether an evaluation is running, which a signal ends immediately.

        Raises:
            Preempted: If a signal has been received and an evaluation is about to start.
        """
        self._at_once = evaluating
        if evaluating and self.received:
            raise self.end()

    def end(self) -> Preempted:
        """Return the exception that ends the process after the received signal."""
        number = signal.SIGINT if self.received == signal.SIGINT else signal.SIGTERM
        return Preempted(number, first_rank=self._trainer.is_global_zero)

    def raise_in_main_thread(self, error: OutsideEnd) -> bool:
        """Raise an exception in the main thread as soon as it runs Python; return whether this is possible."""
        thread = threading.main_thread().ident
        if not self._previous or thread is None or not hasattr(signal, "pthread_kill"):
            return False
        self._error = error
        signal.pthread_kill(thread, signal.SIGTERM)  # this also interrupts a waiting thread
        return True

    def restore(self) -> None:
        """Restore the signal handlers, unless Lightning has done so: its own handlers must remain removed."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, previous in self._previous.items():
            if signal.getsignal(number) is self._handler:
                signal.signal(number, previous)
        self._previous = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._error is not None:
            raise self._error
        if signum == signal.SIGINT:
            now, pressed = time.monotonic(), self._pressed
            self._pressed = now
            if self.received and now - pressed > _SAME_PRESS:
                raise InterruptedTwice
        if not self.received:
            self.received = signum
            launcher = self._trainer.strategy.launcher
            if signum != signal.SIGINT and launcher is not None:  # Ctrl-C reaches all processes of a terminal
                launcher.kill(signum)
            if signum == signal.SIGINT and self._trainer.is_global_zero and not self._at_once:
                os.write(2, _NOTICE)  # print is not for signal handlers
        if self._at_once:
            raise self.end()
