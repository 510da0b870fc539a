"""AMUSE: Muon without a schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.foreach import Group, State, Tensors, average_squares_, corrected_roots, values_of
from algoperf_lightning.optim.orthogonal import DTYPES, orthogonal_each
from algoperf_lightning.optim.schedule_free import ScheduleFreeOptimizer
from algoperf_lightning.optim.sharding import Share, compute_here, sharing


class Amuse(ScheduleFreeOptimizer):
    """Schedule-free averaging over Muon, with a weight of the average in y that increases after the warm-up.

    g is the gradient at y, k = 1, 2, ... is the step, r(k) is the learning rate with linear warm-up over T steps, and
    c(k) is as in :class:`ScheduleFreeOptimizer` with w(k) = r(k)^2. A matrix ``(m, n)`` uses the first rule, and all
    other tensors the second::

        M <- b M + (1 - b) g;  z <- (1 - r weight_decay) z - r 0.2 sqrt(max(m, n)) orthogonal(b M + (1 - b) g)
        v <- b2 v + (1 - b2) g^2;  z <- (1 - r weight_decay) z - r g / (sqrt(v / (1 - b2^k)) + eps)

    x is then updated as in the base class. beta1 is constant up to step T. After that, for the y of the next step::

        beta1(k) = 1 - [c(k) (1 - c(T)) / (c(T) (1 - c(k)))]^rho * (1 - beta1)

    Groups with ``matrices=False`` and tensors with fewer than two axes use the second rule, which needs no first
    moment. Convolution kernels are flattened to matrices of output channels by all other axes.

    Deviation: the authors' code recovers x from y with the beta1 of the next y instead of the current one, so its x
    differs slightly from the weighted average of z. Here, the parameters store x, which is exact. After five steps at a
    learning rate of 0.05, the two differ by up to 3e-3.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate after warm-up.
        beta1: Interpolation weight of the average x in y during warm-up, in (0, 1).
        betas: Decay rates b of the momentum and b2 of the second moment, each in [0, 1).
        rho: Growth rate of that weight; 0 keeps it constant.
        eps: Added to the root of the second moment.
        weight_decay: Weight decay of z.
        warmup_steps: T, at least 2. With T = 1, c(T) would be 1 and the ratio in beta1(k) always 0.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.
        matrices: Whether tensors with two or more axes in a group are updated by Muon.
        shard: Whether to shard the orthogonalisation over the ranks.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: AMUSE 2026, https://arxiv.org/abs/2605.22432.
    """

    _share: Share = staticmethod(compute_here)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        beta1: float = 0.6,
        betas: tuple[float, float] = (0.95, 0.999),
        rho: float = 0.8,
        eps: float = 1e-10,
        weight_decay: float = 0.05,
        warmup_steps: int = 2,
        newton_schulz_dtype: str = "float32",
        matrices: bool = True,
        *,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        options = {"rho": rho, "newton_schulz_dtype": newton_schulz_dtype, "matrices": matrices}
        defaults = {"lr": lr, "beta1": beta1, "betas": betas, "eps": eps, "weight_decay": weight_decay, **options}
        super().__init__(params, {**defaults, "warmup_steps": warmup_steps})
        self._share = sharing(shard, process_group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group after checking its options."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("first_beta1", group["beta1"])
        group.setdefault("share_after_warmup", None)

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["rho"] >= 0, options, "rho", "not be negative")
        self.require(options["warmup_steps"] >= 2, options, "warmup_steps", "be 2 or more")
        dtypes = f"be one of {', '.join(DTYPES)}"
        self.require(options["newton_schulz_dtype"] in DTYPES, options, "newton_schulz_dtype", dtypes)

    def weight(self, group: Group, rate: float) -> float:
        """Return the weight of the current step."""
        return rate**2

    def directions(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> Tensors:
        """Update the moments and return the directions."""
        chosen: dict[bool, list[int]] = {True: [], False: []}
        for index, parameter in enumerate(parameters):
            chosen[group["matrices"] and parameter.ndim >= 2].append(index)
        found: dict[int, Tensor] = {}
        for rule, indices in ((self._orthogonal, chosen[True]), (self._scaled, chosen[False])):
            if indices:
                results = rule(group, [gradients[i] for i in indices], [states[i] for i in indices])
                found.update(zip(indices, results, strict=True))
        return [found[index] for index in range(len(parameters))]

    def move(self, group: Group, fast: Tensors, averages: Tensors, directions: Tensors, rate: float) -> None:
        """Update z."""
        torch._foreach_mul_(fast, 1 - rate * group["weight_decay"])
        torch._foreach_add_(fast, directions, alpha=-rate)

    def _step_group(self, group: Group) -> None:
        super()._step_group(group)  # leaves the parameters at x
        done, warmup = group["k"], group["warmup_steps"]
        if not group["weight_sum"]:  # all learning rates so far were 0
            return
        share = self.weight(group, self.rate({**group, "k": done - 1})) / group["weight_sum"]
        if done == warmup:
            group["share_after_warmup"] = share
        at_warmup = group["share_after_warmup"]
        if done > warmup and at_warmup and share < 1:
            ratio = share * (1 - at_warmup) / (at_warmup * (1 - share))
            group["beta1"] = 1 - ratio ** group["rho"] * (1 - group["first_beta1"])

    def _orthogonal(self, group: Group, gradients: Tensors, states: list[State]) -> Tensors:
        for gradient, state in zip(gradients, states, strict=True):
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
        keep = group["betas"][0]
        momenta = values_of(states, "momentum_buffer")
        torch._foreach_lerp_(momenta, gradients, 1 - keep)
        ahead = list(torch._foreach_lerp(momenta, gradients, 1 - keep))
        updates = orthogonal_each(ahead, dtype=DTYPES[group["newton_schulz_dtype"]], share=self._share)
        torch._foreach_mul_(updates, [0.2 * max(len(o), o.numel() / len(o)) ** 0.5 for o in updates])
        return updates

    def _scaled(self, group: Group, gradients: Tensors, states: list[State]) -> Tensors:
        for gradient, state in zip(gradients, states, strict=True):
            if "exp_avg_sq" not in state:
                state["exp_avg_sq"] = torch.zeros_like(gradient)
        beta = group["betas"][1]
        seconds = values_of(states, "exp_avg_sq")
        average_squares_(seconds, gradients, beta)
        roots = corrected_roots(seconds, beta, [group["k"] + 1] * len(seconds), group["eps"])
        return list(torch._foreach_div(gradients, roots))
