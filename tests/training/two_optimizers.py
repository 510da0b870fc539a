"""Digits trained by two optimizers at once, and the plain PyTorch loop that it is compared with."""

from typing import ClassVar

import lightning as L
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR

from algoperf_lightning import Submission
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.workloads import Digits

STEPS, EVAL_PERIOD = 8, 3
EVALUATED = (1, 4, 7, 8)
"""Steps after which there is an evaluation: the first, then by the period, and the last."""
CLIP = 0.1
SCALE, GROWTH_INTERVAL = 2.0**8, 3


def split(model):
    """The matrices and filters of a model, and the rest."""
    parameters = list(model.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim < 2]


def momentum_and_adamw(model, **form):
    """Momentum for matrices, with a cosine by step; AdamW for the rest, with a decay by evaluation."""
    matrices, rest = split(model)
    momentum = SGD(matrices, lr=0.05, momentum=0.9, **form)
    adamw = AdamW(rest, lr=0.02, **form)
    return momentum, adamw, CosineAnnealingLR(momentum, STEPS), ExponentialLR(adamw, 0.5)


class Recording(Submission):
    """Keeps its batches, so that a plain loop can train on them."""

    batch_sizes: ClassVar = {"digits": 16}

    def __init__(self, factors: tuple[float, ...] = ()):
        self.factors, self.batches, self.steps = factors, [], 0

    def select_batch(self, batches):
        self.batches.append(super().select_batch(batches))
        return self.batches[-1]

    def training_step(self, workload, batch):
        self.steps += 1
        factor = self.factors[self.steps - 1] if self.steps <= len(self.factors) else 1.0
        return factor * super().training_step(workload, batch)


class Two(Recording):
    """Two optimizers, each with its schedule."""

    gradient_clip = CLIP

    def __init__(self, factors: tuple[float, ...] = (), **form):
        super().__init__(factors)
        self.form = form

    def configure_optimizers(self, model, workload):
        momentum, adamw, by_step, by_evaluation = momentum_and_adamw(model, **self.form)
        return [
            {"optimizer": momentum, "lr_scheduler": by_step},
            {"optimizer": adamw, "lr_scheduler": {"scheduler": by_evaluation, "interval": "evaluation"}},
        ]


def fit(submission, folder, precision="32-true", *, callbacks=(), steps=STEPS, ckpt_path=None, **options):
    """Train by a clock of steps; with a scaler on the CPU where the precision is ``16-mixed``."""
    workload = Digits(submission, seed=3)
    if precision == "16-mixed":
        scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=GROWTH_INTERVAL, backoff_factor=0.5)
        options["plugins"] = [MixedPrecision("16-mixed", "cpu", scaler=scaler)]
    else:
        options["precision"] = precision
    clock = TimeBudget(unit="steps", budget=steps, eval_period=EVAL_PERIOD)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=[clock, *callbacks],
        default_root_dir=folder,
        **{"logger": False, **quiet, **options},
    )
    trainer.fit(workload, ckpt_path=ckpt_path, weights_only=True)
    return workload


def fresh_model():
    """The model that :func:`fit` starts from."""
    workload = Digits(Two(), seed=3)
    workload.configure_model()
    return workload.network


def loss_of(model, batch, precision):
    """The mean loss of a batch."""
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.half}.get(precision, torch.float32)
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32, cache_enabled=False):
        return F.cross_entropy(model(batch["inputs"]), batch["targets"])


def plain_loop(batches, precision="32-true", *, factors=(), change=None, clip=CLIP, make=momentum_and_adamw):
    """Train two optimizers by hand; return the model, and the norms of the gradients that the steps were made with.

    Args:
        batches: One a step.
        precision: As Lightning's.
        factors: Of the loss of the first steps.
        change: What is done to the gradients before they are clipped; False skips the step.
        clip: Global norm.
        make: Makes two optimizers and their schedules: one by step, one by evaluation.
    """
    model = fresh_model()
    first, second, by_step, by_evaluation = make(model)
    scale = LossScale() if precision == "16-mixed" else None
    norms = []
    for step, batch in enumerate(batches, 1):
        factor = factors[step - 1] if step <= len(factors) else 1.0
        model.zero_grad()
        (loss_of(model, batch, precision) * factor * (scale.value if scale else 1.0)).backward()
        gradients = [p.grad for p in model.parameters()]
        makes_step = scale is None or scale.unscale(gradients)
        makes_step = makes_step and (change is None or change(model) is not False)
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))
        if makes_step:
            first.step()
            second.step()
        by_step.step()
        if step in EVALUATED:
            by_evaluation.step()
    return model, norms


class LossScale:
    """Dynamic loss scaling by its definition: halved at an overflow, doubled after three steps without one."""

    def __init__(self):
        self.value, self.good_steps = SCALE, 0

    def unscale(self, gradients):
        """Divide gradients by the scale, in place; return whether all are finite."""
        for gradient in gradients:
            gradient.div_(self.value)
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self.good_steps == GROWTH_INTERVAL:
            self.value, self.good_steps = self.value * 2, 0
        return finite


def assert_same(model, expected, **tolerance):
    """Two models have equal parameters, to rounding."""
    for (name, one), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, **{"rtol": 1e-5, "atol": 1e-7, **tolerance}, msg=f"{name} differs")
