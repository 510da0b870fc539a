"""Prodigy: AdamW that estimates its own step size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .optimizer import ForeachOptimizer, State, average_squares_, evaluated, values_of
from .ranges import RANGES
from .schedules import warmup_cosine_schedule

_SHARED = "estimate"


class Prodigy(Submission):
    """Prodigy on AdamW with cosine decay to 0 over the step hint; the learning rate is a factor on its own estimate.

    Not an entry of the benchmark as it is (its "Schedule-Free Prodigy" is another algorithm): the default point is that
    of the paper, with a warm-up of 10 %: without it, noise in the first gradients may make the estimate too large.
    Weight decay, if any, falls on all parameters.

    Args:
        learning_rate: Factor on the estimated step size.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the step size.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        d0: First estimate; far too small is right.
        epsilon: Added, times the estimate, to the root of the second moment.

    Reference: Mishchenko and Defazio 2024, https://arxiv.org/abs/2306.06101.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES

    def __init__(
        self,
        learning_rate: float = 1.0,
        one_minus_beta1: float = 0.1,
        beta2: float = 0.999,
        warmup_factor: float = 0.1,
        weight_decay: float = 0.0,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = None,
        d0: float = 1e-6,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = (1 - one_minus_beta1, beta2)
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate
        self.d0 = d0
        self.epsilon = epsilon

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return Prodigy and its schedule."""
        optimizer = ProdigyOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            d0=self.d0,
        )
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class ProdigyOptimizer(ForeachOptimizer):
    """Adam whose step size d is a lower bound on the distance to the solution, which grows as it is seen to be larger.

    With gradient g, initial parameters p0, and ``b3 = sqrt(b2)``, over all parameters together::

        n <- b3 n + (d / d0) d lr <g, p0 - p>;  s <- b3 s + (d / d0) d lr g
        m <- b1 m + (1 - b1) d g;  v <- b2 v + (1 - b2) d^2 g^2
        d <- max(d, n / |s|_1)
        p <- p - d lr weight_decay p - d' lr m / (sqrt(v) + d eps),  d' the d before

    The same as ``prodigyopt.Prodigy`` at its defaults, without waiting for the device at every tensor: d is a tensor.

    Args:
        params: Parameters, or groups of them, all with one learning rate.
        lr: Factor on the estimate.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Added, times d, to the root of the second moment.
        weight_decay: Decoupled weight decay.
        d0: First estimate, positive.

    Raises:
        BadInputError: If an option is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        d0: float = 1e-6,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "d0": d0})

    def check_options(self, options: dict[str, Any]) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["d0"] > 0, options, "d0", "be positive")

    def init_state(self, parameter: Tensor) -> State:
        """Return moments of 0, and where the parameter began."""
        names = ("exp_avg", "exp_avg_sq", "s")
        start = parameter.detach().clone(memory_format=torch.preserve_format)
        return {**{name: torch.zeros_like(parameter) for name in names}, "p0": start}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step and return what the closure returned."""
        loss = evaluated(closure)
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        group = self.param_groups[0]
        if parameters and group["lr"] > 0:
            gradients: list[Tensor] = [p.grad for p in parameters]
            states = self.states_of(parameters)
            old, new = self._grow_estimate(group, parameters, gradients, states)
            _move(group, parameters, states, old, new)
        else:
            self.states_of(parameters)  # where they began
        return loss

    def _grow_estimate(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> tuple[Tensor, Tensor]:
        """Move all averages, then the estimate; return what it was before, and what it is now."""
        beta1, beta2 = group["betas"]
        beta3 = math.sqrt(beta2)
        states_by_key: dict[Any, Any] = self.state
        if _SHARED not in states_by_key:
            first = parameters[0]
            dtype = torch.float64 if first.dtype is torch.float64 else torch.float32
            d = torch.full((), group["d0"], dtype=dtype, device=first.device)
            states_by_key[_SHARED] = {"d": d, "numerator": torch.zeros_like(d)}
        shared: dict[str, Tensor] = states_by_key[_SHARED]
        old = shared["d"]
        scaled = list(torch._foreach_mul(gradients, old))
        firsts, seconds, sums = (values_of(states, name) for name in ("exp_avg", "exp_avg_sq", "s"))
        torch._foreach_lerp_(firsts, scaled, 1 - beta1)
        average_squares_(seconds, scaled, beta2)
        torch._foreach_mul_(scaled, group["lr"] / group["d0"])
        torch._foreach_mul_(scaled, old)
        torch._foreach_mul_(sums, beta3)
        torch._foreach_add_(sums, scaled)
        # <(d / d0) d lr g, p0 - p>
        moved = torch._foreach_sub(values_of(states, "p0"), parameters)
        torch._foreach_mul_(moved, scaled)
        gained = torch.stack([product.sum() for product in moved]).sum()
        numerator = shared["numerator"] * beta3 + gained
        denominator = torch.stack(torch._foreach_norm(sums, 1)).sum()
        estimate = torch.where(denominator > 0, numerator / denominator, old)
        shared["d"], shared["numerator"] = torch.maximum(old, estimate), numerator
        return old, shared["d"]


def _move(group: dict[str, Any], parameters: list[Tensor], states: list[State], old: Tensor, new: Tensor) -> None:
    size = old * group["lr"]
    roots = torch._foreach_sqrt(values_of(states, "exp_avg_sq"))
    torch._foreach_add_(roots, new * group["eps"])
    updates = torch._foreach_div(values_of(states, "exp_avg"), roots)
    torch._foreach_mul_(updates, size)
    torch._foreach_mul_(parameters, 1 - size * group["weight_decay"])
    torch._foreach_sub_(parameters, updates)
