"""AdEMAMix, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .optimizer import ForeachOptimizer, State, adam_state, average_squares_, corrected_roots, count_step, values_of
from .ranges import RANGES
from .schedules import warmup_cosine_schedule


class AdEMAMix(Submission):
    """AdEMAMix with linear warm-up and cosine decay to 0 over the step hint; gradients are clipped, all is decayed.

    The default point is the benchmark entry's. It turns the slow average on over 500,000 steps, longer than any run of
    the benchmark, so that average never has its full weight. No deviation: the entry named a dropout rate that never
    reached the model, so the workload's own holds.

    Args:
        learning_rate: Peak learning rate.
        beta1: Decay rate of the fast first moment.
        beta2: Decay rate of the second moment.
        beta3: Decay rate of the slow first moment, once it is reached.
        alpha: Weight of the slow first moment, once it is reached.
        ramp_steps: Steps until ``beta3`` and ``alpha`` are reached.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        gradient_clip: Largest norm of the gradient; None does not clip.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        epsilon: Added to the root of the second moment.

    Reference: Pagliardini et al. 2024, https://arxiv.org/abs/2409.03137.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES

    def __init__(
        self,
        learning_rate: float = 2e-3,
        beta1: float = 0.8,
        beta2: float = 0.995,
        beta3: float = 0.9995,
        alpha: float = 8.0,
        ramp_steps: int = 500_000,
        warmup_factor: float = 0.02,
        weight_decay: float = 0.1,
        gradient_clip: float | None = 0.5,
        label_smoothing: float = 0.0,
        dropout_rate: float | None = None,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = (beta1, beta2, beta3)
        self.alpha = alpha
        self.ramp_steps = ramp_steps
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate
        self.epsilon = epsilon

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return AdEMAMix and its schedule."""
        optimizer = AdEMAMixOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            betas=self.betas,
            alpha=self.alpha,
            ramp_steps=self.ramp_steps,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class AdEMAMixOptimizer(ForeachOptimizer):
    """AdamW with a second, slow average of gradients.

    With gradient g, fast and slow moments m and n, second moment v::

        m <- b1 m + (1 - b1) g;  n <- b3(t) n + (1 - b3(t)) g;  v <- b2 v + (1 - b2) g^2
        p <- p - lr * { [m / (1 - b1^t) + alpha(t) n] / [sqrt(v / (1 - b2^t)) + eps] + weight_decay p }

    n has no bias correction. alpha(t) rises linearly, and b3(t) so that the half-life of n does.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates of m, v and n, each in [0, 1).
        alpha: Weight of n at the end of the ramp.
        ramp_steps: Length of the ramp.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled weight decay.

    Raises:
        BadInputError: If an option is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 5.0,
        ramp_steps: int = 500_000,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "alpha": alpha, "ramp_steps": ramp_steps, "eps": eps, "step": 0}
        super().__init__(params, {**defaults, "weight_decay": weight_decay})

    def check_options(self, options: dict[str, Any]) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["ramp_steps"] >= 1, options, "ramp_steps", "be 1 or more")

    def init_state(self, parameter: Tensor) -> State:
        """Return moments of 0."""
        return {**adam_state(parameter), "exp_avg_slow": torch.zeros_like(parameter)}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> None:
        """Make a step."""
        beta1, beta2, beta3 = group["betas"]
        group["step"] += 1
        progress = min(1.0, group["step"] / group["ramp_steps"])
        steps = count_step(states)
        fast, slow = values_of(states, "exp_avg"), values_of(states, "exp_avg_slow")
        seconds = values_of(states, "exp_avg_sq")
        torch._foreach_lerp_(fast, gradients, 1 - beta1)
        torch._foreach_lerp_(slow, gradients, 1 - ramped_beta(beta1, beta3, progress))
        average_squares_(seconds, gradients, beta2)
        numerators = torch._foreach_div(fast, [1 - beta1**step for step in steps])
        torch._foreach_add_(numerators, slow, alpha=group["alpha"] * progress)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        roots = corrected_roots(seconds, beta2, steps, group["eps"])
        torch._foreach_addcdiv_(parameters, numerators, roots, -group["lr"])


def ramped_beta(start: float, end: float, progress: float) -> float:
    """Return the decay rate whose half-life lies a share ``progress`` of the way from that of one rate to another's.

    Example:
        >>> [round(ramped_beta(0.5, 0.5**0.1, share), 4) for share in (0.0, 0.5, 1.0)]
        [0.5, 0.8816, 0.933]
    """
    from_, to = (math.log(0.5) / math.log(beta + 1e-8) - 1 for beta in (start, end))
    return float(0.5 ** (1 / ((1 - progress) * from_ + progress * to + 1)))
