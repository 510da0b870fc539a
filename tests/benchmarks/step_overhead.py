"""Time per step of a timed run against a plain Trainer and a bare PyTorch loop.

All on the same model, data and optimizer, in one interleaved run; ratios of medians are printed. Usage::

    python tests/benchmarks/step_overhead.py [--rounds 5] [--cases mnist-16 mnist-1024 cifar10-32] [--device cuda]

- bare: a loop over the same batches with zero_grad, loss, backward, step, schedule.
- lightning: a plain Trainer with a plain LightningModule; no logger, progress bar, checkpoint or callback.
- ours: Trainer.fit on the workload with TimeBudget, TrialRecorder and BudgetProgressBar, evaluations left out.

Data are tensors in memory on all three sides, drawn by the workload's own stream, so that only the loop differs; each
side copies its batches to a GPU itself. One thread: on a shared machine, threads that wait for each other measure the
machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F

from algoperf_lightning import Submission, Workload, get_workload
from algoperf_lightning.callbacks import BudgetProgressBar, TimeBudget, TrialRecorder
from algoperf_lightning.data.streams import TrainingStream
from algoperf_lightning.testing import with_tiny_data

CASES = {
    "mnist-16": ("mnist", 16, 2000),
    "mnist-1024": ("mnist", 1024, 400),
    "cifar10-32": ("cifar10", 32, 10),
    "digits-64": ("digits", 64, 1000),
}
"""Workload, batch size, steps a round."""


def optimizer_of(model: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def make_submission(workload: str, batch: int) -> Submission:
    class Plain(Submission):
        batch_sizes: ClassVar = {workload: batch}

        def configure_optimizers(self, model: nn.Module, view: Any) -> Any:
            optimizer, schedule = optimizer_of(model)
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    return Plain()


class PlainModule(L.LightningModule):
    def __init__(self, model: nn.Module, stream: TrainingStream) -> None:
        super().__init__()
        self.model, self.stream = model, stream

    def configure_optimizers(self) -> Any:
        optimizer, schedule = optimizer_of(self.model)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.stream, batch_size=None)

    def training_step(self, batch: Any) -> Any:
        return F.cross_entropy(self.model(batch["inputs"]), batch["targets"])


class Stopwatch(L.Callback):
    """Time per step after the first tenth, in which a run warms up and is evaluated."""

    def __init__(self, steps: int) -> None:
        self.steps, self.count, self.per_step = steps, 0, 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self.count += 1
        if self.count == 2 + self.steps // 10:
            self.begin, self.first = now(trainer.strategy.root_device), self.count
        elif self.count == self.steps:
            self.per_step = (now(trainer.strategy.root_device) - self.begin) / (self.count - self.first)


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def bare(workload: Workload, stream: TrainingStream, steps: int, device: torch.device) -> float:
    model = workload.build_model().train().to(device)
    optimizer, schedule = optimizer_of(model)
    batches = iter(stream)
    first = 2 + steps // 10
    for step in range(steps):
        if step == first:
            begin = now(device)
        batch = {name: value.to(device, non_blocking=True) for name, value in next(batches).items()}
        optimizer.zero_grad()
        F.cross_entropy(model(batch["inputs"]), batch["targets"]).backward()
        optimizer.step()
        schedule.step()
    return (now(device) - begin) / (steps - first)


def quiet(device: torch.device) -> dict[str, Any]:
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    return {"accelerator": accelerator, "devices": 1, "logger": False, "enable_model_summary": False}


def plain_trainer(workload: Workload, stream: TrainingStream, steps: int, device: torch.device) -> float:
    watch = Stopwatch(steps)
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=-1,
        callbacks=[watch],
        enable_progress_bar=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        **quiet(device),
    )
    trainer.fit(PlainModule(workload.build_model(), stream))
    return watch.per_step


def ours(make: Callable[[], Workload], steps: int, folder: Path, device: torch.device) -> float:
    watch = Stopwatch(steps)
    # The evaluations at the first and the last step lie outside the stopwatch.
    budget = TimeBudget(budget=1e6, eval_period=1e5)
    trainer = L.Trainer(
        max_steps=steps + 1,
        callbacks=[watch, budget, TrialRecorder(folder), BudgetProgressBar()],
        default_root_dir=folder,
        **quiet(device),
    )
    trainer.fit(make())
    return watch.per_step


def measure(case: str, rounds: int, at_most: int, folder: Path, device: torch.device) -> dict[str, float]:
    """Median seconds of a step on each side."""
    name, batch, steps = CASES[case]
    steps = min(steps, at_most)
    workload_class = get_workload(name)
    data_dir = with_tiny_data(workload_class, folder / name)["data_dir"]

    def make() -> Workload:
        return workload_class(make_submission(name, batch), data_dir=data_dir)

    workload = make()
    examples = workload.data.open("train")
    times: dict[str, list[float]] = {"bare": [], "lightning": [], "ours": []}
    for number in range(rounds):
        times["bare"].append(bare(workload, TrainingStream(examples, batch, 0), steps, device))
        times["lightning"].append(plain_trainer(workload, TrainingStream(examples, batch, 0), steps, device))
        times["ours"].append(ours(make, steps, folder / f"{case}-{number}", device))
    medians = {side: statistics.median(values) for side, values in times.items()}
    rounds_ours = [o / p for o, p in zip(times["ours"], times["lightning"], strict=True)]
    print(
        f"{case:12} bare {medians['bare'] * 1e3:8.3f} ms   "
        f"lightning/bare {medians['lightning'] / medians['bare']:.3f}   "
        f"ours/bare {medians['ours'] / medians['bare']:.3f}   ours/lightning {statistics.median(rounds_ours):.3f} "
        f"({min(rounds_ours):.3f} to {max(rounds_ours):.3f})",
        flush=True,
    )
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=["mnist-16", "mnist-1024", "cifar10-32"], choices=list(CASES))
    parser.add_argument("--steps", type=int, default=2000, help="at most this many in a round")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--json", type=Path, help="file to write the medians to, as seconds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        cases = {}
        for case in options.cases:
            cases[case] = measure(case, options.rounds, options.steps, Path(folder), options.device)
    if options.json is not None:
        options.json.write_text(json.dumps({"cases": cases}, indent=1))


if __name__ == "__main__":
    main()
