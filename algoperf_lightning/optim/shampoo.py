"""Distributed Shampoo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.blocks import blocks_of
from algoperf_lightning.optim.foam import foam_roots
from algoperf_lightning.optim.foreach import (
    ForeachOptimizer,
    Group,
    State,
    Tensors,
    average_squares_,
    corrected_roots,
    count_step,
    values_of,
)
from algoperf_lightning.optim.matrices import inverse_root, outer, rotate
from algoperf_lightning.optim.sharding import Share, compute_here, sharing

Graft = Literal["ADAM", "SGD"]
Refresh = Literal["fixed", "foam"]
GRAFTS: tuple[Graft, ...] = get_args(Graft)
REFRESHES: tuple[Refresh, ...] = get_args(Refresh)


class Shampoo(ForeachOptimizer):
    """Gradients multiplied along each axis of a block by the inverse root of a moving average of ``g g^T``.

    Axes of size 1 are dropped, adjacent axes are merged while their product is at most ``max_preconditioner_dim``, and
    the result is divided into blocks of at most that size along each axis. With the default of 1024, a tensor of up to
    1024 elements is one vector with a full preconditioner matrix. With gradient g, for each block of order o::

        L_i <- b2 L_i + (1 - b2) g g^T along axis i;  v <- b2 v + (1 - b2) g^2;  m <- b1 m + (1 - b1) g
        u = [b1 m + (1 - b1) g, or m without nadam] / (1 - b1^t)
        a = u / (sqrt(v / (1 - b2^t)) + eps), or u for grafting_type "SGD"
        d = a before the first roots, then u times all (L_i / (1 - b2^t) + eps)^(-1/r), scaled to the length of a
        d <- d + weight_decay p;  M <- mu M + (1 - mu) d;  d <- mu M + (1 - mu) d;  p <- p - lr d

    Roots are computed every ``precondition_frequency`` steps, for the first time in step ``precondition_frequency``.
    These steps synchronise with the device, because ``eigh`` does. With ``shard``, each rank of data-parallel training
    computes its share of the roots and sends the results to the other ranks. Factors, roots and moments are replicated
    on all ranks, so a checkpoint can be loaded with any number of ranks.

    With ``refresh`` "foam", these steps reuse the eigenbasis of a factor and increase its damping, which replaces eps,
    according to the error of the basis. A new decomposition is computed when the damping exceeds ``max_damping``. See
    :mod:`~algoperf_lightning.optim.foam`.

    Tensors with an axis of length ``max_axis`` or more have no preconditioners. Their d is the a of "ADAM", independent
    of ``grafting_type``.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1).
        eps: Added to eigenvalues, and to the root of the second moment.
        weight_decay: Weight decay.
        momentum: mu, in [0, 1).
        nadam: Whether the first moment is a Nesterov moment.
        grafting_type: Optimizer that determines the step length: ``ADAM`` or ``SGD``.
        inv_root_override: r, the order of the inverse root; 0 means twice the order of the block.
        precondition_frequency: Number of steps between computations of the inverse roots.
        max_preconditioner_dim: Maximum axis length of a block.
        max_axis: Tensors with an axis of this length or longer have no preconditioners.
        refresh: ``fixed`` recomputes all decompositions; ``foam`` reuses eigenbases while the damping covers their
            error.
        damping: Added to eigenvalues instead of eps; None means eps.
        max_damping: Maximum damping of a reused basis ("foam").
        foam_tolerance: Relative error of a root that the damping must cover ("foam").
        shard: Whether to shard the computation of the roots over the ranks. All ranks must then step together with the
            same gradients.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Gupta et al. 2018, https://arxiv.org/abs/1802.09568; Shi et al. 2023, https://arxiv.org/abs/2309.06497.
    """

    _share: Share = staticmethod(compute_here)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        nadam: bool = True,
        grafting_type: Graft = "ADAM",
        inv_root_override: int = 0,
        precondition_frequency: int = 100,
        max_preconditioner_dim: int = 1024,
        max_axis: int = 1_000_000,
        *,
        refresh: Refresh = "fixed",
        damping: float | None = None,
        max_damping: float = 3e-7,
        foam_tolerance: float = 0.75,
        shard: bool = True,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        options = {
            "nadam": nadam,
            "grafting_type": grafting_type,
            "inv_root_override": inv_root_override,
            "precondition_frequency": precondition_frequency,
            "max_preconditioner_dim": max_preconditioner_dim,
            "max_axis": max_axis,
            "refresh": refresh,
            "damping": damping,
            "max_damping": max_damping,
            "foam_tolerance": foam_tolerance,
        }
        super().__init__(params, {**defaults, **options})
        self._share = sharing(shard, process_group)

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["grafting_type"] in GRAFTS, options, "grafting_type", f"be one of {', '.join(GRAFTS)}")
        self.require(options["refresh"] in REFRESHES, options, "refresh", f"be one of {', '.join(REFRESHES)}")
        self.require(options["foam_tolerance"] > 0, options, "foam_tolerance", "be positive")
        self.require((options["damping"] or 0) >= 0, options, "damping", "not be negative")
        self.require(0 <= options["momentum"] < 1, options, "momentum", "be in [0, 1)")
        self.require(options["inv_root_override"] >= 0, options, "inv_root_override", "not be negative")
        for name in ("precondition_frequency", "max_preconditioner_dim"):
            self.require(options[name] >= 1, options, name, "be 1 or more")

    def init_state(self, parameter: Tensor) -> State:
        """Return a step count. Moments and factors are added with the first gradient, roots when first computed."""
        return {"step": 0, "factors": [], "roots": []}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        frequency = group["precondition_frequency"]
        for gradient, state in zip(gradients, states, strict=True):
            _add_to_factors(gradient, state, group)
        steps = count_step(states)
        averages = _averaged(group, gradients, states, steps)
        directions = _grafts(group, averages, gradients, states, steps)
        _compute_roots(group, [state for state in states if state["step"] % frequency == 0], self._share)
        _precondition(group, directions, averages, states)
        torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        if keep := group["momentum"]:
            momenta = _moments(states, "momentum_buffer", parameters)
            torch._foreach_lerp_(momenta, directions, 1 - keep)
            torch._foreach_lerp_(directions, momenta, keep)
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])


def _is_long(tensor: Tensor, group: Group) -> bool:
    """Return whether a tensor has no preconditioners."""
    return max(tensor.shape, default=1) >= group["max_axis"]  # type: ignore[no-any-return]


def _blocks(tensor: Tensor, group: Group) -> Tensors:
    """Return the blocks that have preconditioners."""
    if _is_long(tensor, group):
        return []
    return blocks_of(tensor, group["max_preconditioner_dim"])


def _moments(states: list[State], name: str, like: Tensors) -> Tensors:
    for state, tensor in zip(states, like, strict=True):
        if name not in state:
            state[name] = torch.zeros_like(tensor, memory_format=torch.contiguous_format)
    return values_of(states, name)


def _add_to_factors(gradient: Tensor, state: State, group: Group) -> None:
    blocks = _blocks(gradient.contiguous(), group)
    if not blocks:
        return
    products = [outer(block, axis) for block in blocks for axis in range(block.ndim)]
    if not state["factors"]:
        state["factors"] = [torch.zeros_like(product) for product in products]
        state["order"] = blocks[0].ndim
    torch._foreach_lerp_(state["factors"], products, 1 - group["betas"][1])


def _averaged(group: Group, gradients: Tensors, states: list[State], steps: Sequence[int]) -> Tensors:
    """Return u, contiguous."""
    beta1 = group["betas"][0]
    if not beta1:
        return [gradient.contiguous() for gradient in gradients]
    firsts = _moments(states, "exp_avg", gradients)
    torch._foreach_lerp_(firsts, gradients, 1 - beta1)
    ahead = torch._foreach_lerp(firsts, gradients, 1 - beta1) if group["nadam"] else firsts
    return [u.contiguous() for u in torch._foreach_div(ahead, [1 - beta1**step for step in steps])]


def _grafts(group: Group, averages: Tensors, gradients: Tensors, states: list[State], steps: Sequence[int]) -> Tensors:
    """Return a, contiguous. The tensors may be overwritten."""
    by_adam = [i for i, u in enumerate(averages) if group["grafting_type"] == "ADAM" or _is_long(u, group)]
    grafts: dict[int, Tensor] = {}
    if by_adam:
        beta2, squared = group["betas"][1], [gradients[i] for i in by_adam]
        seconds = _moments([states[i] for i in by_adam], "exp_avg_sq", squared)
        average_squares_(seconds, squared, beta2)
        roots = corrected_roots(seconds, beta2, [steps[i] for i in by_adam], group["eps"])
        grafts = dict(zip(by_adam, torch._foreach_div([averages[i] for i in by_adam], roots), strict=True))
    return [grafts[i] if i in grafts else u.clone() for i, u in enumerate(averages)]


def _precondition(group: Group, directions: Tensors, averages: Tensors, states: list[State]) -> None:
    """Replace grafts with the preconditioned directions, scaled to the norm of the graft in each block."""
    grafts: Tensors = []
    turned: Tensors = []
    for direction, u, state in zip(directions, averages, states, strict=True):
        if not state["roots"]:
            continue
        roots = iter(state["roots"])
        for graft, block in zip(_blocks(direction, group), _blocks(u, group), strict=True):
            grafts.append(graft)
            turned.append(rotate(block, [next(roots) for _ in range(block.ndim)]))
    if grafts:
        lengths = list(torch._foreach_norm(turned))
        torch._foreach_add_(lengths, 1e-16)
        torch._foreach_mul_(turned, torch._foreach_div(torch._foreach_norm(grafts), lengths))
        torch._foreach_copy_(grafts, turned)


def _compute_roots(group: Group, states: list[State], share: Share) -> None:
    """Compute the roots of the factors of these states."""
    for state in states:
        if not state["roots"]:
            state["roots"] = [torch.eye(len(f), dtype=f.dtype, device=f.device) for f in state["factors"]]
    tasks = [(state, index) for state in states for index in range(len(state["factors"]))]
    roots = [state["roots"][index] for state, index in tasks]

    eps = group["eps"] if group["damping"] is None else group["damping"]
    orders = [group["inv_root_override"] or 2 * state["order"] for state, _ in tasks]

    def corrected(number: int) -> Tensor:
        state, index = tasks[number]
        return state["factors"][index] / (1 - group["betas"][1] ** state["step"])  # type: ignore[no-any-return]

    def compute(numbers: Sequence[int]) -> Tensors:
        return [inverse_root(corrected(number), orders[number], eps, roots[number]) for number in numbers]

    if roots and group["refresh"] == "foam":
        factors = [corrected(number) for number in range(len(tasks))]
        limits = (eps, group["max_damping"], group["foam_tolerance"])
        torch._foreach_copy_(roots, foam_roots(tasks, factors, orders, limits, share))
    elif roots:
        torch._foreach_copy_(roots, share(compute, [len(root) ** 3 for root in roots], roots))
