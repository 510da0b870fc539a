"""Submissions for the tests of tuning; trials import them by path, in processes of their own."""

import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import torch

from algoperf_lightning.submission import Submission


class Probe(Submission):
    """SGD that can be told to be slow, to fail, or to kill its process once, of which it keeps a note in ``$PROBE``."""

    def __init__(self, lr: float = 0.1, trouble: str = "none", pause: float = 0.0):
        self.lr, self.trouble, self.pause = lr, trouble, pause
        self.steps = 0

    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=self.lr, momentum=0.9)

    def training_step(self, workload, batch):
        self.steps += 1
        time.sleep(self.pause)
        if self.steps == 60 and self.trouble == "error":
            raise RuntimeError("this one fails")
        if self.steps == 60 and self.trouble == "kill":
            marker = Path(os.environ["PROBE"]) / "killed"
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(workload, batch)


class Troubled(Probe):
    """One trial that is well, one that fails, one that is killed."""

    search_space: ClassVar = [
        {"trouble": "none", "pause": 0.01},
        {"trouble": "error", "pause": 0.01},
        {"trouble": "kill", "pause": 0.01},
    ]


class Slow(Probe):
    """Two trials of some seconds."""

    search_space: ClassVar = [{"lr": 0.1, "pause": 0.02}, {"lr": 0.2, "pause": 0.02}]


class Waiting(Probe):
    """Two trials that stay at their first step until there is a file ``$PROBE/go``."""

    search_space: ClassVar = [{"lr": 0.1}, {"lr": 0.2}]

    def training_step(self, workload, batch):
        while not (Path(os.environ["PROBE"]) / "go").exists():
            time.sleep(0.05)
        return super().training_step(workload, batch)


class Unequal(Probe):
    """A fast trial, and one that cannot reach the target."""

    search_space: ClassVar = [{"lr": 0.2, "pause": 0.0}, {"lr": 1e-6, "pause": 0.0}]


class Few(Probe):
    """Fewer points than the studies of the external ruleset have trials."""

    search_space: ClassVar = {"lr": {"feasible_points": [0.1, 0.2]}, "pause": {"feasible_points": [0.0, 0.001]}}


class Single(Probe):
    """A single point, written as the search-space files of many published submissions are."""

    search_space: ClassVar = {"lr": {"feasible_points": [0.1]}, "pause": {"feasible_points": [0.0]}}


class Free(Submission):
    """Takes its hyperparameters as they come, numbers written as texts too."""

    search_space: ClassVar = {"lr": {"feasible_points": ["1e-1"]}, "decay": {"feasible_points": [0.0]}}

    def __init__(self, **hyperparameters):
        self.lr = hyperparameters["lr"]

    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=self.lr)


class Untyped(Submission):
    """A hyperparameter without annotation, whose value is written as a text."""

    search_space: ClassVar = [{"lr": "1e-1"}]

    def __init__(self, lr):
        self.lr = lr

    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=self.lr)


LEFT_BEHIND = []
"""What a trial leaves in this module; the next trial must not find it."""


class Untidy(Probe):
    """Changes what belongs to its process, and fails where a trial before it has done so."""

    search_space: ClassVar = [{"lr": 0.1}, {"lr": 0.2}]

    def configure_optimizers(self, model, workload):
        found = [*LEFT_BEHIND, *(name for name in os.environ if name == "LEFT_BEHIND")]
        assert not found
        assert torch.get_default_dtype() is torch.float32
        LEFT_BEHIND.append("a value")
        os.environ["LEFT_BEHIND"] = "1"
        torch.set_default_dtype(torch.float64)
        return super().configure_optimizers(model, workload)


class SeveralOptimizers(Submission):
    """Two optimizers and a schedule, and gradients that are changed before the step."""

    search_space: ClassVar = [{"lr": 0.1}]
    gradient_clip = 1.0

    def __init__(self, lr: float = 0.1):
        self.lr = lr

    def configure_optimizers(self, model, workload):
        weights = [p for p in model.parameters() if p.ndim > 1]
        momentum = torch.optim.SGD(weights, lr=self.lr, momentum=0.9)
        adamw = torch.optim.AdamW([p for p in model.parameters() if p.ndim < 2], lr=0.01)
        schedule = torch.optim.lr_scheduler.LinearLR(momentum, total_iters=10)
        return [{"optimizer": momentum, "lr_scheduler": schedule}, {"optimizer": adamw}]

    def before_step(self, model, workload):
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.1)


class SelfTuned(Probe):
    """Sets its hyperparameters itself."""
