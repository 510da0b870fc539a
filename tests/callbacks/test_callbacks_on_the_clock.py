"""Lightning's callbacks beside the clock: each works, and the page says which of its hooks are charged."""

import csv
import re
from pathlib import Path

import lightning as L
import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit
from lightning.pytorch.callbacks import (
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ThroughputMonitor,
)
from lightning.pytorch.loggers import CSVLogger

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.result import Status

PAGE = Path(__file__).parents[2] / "docs" / "loggers_and_callbacks.md"
HOOKS = [name for name in dir(L.Callback) if name.startswith("on_") and not name.endswith("_checkpoint")]
CALLBACKS = {
    "LearningRateMonitor": lambda folder: LearningRateMonitor(),
    "ModelCheckpoint": lambda folder: ModelCheckpoint(
        folder, monitor="validation/accuracy", mode="max", save_top_k=1, every_n_train_steps=2
    ),
    "EarlyStopping": lambda folder: EarlyStopping("validation/accuracy", mode="max", patience=1, min_delta=2.0),
    "DeviceStatsMonitor": lambda folder: DeviceStatsMonitor(),
    "ThroughputMonitor": lambda folder: ThroughputMonitor(lambda batch: len(batch["targets"]), window_size=2),
}


def run(folder, callback, clock):
    logger = CSVLogger(folder / "log")
    budget, workload, _ = controlled_fit(
        folder,
        workload=TimedDigits(TimedSubmission(clock), scores=[0.5, 0.9, 0.4, 0.3, 0.2]),
        clock=clock,
        budget={"budget": 6.0},
        callbacks=[callback],
        trainer={"logger": logger, "log_every_n_steps": 1},
    )
    with open(f"{logger.log_dir}/metrics.csv", newline="") as file:
        return budget.result, workload, list(csv.DictReader(file))


def page_rows():
    """The page's table: name, hooks on the clock, hooks off it."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: tuple(set(re.findall(r"`(on_\w+)`", cell)) for cell in (on, off)) for name, on, off in rows}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks_work_and_the_page_says_which_of_their_hooks_are_charged(name, tmp_path):
    """Each hook takes 1/1024 s, an exact number; the clock shows whether it is charged."""
    clock, callback = FakeClock(), CALLBACKS[name](tmp_path / "checkpoints")
    charged, not_charged = set(), set()

    def slow(hook, method):
        def wrapped(trainer, *args, **kwargs):
            (watch,) = [each for each in trainer.callbacks if isinstance(each, TimeBudget)]
            before = watch.now
            clock.advance(1 / 1024)
            (charged if watch.now > before else not_charged).add(hook)
            return method(trainer, *args, **kwargs)

        return wrapped

    for hook in HOOKS:
        if getattr(type(callback), hook) is not getattr(L.Callback, hook):
            setattr(callback, hook, slow(hook, getattr(callback, hook)))
    CHECKS[name](callback, *run(tmp_path, callback, clock))
    on_page, off_page = page_rows()[name]
    assert charged == on_page
    # A step's hooks are not charged either when they come after the clock has stopped for the run's end.
    assert {hook for hook in not_charged if "validation" in hook} == off_page
    assert not on_page & off_page


def check_learning_rates(callback, result, workload, rows):
    (name,) = [each for each in rows[0] if each.startswith("lr-")]
    rates = [float(row[name]) for row in rows if row[name]]
    assert rates == [workload.submission.lr] * (result.steps + 1)  # one before the first step


def check_checkpoints(callback, result, workload, rows):
    (path,) = Path(callback.dirpath).glob("*.ckpt")  # of several, the best is left
    saved = torch.load(path, weights_only=True)
    assert callback.best_model_path == str(path)
    assert saved["state_dict"].keys() == workload.state_dict().keys()
    best = max(float(row["validation/accuracy"]) for row in rows if row["validation/accuracy"])
    assert float(callback.best_model_score) == pytest.approx(best)


def check_early_stopping(callback, result, workload, rows):
    assert result.status is Status.STOPPED
    assert len(result.evaluations) == callback.patience + 1


def check_device_stats(callback, result, workload, rows):
    names = {name.partition("/")[0] for row in rows for name, value in row.items() if value}
    assert {f"DeviceStatsMonitor.on_{when}" for when in ("train_batch_start", "train_batch_end")} <= names


def check_throughput(callback, result, workload, rows):
    speeds = [float(row["train/device/batches_per_sec"]) for row in rows if row["train/device/batches_per_sec"]]
    assert len(speeds) >= result.steps - 2
    assert min(speeds) > 0


CHECKS = {
    "LearningRateMonitor": check_learning_rates,
    "ModelCheckpoint": check_checkpoints,
    "EarlyStopping": check_early_stopping,
    "DeviceStatsMonitor": check_device_stats,
    "ThroughputMonitor": check_throughput,
}
