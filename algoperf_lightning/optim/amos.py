"""Amos: Adam with schedules for learning rate and weight decay, derived from the expected scale of each tensor."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import (
    ForeachOptimizer,
    Group,
    State,
    Tensors,
    count_step,
    evaluated,
    values_of,
)

Style = Literal["adam", "reduced"]


class Amos(ForeachOptimizer):
    """Adam, or a variant with one second moment per block of a tensor, with the schedules of Amos.

    A tensor is divided into ``blocks`` equal blocks of k elements along its first axis. g is the gradient, mean() is
    the mean within a block, x is the learning rate, and b, q, s and w have one value per block::

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
        params: Parameters or parameter groups.
        lr: x, as computed by :func:`base_learning_rate`. It is usually combined with a warm-up, but not with a decay.
        betas: Decay rates, each in [0, 1).
        eta: Expected scale of the elements of a trained tensor, positive.
        l2: Strength of an additional regularisation.
        blocks: Number of equal blocks of rows per tensor, each with its own b: 1, or the number of rows of an
            embedding.
        style: ``adam`` or ``reduced``. With ``reduced``, all blocks of a tensor share b.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Tian and Parikh 2022, https://arxiv.org/abs/2210.11693; the entry "Amos" of the AlgoPerf v0.5
    leaderboard. The update rule is that of the entry, which is newer than the paper.
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
        """Return a step count. Averages are added with the first gradient."""
        return {"step": 0}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step and return the result of the closure."""
        loss = evaluated(closure)
        together: dict[Any, list[tuple[Tensor, float]]] = defaultdict(list)
        for group in self.param_groups:  # groups that differ only in eta are updated together
            shared = {**{name: group[name] for name in ("lr", "l2", "blocks", "style")}, "betas": tuple(group["betas"])}
            for p in group["params"]:
                if p.grad is not None:
                    together[(*shared.items(), p.device, p.dtype)].append((p, group["eta"]))
        for (*options, _, _), pairs in together.items():
            parameters = [p for p, _ in pairs]
            group = {**dict(options), "eta": [eta for _, eta in pairs]}
            self.update(group, parameters, [p.grad for p in parameters], self.states_of(parameters))
        return loss

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group; ``eta`` is a list with one value per parameter."""
        blocks = group["blocks"]
        for parameter, state in zip(parameters, states, strict=True):
            if "exp_avg" not in state:
                state.update(_averages(parameter, group))
        rule = _adam if group["style"] == "adam" else _reduced
        shaped, g = ([tensor.reshape(blocks, -1) for tensor in each] for each in (parameters, gradients))
        steps = rule(group, shaped, g, states)
        moves = [step.view(parameter.shape) for step, parameter in zip(steps, parameters, strict=True)]
        torch._foreach_sub_(parameters, moves)


def base_learning_rate(largest_block: int, steps: float) -> float:
    """Return the learning rate for convergence within a given number of steps.

    Args:
        largest_block: Largest number of elements in a block, over all parameters.
        steps: Number of steps to convergence, positive.
    """
    return math.sqrt(2 * (_tau(math.sqrt(largest_block)) + math.sqrt(2) - 1) / steps)


# In the functions below, tensors have shape (blocks, k), and values per block form a column (blocks of all tensors, 1).


def _averages(parameter: Tensor, group: Group) -> State:
    """Return zero-initialised averages."""
    full, column = parameter.new_zeros(group["blocks"], parameter.numel() // group["blocks"]), (group["blocks"], 1)
    if group["style"] == "adam":
        return {"exp_avg": full, "exp_avg_sq": full.clone(), "b": full.new_zeros(column)}
    return {"exp_avg": full, "exp_avg_sq": full.new_zeros(column), "b": full.new_zeros(1, 1)}


def _adam(group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> Tensors:
    """Return d of each parameter."""
    beta1, beta2 = group["betas"]
    firsts, seconds = values_of(states, "exp_avg"), values_of(states, "exp_avg_sq")
    excess = list(torch._foreach_mul(gradients, gradients))
    limits = torch._foreach_mul(seconds, [1 / (1 - beta2 ** state["step"] or 1.0) for state in states])
    known = torch._foreach_sign(limits)  # 0 for elements without a gradient so far, where c is 1
    torch._foreach_mul_(excess, known)
    torch._foreach_sub_(known, 1)
    torch._foreach_sub_(limits, known)  # 1 in place of 0
    torch._foreach_div_(excess, limits)
    clipped = _clipped(gradients, excess)
    torch._foreach_lerp_(firsts, clipped, 1 - beta1)
    average = _moved(seconds, list(torch._foreach_mul(clipped, clipped)), states, beta2)
    tiny = torch.finfo(firsts[0].dtype).tiny
    share = _mean_squares(firsts) / _means(average).clamp(min=tiny) * ((1 + beta1) / (1 - beta1))
    torch._foreach_clamp_min_(average, tiny)
    torch._foreach_rsqrt_(average)
    torch._foreach_mul_(average, firsts)
    return _scheduled(group, parameters, average, share, states, adaptive=True)


def _reduced(group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> Tensors:
    """Return M of each parameter."""
    beta1, beta2 = group["betas"]
    seconds = values_of(states, "exp_avg_sq")
    limits = torch._foreach_mul(seconds, [1 / (1 - beta2 ** state["step"] or 1.0) for state in states])
    excess = [g.square() / torch.where(v > 0, v, math.inf) for g, v in zip(gradients, limits, strict=True)]
    clipped = _clipped(gradients, excess)
    reduced = _mean_squares(clipped)
    average = torch.cat(_moved(seconds, _parts(reduced, len(seconds)), states, beta2))
    average.clamp_(min=torch.finfo(average.dtype).tiny)
    updates = [u * r for u, r in zip(clipped, _parts(average.rsqrt(), len(seconds)), strict=True)]
    moves = _scheduled(group, parameters, updates, reduced / average, states, adaptive=False)
    firsts = values_of(states, "exp_avg")
    torch._foreach_lerp_(firsts, moves, 1 - beta1)
    return firsts


def _clipped(gradients: Tensors, excess: Tensors) -> Tensors:
    """Return g / sqrt(max(1, excess)). Overwrites the excess."""
    torch._foreach_clamp_min_(excess, 1.0)
    torch._foreach_rsqrt_(excess)
    return list(torch._foreach_mul(gradients, excess))


def _moved(seconds: Tensors, squares: Tensors, states: list[State], beta2: float) -> Tensors:
    """Update v, increment the step count, and return v'."""
    torch._foreach_mul_(seconds, beta2)
    torch._foreach_add_(seconds, squares)
    return list(torch._foreach_mul(seconds, [(1 - beta2) / (1 - beta2**step) for step in count_step(states)]))


def _mean_squares(tensors: Tensors) -> Tensor:
    """Return the means of the squares within the blocks."""
    if len(tensors[0]) > 1:
        return torch.cat([tensor.square().mean(1, keepdim=True) for tensor in tensors])
    lengths = torch.stack(torch._foreach_norm(tensors))[:, None]
    return _times(lengths, [tensor.numel() ** -0.5 for tensor in tensors]).square()


def _means(tensors: Tensors) -> Tensor:
    """Return the means within the blocks, for non-negative values."""
    if len(tensors[0]) > 1:
        return torch.cat([tensor.mean(1, keepdim=True) for tensor in tensors])
    sums = torch.stack(torch._foreach_norm(tensors, 1))[:, None]
    return _times(sums, [1 / tensor.numel() for tensor in tensors])


def _times(column: Tensor, factors: list[float]) -> Tensor:
    """Return a column with the part of each tensor multiplied by its factor."""
    return torch.cat(torch._foreach_mul(_parts(column, len(factors)), factors))


def _parts(column: Tensor, number: int) -> Tensors:
    """Split a column into one part per tensor."""
    return list(column.tensor_split(number))


def _scheduled(
    group: Group, parameters: Tensors, updates: Tensors, share: Tensor, states: list[State], *, adaptive: bool
) -> Tensors:
    """Return d of each parameter for given u, and update b."""
    rate, l2 = group["lr"], group["l2"]
    all_b = values_of(states, "b")
    b = torch.cat([each.expand(group["blocks"], 1) for each in all_b])
    root_k = [math.sqrt(parameter.shape[1]) for parameter in parameters]
    tau = [_tau(each) for each in root_k]
    early = [1 + l2 * ((1 + 0.5 * each) ** 2 - 1) ** 2 for each in tau]
    late = 1 + l2 * b.square()
    root = (1 + b).sqrt()
    scale = rate**2 / (torch.maximum(share, root) if adaptive else root)
    a = (2 * root / (1 + (1 + _times(root, [2 / (2 + each) for each in tau])).sqrt())).square() - 1
    slower = 1 + _times(root * a * (1 + l2 * b * a), group["eta"]) / (1 + _times(late, [l2 / each for each in early]))
    decay = 0.5 * scale * (_times(share / late, early) + l2)
    grown = _times(share if adaptive else torch.ones_like(b), [1 / each for each in root_k])
    added = _parts(scale * (grown + b), len(all_b))
    torch._foreach_add_(all_b, [each[: len(old)] for each, old in zip(added, all_b, strict=True)])
    forward = _times(torch.ones_like(b) * rate, group["eta"])
    of_p, of_u = (_parts(column / slower, len(all_b)) for column in (decay, forward))
    each = zip(parameters, updates, of_p, of_u, strict=True)
    return [torch.addcmul(p * factor, u, of_this) for p, u, factor, of_this in each]


def _tau(root_k: float) -> float:
    h = math.sqrt(1 - 1 / root_k)
    return h * math.log(root_k * (1 + h) ** 2)
