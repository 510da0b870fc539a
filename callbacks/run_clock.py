"""The clock of a run: one submission time for all its ranks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lightning as L
import torch
import torch.distributed as dist

from algoperf_lightning.spec import Unit

from .clock import CheckPlan, StepPlan, SubmissionClock


class RunClock:
    """Submission time and wall time of a run, and the plan of when to read them.

    Args:
        source: A function that returns seconds and never decreases.
        unit: The unit of the budget.
    """

    def __init__(self, source: Callable[[], float], unit: Unit) -> None:
        self.seconds = 0.0
        """Submission seconds at the last reading, the same on every rank."""
        self.source = source
        self._submission = SubmissionClock(source)
        self._wall = SubmissionClock(source)
        self._processor = SubmissionClock(time.process_time)
        self._real = source is time.monotonic
        self._plan = CheckPlan() if unit == "seconds" else StepPlan()
        self._alone = True
        self._set_aside = False

    @property
    def running(self) -> bool:
        """Whether the clock of the submission is running."""
        return self._submission.running

    @property
    def now(self) -> float:
        """Submission seconds on this rank, without waiting for its device."""
        return self._submission.seconds

    @property
    def wall_seconds(self) -> float:
        """Wall seconds of the run, downtime not included."""
        return self._wall.seconds

    @property
    def processor_seconds(self) -> float | None:
        """Processor seconds that this process used in submission time, summed over its threads.

        None if the clock's source is not real time.
        """
        return self._processor.seconds if self._real else None

    @property
    def next_reading(self) -> float:
        """Submission seconds at which the clock is to be read next."""
        return max(self.now, self.seconds, self._plan.next_seconds)

    def set(self, seconds: float, wall_seconds: float, processor_seconds: float) -> None:
        """Stop at a time: 0 for a new run."""
        self.seconds = seconds
        self._submission.set(seconds)
        self._wall.set(wall_seconds)
        self._processor.set(processor_seconds)

    def charge_until(self, seconds: float) -> None:
        """Stop at a given time if it is later than the current one.

        The processor time of the killed process is unknown; it is assumed to have used one processor all the time.
        """
        if (more := seconds - self.now) > 0:
            self.set(seconds, self.wall_seconds, self._processor.seconds + more)

    def start(self, trainer: L.Trainer, step: int) -> None:
        """Start the clock, ``step`` steps into the run."""
        self._alone = trainer.world_size == 1
        _synchronize(trainer)
        self._plan.start(step, self.now)
        self._wall.resume()
        self._let_run()

    def stop(self) -> None:
        """Stop the clock for good."""
        self._stand_still()
        self._wall.pause()

    def is_due(self, step: int) -> bool:
        """Return whether to read the clock after this step; this is cheap, and the same on every rank."""
        return self._plan.is_due(step, self.now if self._alone else None)

    def read(self, trainer: L.Trainer, step: int, *flags: float) -> list[float]:
        """Wait for the device, adopt the first rank's time, and return the maximum of each flag over the ranks."""
        _synchronize(trainer)
        self.seconds, *raised = agree(trainer, self.now, *flags)
        self._plan.measure(step, self.seconds)
        return raised

    def look_ahead(self, until_due: float) -> None:
        """Plan the next reading, ``until_due`` seconds or steps from the last one; the same number on every rank."""
        self._plan.look_ahead(until_due)

    def pause(self, trainer: L.Trainer, *flags: float) -> list[float]:
        """Stop at the time at which the last rank finished its work, and return the maximum of each flag."""
        _synchronize(trainer)
        trainer.strategy.barrier()
        self.seconds, *raised = agree(trainer, self.now, *flags)
        self._stand_still()
        self._submission.set(self.seconds)
        return raised

    def pause_here(self) -> None:
        """Stop on this rank, when the run has ended."""
        self._stand_still()

    def resume(self, trainer: L.Trainer) -> None:
        """Restart the clock on all ranks together, after all work of an evaluation on the device has finished."""
        _synchronize(trainer)
        trainer.strategy.barrier()
        self._let_run()

    def go_on(self, trainer: L.Trainer, step: int) -> None:
        """Read the clock after work outside of steps, without changing the measured speed of steps."""
        _synchronize(trainer)
        (self.seconds,) = agree(trainer, self.now)
        self._plan.skip(step, self.seconds)

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Stop the submission's clock within the block, for work that is not the submission's.

        The device is synchronised first, so that queued work of the submission is charged to it, and at the end, so
        that queued work of the block is not.
        """
        if not self._submission.running:
            yield
            return
        _wait_for_any_gpu()
        self._stand_still()
        self._set_aside = True
        try:
            yield
        finally:
            _wait_for_any_gpu()
            self._set_aside = False
            self._let_run()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Run the clock within a block of :meth:`untimed`, for work of the submission there."""
        if not self._set_aside:
            yield
            return
        _wait_for_any_gpu()
        self._let_run()
        try:
            yield
        finally:
            _wait_for_any_gpu()
            self._stand_still()

    def _let_run(self) -> None:
        self._submission.resume()
        self._processor.resume()

    def _stand_still(self) -> None:
        self._submission.pause()
        self._processor.pause()


def agree(trainer: L.Trainer, first: float, *flags: float) -> list[float]:
    """Return the first rank's ``first`` and the maximum of each flag over all ranks, with one collective."""
    if trainer.world_size == 1:
        return [float(first), *map(float, flags)]
    mine = first if trainer.is_global_zero else -math.inf
    shared = torch.tensor([mine, *flags], dtype=torch.float64, device=trainer.strategy.root_device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return [float(value) for value in shared.tolist()]


def _synchronize(trainer: L.Trainer) -> None:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize(trainer.strategy.root_device)


def _wait_for_any_gpu() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
