"""Adafactor, a paper baseline of AlgoPerf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import WITHOUT_VARIANTS
from .optimizer import ForeachOptimizer, State, count_step, values_of
from .ranges import RANGES
from .schedules import warmup_cosine_schedule

_TINY = 1e-30


class Adafactor(Submission):
    """Adafactor with momentum, linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    The search space is that of the benchmark paper with tuned beta1. The default point is a usual one, not the paper's.

    Of a convolution's kernel, the two factored axes are input and output channels, as in the benchmark's JAX form,
    where these are the last two. In its PyTorch form the last two axes are the kernel's height and width, so that the
    same code is another algorithm there. (Neither form runs as it is: each passes a hyperparameter amiss.)

    Deviation: the momentum is in the precision of the parameters. The JAX form keeps it in 8-bit integers, which moves
    the weights elsewhere by 6.7e-3 of the distance that they move.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the momentum.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.

    Reference: Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235; Zhai et al. 2022,
    https://arxiv.org/abs/2106.04560, section 3.4; Dahl et al. 2023, https://arxiv.org/abs/2306.07179, appendix on
    baselines.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = WITHOUT_VARIANTS
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    search_space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"},
        "one_minus_beta1": {"min": 0.01, "max": 0.45, "scaling": "log"},
        "warmup_factor": {"feasible_points": [0.05]},
        "weight_decay": {"min": 0.001, "max": 1.0, "scaling": "log"},
        "label_smoothing": {"feasible_points": [0.1, 0.2]},
        "dropout_rate": {"feasible_points": [0.0, 0.1]},
    }

    def __init__(
        self,
        learning_rate: float = 2e-3,
        one_minus_beta1: float = 0.1,
        warmup_factor: float = 0.05,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1 = 1 - one_minus_beta1
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return Adafactor and its schedule."""
        kinds = workload.parameter_kinds
        convolutions = [p for n, p in model.named_parameters() if kinds[n] is ParameterKind.CONV_WEIGHT]
        others = [p for n, p in model.named_parameters() if kinds[n] is not ParameterKind.CONV_WEIGHT]
        groups: list[dict[str, Any]] = [{"params": others}, {"params": convolutions, "factored_axes": (0, 1)}]
        optimizer = AdafactorOptimizer(
            [group for group in groups if group["params"]],
            lr=self.learning_rate,
            beta1=self.beta1,
            weight_decay=self.weight_decay,
        )
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class AdafactorOptimizer(ForeachOptimizer):
    """Adam that keeps, of a matrix's second moment, the means of rows and columns only.

    With gradient g, q = g^2 + 1e-30 and the decay rate b(t) = b2 (1 - b2^(t-1)) / (1 - b2^t), which is 0 at first::

        two axes or more:  R <- b(t) R + (1 - b(t)) mean of q over the second factored axis,  C likewise over the first
                           D = R C / mean(R)
        fewer:             D <- b(t) D + (1 - b(t)) q
        u = g / sqrt(D);  u <- u / max(1, RMS(u))
        m <- b1 m + (1 - b1) lr u;  p <- p - lr * weight_decay p - m

    The learning rate is inside the momentum. Steps are not scaled by the size of the parameter, and every matrix is
    factored, however small. What is infinite becomes NaN, so that a run that diverges is seen to.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        beta1: Decay rate of the momentum, in [0, 1).
        beta2: Decay rate of the second moment, in [0, 1).
        weight_decay: Decoupled weight decay.
        factored_axes: The two axes that are factored, of tensors that have two or more.

    Raises:
        BadInputError: If an option is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
        factored_axes: tuple[int, int] = (-2, -1),
    ) -> None:
        defaults = {"lr": lr, "betas": (beta1, beta2), "weight_decay": weight_decay, "factored_axes": factored_axes}
        super().__init__(params, defaults)
        for group in self.param_groups:
            for parameter in group["params"]:  # here, where the group is known that says how to factor it
                self.state[parameter] = self.state[parameter] or _init(parameter, group["factored_axes"])

    def init_state(self, parameter: Tensor) -> State:
        """Return the state of a parameter that was not there when the optimizer was made: factored as the first."""
        return _init(parameter, self.param_groups[0]["factored_axes"])

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> None:
        """Make a step."""
        (beta1, beta2), lr = group["betas"], group["lr"]
        rates = [beta2 * (1 - beta2 ** (step - 1)) / (1 - beta2**step) for step in count_step(states)]
        squares = torch._foreach_mul(gradients, gradients)
        updates = [
            gradient * _inverse_root(state, square, rate, group["factored_axes"])
            for gradient, square, state, rate in zip(gradients, squares, states, rates, strict=True)
        ]
        rms = list(torch._foreach_norm(updates))
        torch._foreach_div_(rms, [p.numel() ** 0.5 for p in parameters])
        torch._foreach_clamp_min_(rms, 1.0)  # an infinite one makes NaN of what is infinite
        torch._foreach_reciprocal_(rms)
        torch._foreach_mul_(rms, lr)
        torch._foreach_mul_(updates, rms)
        momenta = values_of(states, "exp_avg")
        torch._foreach_lerp_(momenta, updates, 1 - beta1)
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        torch._foreach_sub_(parameters, momenta)


def _init(parameter: Tensor, axes: tuple[int, int]) -> State:
    state = {"step": 0, "exp_avg": torch.zeros_like(parameter)}
    if parameter.ndim < 2:
        return {**state, "second": torch.zeros_like(parameter)}
    first, second = axes
    rows = torch.zeros_like(
        parameter.detach().select(second, 0).unsqueeze(second), memory_format=torch.contiguous_format
    )
    columns = torch.zeros_like(
        parameter.detach().select(first, 0).unsqueeze(first), memory_format=torch.contiguous_format
    )
    return {**state, "rows": rows, "columns": columns}


def _inverse_root(state: State, square: Tensor, rate: float, axes: tuple[int, int]) -> Tensor:
    """Move the second moment toward the squared gradient, and return one over its root, to be broadcast."""
    if square.ndim < 2:
        state["second"].lerp_(square + _TINY, 1 - rate)
        return state["second"].rsqrt()  # type: ignore[no-any-return]
    first, second = axes
    rows, columns = state["rows"], state["columns"]
    rows.lerp_(square.mean(second, keepdim=True) + _TINY, 1 - rate)
    columns.lerp_(square.mean(first, keepdim=True) + _TINY, 1 - rate)
    inverse: Tensor = (rows / rows.mean(first, keepdim=True)).rsqrt() * columns.rsqrt()
    return inverse
