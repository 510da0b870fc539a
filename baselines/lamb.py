"""LAMB, a paper baseline of AlgoPerf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import WITHOUT_VARIANTS
from .optimizer import ForeachOptimizer, State, adam_state, average_squares_, corrected_roots, count_step, values_of
from .ranges import RANGES
from .schedules import warmup_cosine_schedule


class Lamb(Submission):
    """LAMB with linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed and scaled.

    The search space is that of the benchmark paper with tuned beta1. The default point is a usual one, not the paper's.
    No deviation from the benchmark's JAX form. (Its PyTorch form cannot run: it reads a hyperparameter that no search
    space has.)

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Weight decay, part of the update whose norm is compared with the parameter's.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        epsilon: Added to the root of the second moment.

    Reference: You et al. 2020, https://arxiv.org/abs/1904.00962; Dahl et al. 2023, https://arxiv.org/abs/2306.07179,
    appendix on baselines.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = WITHOUT_VARIANTS
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    search_space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"},
        "one_minus_beta1": {"min": 0.05, "max": 0.3, "scaling": "log"},
        "beta2": {"feasible_points": [0.999]},
        "warmup_factor": {"feasible_points": [0.05]},
        "weight_decay": {"min": 0.001, "max": 1.0, "scaling": "log"},
        "label_smoothing": {"feasible_points": [0.1, 0.2]},
        "dropout_rate": {"feasible_points": [0.0, 0.1]},
    }

    def __init__(
        self,
        learning_rate: float = 1e-2,
        one_minus_beta1: float = 0.1,
        beta2: float = 0.999,
        warmup_factor: float = 0.05,
        weight_decay: float = 0.01,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = None,
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
        """Return LAMB and its schedule."""
        optimizer = LambOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class LambOptimizer(ForeachOptimizer):
    """Adam whose step is, in each tensor, as long as the tensor times the learning rate.

    With Adam's bias-corrected moments::

        u = mhat / (sqrt(vhat) + eps) + weight_decay p
        p <- p - lr * r * u,  r = |p| / |u|, or 1 if either norm is 0

    The ratio is not clamped, and the gradient is not normalised before.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Weight decay.

    Raises:
        BadInputError: If an option is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

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
        updates = torch._foreach_div(firsts, corrected_roots(seconds, beta2, steps, group["eps"]))
        torch._foreach_div_(updates, [1 - beta1**step for step in steps])
        torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
        sizes = torch.stack(torch._foreach_norm(parameters))
        lengths = torch.stack(torch._foreach_norm(updates))
        ratios = torch.where((sizes > 0) & (lengths > 0), sizes / lengths, 1.0)
        torch._foreach_mul_(updates, list(ratios.unbind()))
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])
