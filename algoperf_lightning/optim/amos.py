"""Amos: Adam with schedules for learning rate and weight decay that follow from the expected scale of each tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors

Style = Literal["adam", "reduced"]


class Amos(ForeachOptimizer):
    """Adam, or a form of it with one second moment for each block of a tensor, with the schedules of Amos.

    A tensor has ``blocks`` equal blocks along its first axis, each of k elements. With gradient g, mean() being that
    within each block, x the learning rate, and all of b, q, s and w one number for each block::

        v' = v (1 - b2) / (1 - b2^(t-1));  c = max(1, g^2 (1 - b2) / v') or 1 where v' is 0;  g <- g / sqrt(c)
        adam:     v <- b2 v + g^2;  v' = v (1 - b2) / (1 - b2^t);  m <- b1 m + (1 - b1) g
                  u = m / sqrt(v');  q = (1 + b1) / (1 - b1) mean(m^2) / mean(v');  s = x^2 / max(q, sqrt(1 + b))
        reduced:  v <- b2 v + mean(g^2);  v' likewise;  u = g / sqrt(v');  q = mean(g^2) / v';  s = x^2 / sqrt(1 + b)
        h = sqrt(1 - k^-1/2);  tau = h log(k^1/2 (1 + h)^2);  L = 1 + l2 ((1 + tau / 2)^2 - 1)^2;  B = 1 + l2 b^2
        a = [2 sqrt(1 + b) / (1 + sqrt(1 + 2 sqrt(1 + b) / (2 + tau)))]^2 - 1
        d = [eta x u + s / 2 (q L / B + l2) p] / [1 + eta sqrt(1 + b) a (1 + l2 b a) / (1 + l2 B / L)]
        b <- b + s (q / k^1/2 + b), with 1 in place of q if reduced
        adam:  p <- p - d;    reduced:  M <- b1 M + (1 - b1) d;  p <- p - M

    Args:
        params: Parameters, or groups of them.
        lr: x; :func:`base_learning_rate` computes it. A warm-up is usual, but no decay.
        betas: Decay rates, each in [0, 1).
        eta: Expected scale of the elements of a trained tensor, positive.
        l2: Strength of an additional regularisation.
        blocks: Equal blocks of rows of each tensor that have a b of their own: 1, or as many as rows of an embedding.
        style: ``adam`` or ``reduced``; in the second, all blocks of a tensor share b.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Tian and Parikh 2022, https://arxiv.org/abs/2210.11693; the entry "Amos" of the AlgoPerf v0.5
    leaderboard, whose rule this is: a later one than the paper's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eta: float = 1.0,
        l2: float = 0.0,
        blocks: int = 1,
        style: Style = "adam",
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eta": eta, "l2": l2, "blocks": blocks, "style": style})

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["eta"] > 0, options, "eta", "be positive")
        self.require(options["l2"] >= 0, options, "l2", "not be negative")
        self.require(options["blocks"] >= 1, options, "blocks", "be 1 or more")
        styles = get_args(Style)
        self.require(options["style"] in styles, options, "style", f"be one of {', '.join(styles)}")

    def init_state(self, parameter: Tensor) -> State:
        """Return a step count; averages are added with the first gradient."""
        return {"step": 0}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Make a step."""
        rule = _adam if group["style"] == "adam" else _reduced
        for parameter, gradient, state in zip(parameters, gradients, states, strict=True):
            p, g = (tensor.reshape(group["blocks"], -1) for tensor in (parameter.detach(), gradient))
            parameter.sub_(rule(group, p, g, state).view(parameter.shape))


def base_learning_rate(largest_block: int, steps: float) -> float:
    """Return the learning rate with which a model is to converge within a number of steps.

    Args:
        largest_block: The largest number of elements of a block, over all parameters.
        steps: Steps to converge, positive.
    """
    return math.sqrt(2 * (_tau(math.sqrt(largest_block)) + math.sqrt(2) - 1) / steps)


def _adam(group: Group, p: Tensor, g: Tensor, state: State) -> Tensor:
    """Return d, given a parameter and its gradient as ``(blocks, k)``."""
    beta1, beta2 = group["betas"]
    if "exp_avg" not in state:
        state |= {"exp_avg": torch.zeros_like(g), "exp_avg_sq": torch.zeros_like(g), "b": g.new_zeros(len(g), 1)}
    g, squares = _clipped(g, state, beta2)
    state["exp_avg"].lerp_(g, 1 - beta1)
    second = _second(state, squares, beta2)
    tiny = torch.finfo(second.dtype).tiny
    ratio = state["exp_avg"].square().mean(1, keepdim=True) / second.mean(1, keepdim=True).clamp(min=tiny)
    share = ratio * ((1 + beta1) / (1 - beta1))
    return _scheduled(group, p, state["exp_avg"] * second.clamp(min=tiny).rsqrt(), share, state, adaptive=True)


def _reduced(group: Group, p: Tensor, g: Tensor, state: State) -> Tensor:
    """Return M, given a parameter and its gradient as ``(blocks, k)``."""
    beta1, beta2 = group["betas"]
    if "exp_avg" not in state:
        state |= {"exp_avg": torch.zeros_like(g), "exp_avg_sq": g.new_zeros(len(g), 1), "b": g.new_zeros(1, 1)}
    g, squares = _clipped(g, state, beta2)
    reduced = squares.mean(1, keepdim=True)
    second = _second(state, reduced, beta2)
    second = second.clamp(min=torch.finfo(second.dtype).tiny)
    step = _scheduled(group, p, g * second.rsqrt(), reduced / second, state, adaptive=False)
    return state["exp_avg"].lerp_(step, 1 - beta1)  # type: ignore[no-any-return]


def _clipped(g: Tensor, state: State, beta2: float) -> tuple[Tensor, Tensor]:
    """Return the gradient and its squares, where these are at most 1 / (1 - b2) times their average."""
    squares = g.square()
    if not state["step"]:
        return g, squares
    second = state["exp_avg_sq"] * ((1 - beta2) / (1 - beta2 ** state["step"]))
    excess = torch.where(second > 0, squares * (1 - beta2) / second, 1.0).clamp(min=1.0)
    return g * excess.rsqrt(), squares / excess


def _second(state: State, squares: Tensor, beta2: float) -> Tensor:
    """Move v, count a step, and return v'."""
    state["exp_avg_sq"].mul_(beta2).add_(squares)
    state["step"] += 1
    return state["exp_avg_sq"] * ((1 - beta2) / (1 - beta2 ** state["step"]))  # type: ignore[no-any-return]


def _scheduled(group: Group, p: Tensor, u: Tensor, share: Tensor, state: State, *, adaptive: bool) -> Tensor:
    """Return d, and move b."""
    rate, eta, l2, b = group["lr"], group["eta"], group["l2"], state["b"]
    root_k = math.sqrt(p.shape[1])
    tau = _tau(root_k)
    early = 1 + l2 * ((1 + 0.5 * tau) ** 2 - 1) ** 2
    late = 1 + l2 * b.square()
    root = (1 + b).sqrt()
    scale = rate**2 / (torch.maximum(share, root) if adaptive else root)
    a = (2 * root / (1 + (1 + 2 / (2 + tau) * root).sqrt())).square() - 1
    slower = 1 + eta * root * a * (1 + l2 * b * a) / (1 + l2 / early * late)
    decay = 0.5 * scale * (early / late * share + l2)
    state["b"] = b + scale * ((share if adaptive else 1.0) / root_k + b)
    step: Tensor = (decay * p + eta * rate * u) / slower
    return step


def _tau(root_k: float) -> float:
    h = math.sqrt(1 - 1 / root_k)
    return h * math.log(root_k * (1 + h) ** 2)
