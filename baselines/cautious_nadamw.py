"""Cautious NadamW, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .nadamw import NadamWOptimizer
from .optimizer import State, adam_state, average_squares_, corrected_roots, count_step, values_of
from .ranges import RANGES
from .schedules import warmup_cosine_schedule


class CautiousNadamW(Submission):
    """NadamW that leaves out the elements whose update and gradient differ in sign; schedule and decay as in NadamW.

    The default point is the benchmark entry's: the self-tuning point of NadamW. No deviation from the entry.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        epsilon: Added to the root of the second moment.

    Reference: Liang et al. 2024, https://arxiv.org/abs/2411.16085.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES

    def __init__(
        self,
        learning_rate: float = 0.0017486387539278373,
        one_minus_beta1: float = 0.06733926164,
        beta2: float = 0.9955159689799007,
        warmup_factor: float = 0.02,
        weight_decay: float = 0.08121616522670176,
        label_smoothing: float = 0.0,
        dropout_rate: float | None = 0.1,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = (1 - one_minus_beta1, beta2)
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate
        self.epsilon = epsilon

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return cautious NadamW and its schedule."""
        optimizer = CautiousNadamWOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class CautiousNadamWOptimizer(NadamWOptimizer):
    """NadamW with a mask: numerator n becomes ``n k / max(mean(k), 1e-3)``, k = 1 where ``n g > 0``, else 0.

    The mean is each tensor's own; weight decay is not masked. Arguments as in :class:`NadamWOptimizer`.
    """

    def init_state(self, parameter: Tensor) -> State:
        """Return moments of 0."""
        return adam_state(parameter)

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> None:
        """Make a step."""
        beta1, beta2 = group["betas"]
        steps = count_step(states)
        firsts, seconds = values_of(states, "exp_avg"), values_of(states, "exp_avg_sq")
        torch._foreach_lerp_(firsts, gradients, 1 - beta1)
        average_squares_(seconds, gradients, beta2)
        numerators = torch._foreach_lerp(firsts, gradients, 1 - beta1)
        masks = torch._foreach_mul(numerators, gradients)
        torch._foreach_sign_(masks)
        torch._foreach_clamp_min_(masks, 0.0)  # 1 where the signs agree
        kept = list(torch._foreach_norm(masks, 1))
        torch._foreach_div_(kept, [p.numel() for p in parameters])
        torch._foreach_clamp_min_(kept, 1e-3)
        torch._foreach_mul_(numerators, masks)
        torch._foreach_div_(numerators, kept)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        roots = corrected_roots(seconds, beta2, steps, group["eps"])
        torch._foreach_addcdiv_(parameters, numerators, roots, [-group["lr"] / (1 - beta1**step) for step in steps])
