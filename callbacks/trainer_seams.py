"""The few places where a timed run reaches into a Trainer, all in one file, all undone at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial, wraps
from types import FrameType
from typing import Any

import lightning as L

_PREEMPTION = ("SIGTERM", "SIGUSR1")  # the latter is not known to Windows


class TrainerSeams:
    """Changes to one Trainer for the length of one fit.

    - Checkpoints and loggers work off the clock: their methods are wrapped, as Lightning has no hooks around them.
    - SIGTERM, and SIGUSR1 by which a cluster says that the time limit is near, raise a flag that travels with the
      clock's next reading. Lightning's own way is a broadcast, read back on the host, at every step on every rank, and
      a checkpoint written from inside the signal handler.

    Args:
        trainer: The Trainer of the run.
        untimed: Makes a block in which the submission's time stands still.
    """

    def __init__(self, trainer: L.Trainer, untimed: Callable[[], AbstractContextManager[None]]) -> None:
        self._trainer = trainer
        self._undo: list[Callable[[], Any]] = []
        self._wrap(trainer, "save_checkpoint", untimed)
        for logger in trainer.loggers:
            for method in ("log_metrics", "save", "log_hyperparams"):
                self._wrap(logger, method, untimed)

    def on_preemption(self, handler: Callable[[int, FrameType | None], None]) -> None:
        """Let ``handler`` take the signals of preemption, here and in the processes that Lightning itself started."""
        launcher = self._trainer.strategy.launcher
        received = False

        def handle(signum: int, frame: FrameType | None) -> None:
            nonlocal received
            handler(signum, frame)
            if not received and launcher is not None:
                launcher.kill(signum)
            received = True

        for name in _PREEMPTION:
            if (number := getattr(signal, name, None)) is not None:
                previous = signal.signal(number, handle)
                self._undo.append(partial(signal.signal, number, previous))
        loop = self._trainer.fit_loop.epoch_loop
        # Present in the Lightning versions that setup.cfg allows; where it is not, there is nothing to spare.
        if hasattr(loop, "_broadcast_sigterm_tensor"):
            loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
            self._undo.append(lambda: delattr(loop, "_broadcast_sigterm_tensor"))

    def no_more_validation(self) -> None:
        """Keep Lightning from evaluating once more when the run is told to stop."""
        limit = self._trainer.limit_val_batches
        if limit != 0:
            self._trainer.limit_val_batches = 0
            self._undo.append(lambda: setattr(self._trainer, "limit_val_batches", limit))

    def restore(self) -> None:
        """Undo every change, the last one first."""
        while self._undo:
            self._undo.pop()()

    def _wrap(self, owner: Any, name: str, untimed: Callable[[], AbstractContextManager[None]]) -> None:
        method = getattr(owner, name)

        @wraps(method)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with untimed():
                return method(*args, **kwargs)

        setattr(owner, name, wrapped)
        self._undo.append(lambda: delattr(owner, name))
