"""Work that a submission has only queued on the device is charged, on whichever stream it lies."""

import threading
import time
from contextlib import nullcontext
from typing import ClassVar

import pytest
import torch

from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits


class Working(PlainSGD):
    """Multiplies matrices beside its steps, and measures on the device how long that takes.

    Args:
        device: ``cpu`` or ``cuda``.
        products: Products of two matrices in each call.
        where: ``step``, ``before_evaluation`` or ``after_evaluation``.
        aside: Whether they are on a stream of their own, which no other waits for.
    """

    batch_sizes: ClassVar = {"digits": 8}

    def __init__(self, device="cpu", products=1, where="step", aside=False):
        super().__init__()
        self.products, self.where = products, where
        self._cuda = device == "cuda"
        self._matrix = torch.full((4096 if self._cuda else 256,) * 2, 1e-3, device=device)
        self._stream = torch.cuda.Stream() if aside and self._cuda else None
        self._marks, self.host_seconds, self.device_seconds = [], 0.0, 0.0

    def _mark(self):
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _work(self):
        begin = time.perf_counter()
        with torch.no_grad(), nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            mark = self._mark()
            for _ in range(self.products):
                torch.mm(self._matrix, self._matrix)
            self._marks.append((mark, self._mark()))
        self.host_seconds += time.perf_counter() - begin

    def measured(self):
        """Seconds that the device worked on the products."""
        if not self._cuda:
            return sum(end - begin for begin, end in self._marks)
        torch.cuda.synchronize()
        return sum(begin.elapsed_time(end) for begin, end in self._marks) / 1000

    def training_step(self, workload, batch):
        loss = super().training_step(workload, batch)
        if self.where == "step":
            self._work()
        return loss

    def before_evaluation(self, model):
        if self.where == "before_evaluation":
            self._work()

    def after_evaluation(self, model):
        if self.where == "after_evaluation":
            self._work()


@pytest.mark.parametrize("aside", [False, True], ids=["", "on a stream of its own"])
@pytest.mark.parametrize("where", ["step", "before_evaluation", "after_evaluation"])
def test_queued_work_is_charged(where, aside, runs, device):
    Working(device, 3)._work()  # libraries are loaded
    submission = Working(device, 100 if device == "cuda" else 20, where, aside)
    result = runs.fit(Digits(submission), 3, budget={"unit": "seconds", "budget": 600.0, "eval_period": 500.0})
    assert [evaluation.step for evaluation in result.evaluations] == [1, 3]
    assert len(submission._marks) == (3 if where == "step" else 2)
    if where == "after_evaluation":
        submission._marks.pop()  # after the last evaluation, whose time is the run's
    measured = submission.measured()
    if device == "cuda":
        assert submission.host_seconds < measured, "the work was not queued, so nothing was tested"
    # Events are as exact as half a microsecond; the rest of the steps takes longer than that.
    assert measured <= result.submission_seconds <= result.wall_seconds
    if where != "after_evaluation":
        begin, end = submission._marks[0]
        first = (begin.elapsed_time(end) / 1000) if device == "cuda" else end - begin
        assert first <= result.evaluations[0].submission_seconds, "an evaluation began before the work was done"


def test_evaluations_are_not_charged(runs, device):
    class LongEvaluations(Digits):
        def evaluate(self, batch, metrics):
            work._work()
            super().evaluate(batch, metrics)

    work = Working(device, 100 if device == "cuda" else 20)
    work._work()
    work.measured()
    work._marks.clear()
    result = runs.fit(LongEvaluations(PlainSGD()), 2, budget={"unit": "seconds", "budget": 600.0, "eval_period": 500.0})
    evaluated = work.measured()
    assert len(work._marks) == 6
    assert result.submission_seconds + evaluated <= result.wall_seconds


class Threaded(Working):
    """Works in a thread, through evaluations too."""

    def __init__(self, device="cpu"):
        super().__init__(device)
        self.stop = threading.Event()
        self._thread = None

    def _go_on(self):
        while not self.stop.wait(0.001):
            self._work()
            self.measured()  # waits: else more is queued than the device can do, and the run waits for all of it
            self._marks.clear()

    def training_step(self, workload, batch):
        if self._thread is None:
            self._thread = threading.Thread(target=self._go_on, daemon=True)
            self._thread.start()
        return super().training_step(workload, batch)


def test_work_that_goes_on_through_evaluations_is_named(runs, device):
    submission = Threaded(device)
    try:
        result = runs.fit(Digits(submission), 2)
    finally:
        submission.stop.set()
        submission._thread.join()
    assert any("thread" in warning for warning in result.warnings), result.warnings
