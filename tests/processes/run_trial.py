"""A trial in processes of its own, told what to do by its command line; tests start it, kill it, and read its files.

Each rank appends lines of JSON to ``rank_<r>.jsonl`` in the folder: what it did at which step and time.
"""

import argparse
import collections
import json
import os
import sys
import time
from pathlib import Path

import lightning as L
import torch
import torch.distributed as dist

from algoperf_lightning.baselines import AdamW
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.data import TensorExamples
from algoperf_lightning.launch import trainer_options
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits
from algoperf_lightning.workloads.digits.data import DigitsData

torch.set_num_threads(1)


class StepClock:
    """A hundredth of a second a training step: time-dependent decisions fall at the same steps in every run."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Noisy(AdamW):
    """AdamW whose gradient is noisy: a resumed run must have the randomness of an unbroken one."""

    def __init__(self, sleep_on_rank: int = -1, sleep: float = 0.0, noise: float = 0.0):
        super().__init__()
        self.clock, self.sleep_on_rank, self.sleep, self.noise = None, sleep_on_rank, sleep, noise
        self.stop_on_rank, self.made = -1, 0

    def training_step(self, workload, batch):
        if isinstance(self.clock, StepClock):
            self.clock.now += 0.01
        if int(os.environ.get("LOCAL_RANK", "0")) == self.sleep_on_rank:
            time.sleep(self.sleep)
        self.made += 1
        if self.made == 5 and int(os.environ.get("LOCAL_RANK", "0")) == self.stop_on_rank:
            workload.stop()
        loss = super().training_step(workload, batch)
        if self.noise:
            loss = loss + self.noise * sum((p * torch.randn_like(p)).sum() for p in workload.model.parameters())
        return loss


class Hooked(PlainSGD):
    """Moves the clock from a hook: a submission with a training step of its own may need a collective in each."""

    clock = None

    def configure_optimizers(self, model, workload):
        optimizer = super().configure_optimizers(model, workload)
        optimizer.register_step_post_hook(self.move)
        return optimizer

    def move(self, *_):
        self.clock.now += 0.01


class OfItsRank(Noisy):
    """Each rank draws other numbers of batches, keeps one of its own, and counts."""

    def __init__(self):
        super().__init__()
        self.seen, self.kept = 0, None

    def select_batch(self, batches):
        self.seen += 1
        rank = int(os.environ.get("LOCAL_RANK", "0"))
        for _ in range(1 + rank * (self.seen % 3 == 0)):
            batch = next(batches)
        if self.kept is None or self.seen % 20 == 5 * rank:
            self.kept = batch
        return self.kept if self.seen % 4 == rank else batch

    def state_dict(self):
        return {"seen": self.seen, "kept": self.kept}

    def load_state_dict(self, state):
        self.seen, self.kept = state["seen"], state["kept"]


class WeightedExamples(TensorExamples):
    """Every third example of the stream counts, and every fourth; so halves of a batch differ in valid examples."""

    def read(self, indices, draws):
        batch = super().read(indices, draws)
        positions = torch.from_numpy(draws.positions)
        batch["weights"] = ((positions % 64 < 8) | (positions % 3 == 0)).float()
        return batch


class WeightedData(DigitsData):
    def open(self, split):
        examples = super().open(split)
        return WeightedExamples(**examples.columns) if split == "train" else examples


class WeightedDigits(Digits):
    data_class = WeightedData


class Journal(L.Callback):
    """Write down every reading of the clock, evaluation and step of interest."""

    def __init__(self, folder, budget):
        self.folder, self.budget, self.shown = folder, budget, None

    def write(self, trainer, **line):
        with (self.folder / f"rank_{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps({"pid": os.getpid(), **line}) + "\n")

    def on_train_start(self, trainer, pl_module):
        self.write(trainer, event="start", seconds=self.budget.seconds, step=trainer.global_step)

    def on_train_batch_end(self, trainer, pl_module, *args):
        if self.budget.seconds != self.shown:
            self.shown = self.budget.seconds
            self.write(trainer, event="reading", seconds=self.budget.seconds, step=trainer.global_step)

    def on_validation_end(self, trainer, pl_module):
        self.write(trainer, event="evaluation", seconds=self.budget.seconds, step=trainer.global_step)

    def on_train_end(self, trainer, pl_module):
        self.write(trainer, event="end", step=trainer.global_step, status=str(self.budget.result.status))


class Collectives(L.Callback):
    """Count what is called of torch.distributed from Python, by step."""

    def __init__(self):
        self.steps = collections.Counter()
        self.step = 0
        for name in ("all_reduce", "broadcast", "barrier", "all_gather", "all_gather_object", "broadcast_object_list"):
            setattr(dist, name, self.counted(getattr(dist, name)))

    def counted(self, function):
        def call(*args, **kwargs):
            self.steps[self.step] += 1
            return function(*args, **kwargs)

        return call

    def on_train_batch_start(self, trainer, *args):
        self.step = trainer.global_step + 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", type=int, default=0, help="0: as the launcher says")
    parser.add_argument("--step-clock", action="store_true")
    parser.add_argument("--max-steps", type=int, default=-1)
    parser.add_argument("--unit", default="seconds")
    parser.add_argument("--budget", type=float, default=100.0)
    parser.add_argument("--period", type=float, default=1.0)
    parser.add_argument("--target", type=float, default=0.9999)
    parser.add_argument("--sleep-on-rank", type=int, default=-1)
    parser.add_argument("--sleep", type=float, default=0.0)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--fail-on-rank", type=int, default=-1)
    parser.add_argument("--stop-on-rank", type=int, default=-1)
    parser.add_argument("--weighted", action="store_true")
    parser.add_argument("--of-its-rank", action="store_true")
    parser.add_argument("--count-collectives", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    clock = StepClock() if options.step_clock else time.monotonic
    noisy = (options.sleep_on_rank, options.sleep, options.noise)
    submission = OfItsRank() if options.of_its_rank else Hooked() if options.count_collectives else Noisy(*noisy)
    submission.clock, submission.stop_on_rank = clock, options.stop_on_rank
    workload = (WeightedDigits if options.weighted else Digits)(submission)
    budget = TimeBudget(
        unit=options.unit, budget=options.budget, eval_period=options.period, target=options.target, clock=clock
    )
    recorder = TrialRecorder(options.folder / "trial")
    callbacks = [budget, Journal(options.folder, budget), recorder]
    if options.count_collectives:
        callbacks.append(collectives := Collectives())
    launch = {"devices": options.ranks, "strategy": "ddp"} if options.ranks > 1 else {"devices": 1, **trainer_options()}
    trainer = L.Trainer(
        callbacks=callbacks,
        max_steps=options.max_steps,
        default_root_dir=options.folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"accelerator": "cpu", **launch},
    )
    if int(os.environ.get("LOCAL_RANK", "0")) == options.fail_on_rank:
        workload.evaluate = fail
    trainer.fit(workload, ckpt_path=recorder.checkpoint_path)
    if trainer.is_global_zero:
        torch.save(workload.network.state_dict(), options.folder / "final.pt")
        if options.count_collectives:
            (options.folder / "collectives.json").write_text(json.dumps(collectives.steps))


def fail(batch, metrics):
    raise RuntimeError("this rank cannot evaluate")


if __name__ == "__main__":
    main()
    sys.exit(0)
