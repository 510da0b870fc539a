"""After a fit nothing is left behind: signals, threads, memory, warnings, methods of the Trainer and its loggers."""

import gc
import logging
import signal
import threading
import tracemalloc
import warnings
import weakref

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Failing(PlainSGD):
    raised = None

    def training_step(self, workload, batch):
        if self.raised is not None:
            raise self.raised
        return super().training_step(workload, batch)


def fit(folder, raised=None, steps=3):
    """Fit once and return the Trainer and the workload."""
    submission = Failing()
    submission.raised = raised
    workload = Digits(submission)
    trainer = L.Trainer(
        callbacks=[TimeBudget(unit="steps", budget=steps, eval_period=2), TrialRecorder(folder)],
        logger=CSVLogger(folder / "log"),
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if raised is None:
        trainer.fit(workload)
    else:
        with pytest.raises((ValueError, RuntimeError)):
            trainer.fit(workload)
    return trainer, workload


@pytest.fixture(params=[None, ValueError("wrong"), SystemExit(0)], ids=["ends", "fails", "leaves"])
def raised(request):
    return request.param and type(request.param)(*request.param.args)


@pytest.mark.parametrize("of_user", [False, True], ids=["default", "user's"])
def test_signals_are_handled_as_before(tmp_path, raised, of_user):
    def handler(signum, frame):
        """A user's own."""

    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        if of_user:
            for number in SIGNALS:
                signal.signal(number, handler)
        expected = {number: signal.getsignal(number) for number in SIGNALS}
        for _ in range(2):
            fit(tmp_path / str(_), raised)
            assert {number: signal.getsignal(number) for number in SIGNALS} == expected
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def test_no_thread_and_no_filter_of_warnings_is_left(tmp_path, raised):
    filters, threads = list(warnings.filters), threading.enumerate()
    fit(tmp_path, raised)
    assert [thread for thread in threading.enumerate() if thread not in threads] == []
    assert [entry for entry in warnings.filters if entry not in filters] == []


def test_no_method_of_the_trainer_and_its_loggers_is_left_wrapped(tmp_path, raised):
    trainer, _ = fit(tmp_path, raised)
    loop = trainer.fit_loop.epoch_loop
    for owner in (trainer, trainer.logger, loop, loop.val_loop, trainer.fit_loop):
        replaced = {name for name, value in vars(owner).items() if callable(getattr(type(owner), name, None))}
        assert not replaced, f"{type(owner).__name__}: {replaced}"


def test_earlier_workloads_and_trainers_can_be_freed(tmp_path, raised):
    kept = []
    for number in range(4):
        trainer, workload = fit(tmp_path / str(number), raised)
        kept += [weakref.ref(workload), weakref.ref(workload.model), weakref.ref(trainer)]
        del trainer, workload
        if raised is not None:
            raised.__traceback__ = None  # the exception is the test's, and holds the frames it passed
            raised.__context__ = raised.__cause__ = None
    gc.collect()
    assert [reference() for reference in kept] == [None] * len(kept)


@pytest.mark.slow
def test_memory_does_not_grow_over_ten_fits(tmp_path):
    for number in range(2):
        fit(tmp_path / f"warm_{number}")
    gc.collect()
    tracemalloc.start()
    try:
        fit(tmp_path / "first")
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        for number in range(10):
            fit(tmp_path / str(number))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    assert grown < 10 * 20_000, f"{grown} bytes in ten fits"  # a workload's Python objects alone are more
