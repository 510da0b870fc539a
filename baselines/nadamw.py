"""NadamW, the current baseline of AlgoPerf."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .schedules import warmup_cosine_schedule

_POINT_KEYS = (
    "dropout_rate",
    "label_smoothing",
    "learning_rate",
    "one_minus_beta1",
    "beta2",
    "weight_decay",
    "warmup_factor",
)
_POINTS = (
    (0.0, 0.1, 0.001308209823469072, 0.02686663061, 0.9981232922116359, 0.16375311233774334, 0.1),
    (0.0, 0.2, 0.0008445074561975979, 0.11042418465, 0.9978504782314613, 0.08135402759553023, 0.05),
    (0.0, 0.0, 0.001308209823469072, 0.02686663061, 0.9981232922116359, 0.16375311233774334, 0.1),
    (0.0, 0.0, 0.004958460849689891, 0.13625575743, 0.6291854735396584, 0.1147386261512052, 0.02),
    (0.1, 0.0, 0.0017486387539278373, 0.06733926164, 0.9955159689799007, 0.08121616522670176, 0.02),
)


class NadamW(Submission):
    """NadamW with linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    The search space is the benchmark's list of five points, the default point its first.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        epsilon: Added to the root of the second moment.

    Reference: the AlgoPerf baseline "NadamW (full budget)"; Dozat 2016, "Incorporating Nesterov momentum into Adam".
    """

    search_space: ClassVar[list[dict[str, float]]] = [dict(zip(_POINT_KEYS, point, strict=True)) for point in _POINTS]

    def __init__(
        self,
        learning_rate: float = 0.001308209823469072,
        one_minus_beta1: float = 0.02686663061,
        beta2: float = 0.9981232922116359,
        warmup_factor: float = 0.1,
        weight_decay: float = 0.16375311233774334,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = 0.0,
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
        """Return NadamW and its schedule."""
        optimizer = NadamWOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class NadamWOptimizer(Optimizer):
    """AdamW whose first moment looks one step ahead (Nesterov), with Adam's plain bias correction.

    With gradient g and moments m, v after step t::

        p <- p (1 - lr * weight_decay)
        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        p <- p - lr * [(b1 m + (1 - b1) g) / (1 - b1^t)] / [sqrt(v / (1 - b2^t)) + eps]

    ``torch.optim.NAdam`` is another algorithm: its momentum follows a schedule of its own.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Decoupled weight decay.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"NadamW: {name} must not be negative, but got {value}.")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"NadamW: betas must be in [0, 1), but got {betas}.")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        beta1, beta2 = group["betas"]
        gradients: list[Tensor] = [p.grad for p in parameters]
        states = [self._state_of(p) for p in parameters]
        firsts = [state["exp_avg"] for state in states]
        seconds = [state["exp_avg_sq"] for state in states]
        for state in states:
            state["step"] += 1
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_lerp_(firsts, gradients, 1 - beta1)
        torch._foreach_mul_(seconds, beta2)
        torch._foreach_addcmul_(seconds, gradients, gradients, 1 - beta2)
        ahead = torch._foreach_lerp(firsts, gradients, 1 - beta1)
        scales = torch._foreach_sqrt(seconds)
        torch._foreach_div_(scales, [(1 - beta2 ** state["step"]) ** 0.5 for state in states])
        torch._foreach_add_(scales, group["eps"])
        sizes = [-group["lr"] / (1 - beta1 ** state["step"]) for state in states]
        torch._foreach_addcdiv_(parameters, ahead, scales, sizes)

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
