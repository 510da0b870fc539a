"""Short runs on small data, for checks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from torch import nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.data.streams import TrainingStream
from algoperf_lightning.errors import NotMeasuredWarning
from algoperf_lightning.submission import Submission
from algoperf_lightning.view import WorkloadView
from algoperf_lightning.workload import Workload


class PlainSGD(Submission):
    """A minimal training algorithm for running a workload."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return SGD without schedule."""
        return torch.optim.SGD(model.parameters(), lr=self.lr, momentum=0.9)


def train(workload: Workload, steps: int, folder: Path, *, checkpoint: Path | None = None, **options: Any) -> L.Trainer:
    """Train until a number of steps on the CPU, without a clock, and return the Trainer.

    Args:
        workload: The workload.
        steps: Optimizer steps, including those before the checkpoint.
        folder: Folder for the Trainer's files.
        checkpoint: A checkpoint from which to resume.
        **options: More arguments of the Trainer.
    """
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
    }
    with _quiet_lightning():
        trainer = L.Trainer(max_steps=steps, max_epochs=-1, default_root_dir=folder, **{**quiet, **options})
        trainer.fit(workload, ckpt_path=checkpoint, weights_only=True)
    return trainer


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotMeasuredWarning)  # a check needs no clock
            yield
    finally:
        logger.setLevel(level)


def at_tiny_size(workload: type[Workload]) -> dict[str, Any]:
    """Return the arguments for the smallest size of a workload."""
    return {} if workload.spec.tiny is None else {"tiny": True}


def with_tiny_data(workload: type[Workload], folder: Path) -> dict[str, Any]:
    """Write the tiny data set if the folder does not contain it yet; return the arguments that select it.

    Nothing is written for a workload whose data are part of the package.
    """
    data = workload.data_class(workload.spec, folder)
    if data.missing_files():
        data.write_tiny()
    return {"data_dir": folder, **at_tiny_size(workload)}


def compare_resumed(make: Callable[[], Workload], folder: Path) -> None:
    """Check that a run that is resumed halfway is bit-equal to an uninterrupted one."""
    unbroken, broken, resumed = make(), make(), make()
    train(unbroken, 6, folder)
    checkpoint = folder / "halfway.ckpt"
    train(broken, 3, folder).save_checkpoint(checkpoint)
    train(resumed, 6, folder, checkpoint=checkpoint)
    assert_equal_models(unbroken, resumed, "a resumed run gives different parameters")


def assert_equal_models(one: Workload, other: Workload, message: str) -> None:
    """Check that two models are bit-equal."""
    first, second = one.network.state_dict(), other.network.state_dict()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing, f"{message}: {differing} differ"


def small_batches(workload: type[Workload]) -> Submission:
    """Return a submission with batches of 8 examples on one workload."""

    class SmallBatches(PlainSGD):
        batch_sizes: ClassVar = {workload.spec.of(**at_tiny_size(workload)).full_name: 8}

    return SmallBatches()


def ready(workload: type[Workload], folder: Path) -> Workload:
    """Return a workload with its model built."""
    instance = workload(small_batches(workload), **with_tiny_data(workload, folder))
    instance.configure_model()
    return instance


def built_with_dropout(workload: Workload, rate: float) -> Workload:
    """Return a workload whose model is built with a dropout rate."""
    workload.submission.dropout = rate
    workload.configure_model()
    return workload


def training_batch(workload: Workload) -> Batch:
    """Return the first training batch of 8 examples."""
    return next(iter(TrainingStream(workload.data.open("train"), 8, seed=3)))
