"""RAdam and AdaBelief."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import (
    ForeachOptimizer,
    Group,
    State,
    Tensors,
    adam_state,
    average_squares_,
    corrected_roots,
    count_step,
    values_of,
)


class RAdam(ForeachOptimizer):
    """Adam with a rectified learning rate, and SGD with momentum while the variance of that rate is not finite.

    With gradient g, moments m and v after step t, and ``r = 2 / (1 - b2) - 1 - 2 t b2^t / (1 - b2^t)``::

        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        p <- p - lr * rho(r) * [m / (1 - b1^t)] / [sqrt(v / (1 - b2^t)) + eps]    if r >= 5
        p <- p - lr * m / (1 - b1^t)                                              else

    Equivalent to ``torch.optim.RAdam``, except that PyTorch adds epsilon before the bias correction of v.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Added to the root of the second moment.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Liu et al. 2020, https://arxiv.org/abs/1908.03265.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def init_state(self, parameter: Tensor) -> State:
        """Return zero-initialised moments."""
        return adam_state(parameter)

    def move_second(self, group: Group, seconds: Tensors, gradients: Tensors, firsts: Tensors) -> None:
        """Update the second moments. The first moments are already updated."""
        average_squares_(seconds, gradients, group["betas"][1])

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        beta1, beta2 = group["betas"]
        steps = count_step(states)
        firsts, seconds = values_of(states, "exp_avg"), values_of(states, "exp_avg_sq")
        torch._foreach_lerp_(firsts, gradients, 1 - beta1)
        self.move_second(group, seconds, gradients, firsts)
        factors = [rectification(step, beta2) for step in steps]
        rates = [group["lr"] * (factor or 1.0) / (1 - beta1**t) for factor, t in zip(factors, steps, strict=True)]
        roots = corrected_roots(seconds, beta2, steps, group["eps"])
        for root, factor in zip(roots, factors, strict=True):
            if factor is None:
                root.fill_(1.0)
        torch._foreach_addcdiv_(parameters, firsts, roots, [-rate for rate in rates])


class AdaBelief(RAdam):
    """RAdam with the second moment of the difference between the gradient and its moving average.

    Uses ``v <- b2 v + (1 - b2) (g - m)^2 + eps``. Epsilon is added to v at every step and also to its root. See
    :class:`RAdam` for the rest of the algorithm and the arguments.

    Reference: Zhuang et al. 2020, https://arxiv.org/abs/2010.07468.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-14,
    ) -> None:
        super().__init__(params, lr, betas, eps)

    def move_second(self, group: Group, seconds: Tensors, gradients: Tensors, firsts: Tensors) -> None:
        """Update the second moments with the squared differences between gradients and first moments."""
        average_squares_(seconds, list(torch._foreach_sub(gradients, firsts)), group["betas"][1])
        torch._foreach_add_(seconds, group["eps"])


def rectification(step: int, beta2: float) -> float | None:
    """Return the rectification factor of the learning rate, or None while its variance is not finite.

    Args:
        step: Step, counted from 1.
        beta2: Decay rate of the second moment.

    Example:
        >>> [rectification(step, 0.999) and round(rectification(step, 0.999), 5) for step in (5, 6, 10_000)]
        [None, 0.02582, 0.99977]
    """
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    if length < 5:
        return None
    return math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
