"""AdamW, the paper baseline of AlgoPerf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .ranges import RANGES
from .schedules import warmup_cosine_schedule


class AdamW(Submission):
    """AdamW with linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    The search space is that of the benchmark paper with tuned beta1. The default point is a usual one, not the paper's.
    The point that set the targets of ``librispeech_conformer`` is ``submissions/target_setting_librispeech_conformer``.

    Deviations: the warm-up is a whole number of steps (the PyTorch form's need not be), and past the horizon the
    learning rate stays 0, as in the scored JAX form.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        epsilon: Added to the root of the second moment.
        warmup_steps: Steps of warm-up, in place of ``warmup_factor``.
        horizon_steps: Steps until the learning rate is 0; None is the step hint.

    Reference: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101; Dahl et al. 2023,
    https://arxiv.org/abs/2306.07179, appendix on baselines.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    search_space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"},
        "one_minus_beta1": {"min": 0.02, "max": 0.5, "scaling": "log"},
        "beta2": {"feasible_points": [0.999]},
        "warmup_factor": {"feasible_points": [0.05]},
        "weight_decay": {"min": 0.005, "max": 1.0, "scaling": "log"},
        "label_smoothing": {"feasible_points": [0.1, 0.2]},
        "dropout_rate": {"feasible_points": [0.0, 0.1]},
    }

    def __init__(
        self,
        learning_rate: float = 2e-3,
        one_minus_beta1: float = 0.1,
        beta2: float = 0.999,
        warmup_factor: float = 0.05,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = None,
        epsilon: float = 1e-8,
        warmup_steps: int | None = None,
        horizon_steps: int | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = (1 - one_minus_beta1, beta2)
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate
        self.epsilon = epsilon
        self.warmup_steps = warmup_steps
        self.horizon_steps = horizon_steps

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return AdamW and its schedule."""
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            fused=True,
        )
        schedule = warmup_cosine_schedule(
            optimizer,
            horizon=self.horizon_steps or workload.step_hint,
            warmup_factor=self.warmup_factor,
            warmup_steps=self.warmup_steps,
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}
