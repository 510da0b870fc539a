"""The optimizer of Distributed Shampoo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from .matrices import LinAlgError, eigh, outer, rotate
from .optimizer import ForeachOptimizer, State, average_squares_, corrected_roots, count_step, values_of

Graft = Literal["ADAM", "SGD"]
GRAFTS: tuple[Graft, ...] = get_args(Graft)


class ShampooOptimizer(ForeachOptimizer):
    """Gradients multiplied, along each axis of a block, by the inverse root of an average of ``g g^T``.

    Axes of size 1 are dropped, neighbouring axes merged while their product is at most ``max_preconditioner_dim``, and
    the result cut into blocks of at most that size along each axis. So a tensor of up to 1024 elements is one vector
    with a full matrix. With gradient g, in each block of order o::

        L_i <- b2 L_i + (1 - b2) g g^T along axis i;  v <- b2 v + (1 - b2) g^2;  m <- b1 m + (1 - b1) g
        u = [b1 m + (1 - b1) g, or m without nadam] / (1 - b1^t)
        a = u / (sqrt(v / (1 - b2^t)) + eps), or u for grafting_type "SGD"
        d = a before the first roots, then u times all (L_i / (1 - b2^t) + eps)^(-1/r), scaled to the length of a
        d <- d + weight_decay p;  M <- mu M + (1 - mu) d;  d <- mu M + (1 - mu) d;  p <- p - lr d

    Roots are computed in step ``precondition_frequency``, and then each time that many steps have passed. Under
    data-parallel training each rank computes a part of them, and sends it to the others.

    Tensors with an axis of ``max_axis`` or more have no preconditioners; d is a, which is that of "ADAM" for every
    ``grafting_type``.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1).
        eps: Added to eigenvalues, and to the root of the second moment.
        weight_decay: Weight decay.
        momentum: mu, in [0, 1).
        nadam: Whether the first moment looks one step ahead.
        grafting_type: Whose step length is taken: ``ADAM`` or ``SGD``.
        inv_root_override: r, the root of the inverse; 0 is twice the order of the block.
        precondition_frequency: Steps from one inverse root to the next.
        max_preconditioner_dim: Longest axis of a block.
        max_axis: Axes of this length or longer go without preconditioners.

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
        momentum: float = 0.0,
        nadam: bool = True,
        grafting_type: Graft = "ADAM",
        inv_root_override: int = 0,
        precondition_frequency: int = 100,
        max_preconditioner_dim: int = 1024,
        max_axis: int = 1_000_000,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        options = {
            "nadam": nadam,
            "grafting_type": grafting_type,
            "inv_root_override": inv_root_override,
            "precondition_frequency": precondition_frequency,
            "max_preconditioner_dim": max_preconditioner_dim,
            "max_axis": max_axis,
        }
        super().__init__(params, {**defaults, **options})

    def check_options(self, options: dict[str, Any]) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["grafting_type"] in GRAFTS, options, "grafting_type", f"be one of {', '.join(GRAFTS)}")
        self.require(0 <= options["momentum"] < 1, options, "momentum", "be in [0, 1)")
        self.require(options["inv_root_override"] >= 0, options, "inv_root_override", "not be negative")
        for name in ("precondition_frequency", "max_preconditioner_dim"):
            self.require(options[name] >= 1, options, name, "be 1 or more")

    def init_state(self, parameter: Tensor) -> State:
        """Return moments of 0; factors come with the first gradient, roots with the first computation of them."""
        return {"step": 0, "factors": [], "roots": []}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> None:
        """Make a step."""
        frequency = group["precondition_frequency"]
        for gradient, state in zip(gradients, states, strict=True):
            _add_to_factors(gradient, state, group)
        steps = count_step(states)
        averages = _averaged(group, gradients, states, steps)
        directions = _grafts(group, averages, gradients, states, steps)
        _compute_roots(group, [state for state in states if state["step"] % frequency == 0])
        _precondition(group, directions, averages, states)
        torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        if keep := group["momentum"]:
            momenta = _moments(states, "momentum_buffer", parameters)
            torch._foreach_lerp_(momenta, directions, 1 - keep)
            torch._foreach_lerp_(directions, momenta, keep)
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])


def merged_shape(shape: Sequence[int], limit: int) -> list[int]:
    """Return a shape without axes of size 1, neighbours merged from the left while their product is within the limit.

    Example:
        >>> merged_shape((64, 3, 7, 7), 1024), merged_shape((512, 512, 3, 3), 1024), merged_shape((), 1024)
        ([192, 49], [512, 512, 9], [1])
    """
    merged: list[int] = []
    for size in (size for size in shape if size != 1):
        if merged and merged[-1] * size <= limit:
            merged[-1] *= size
        else:
            merged.append(size)
    return merged or [1]


def blocks_of(tensor: Tensor, limit: int) -> list[Tensor]:
    """Return the blocks of a contiguous tensor, as views."""
    blocks = [tensor.view(merged_shape(tensor.shape, limit))]
    for axis in range(blocks[0].ndim):
        blocks = [part for block in blocks for part in torch.split(block, limit, dim=axis)]
    return blocks


def _is_long(tensor: Tensor, group: dict[str, Any]) -> bool:
    """Return whether a tensor goes without preconditioners."""
    return max(tensor.shape, default=1) >= group["max_axis"]  # type: ignore[no-any-return]


def _blocks(tensor: Tensor, group: dict[str, Any]) -> list[Tensor]:
    """Return the blocks that have preconditioners."""
    if _is_long(tensor, group):
        return []
    return blocks_of(tensor, group["max_preconditioner_dim"])


def _moments(states: list[State], name: str, like: list[Tensor]) -> list[Tensor]:
    for state, tensor in zip(states, like, strict=True):
        if name not in state:
            state[name] = torch.zeros_like(tensor, memory_format=torch.contiguous_format)
    return values_of(states, name)


def _add_to_factors(gradient: Tensor, state: State, group: dict[str, Any]) -> None:
    blocks = _blocks(gradient.contiguous(), group)
    if not blocks:
        return
    products = [outer(block, axis) for block in blocks for axis in range(block.ndim)]
    if not state["factors"]:
        state["factors"] = [torch.zeros_like(product) for product in products]
        state["order"] = blocks[0].ndim
    torch._foreach_lerp_(state["factors"], products, 1 - group["betas"][1])


def _averaged(
    group: dict[str, Any], gradients: list[Tensor], states: list[State], steps: Sequence[int]
) -> list[Tensor]:
    """Return u, contiguous."""
    beta1 = group["betas"][0]
    if not beta1:
        return [gradient.contiguous() for gradient in gradients]
    firsts = _moments(states, "exp_avg", gradients)
    torch._foreach_lerp_(firsts, gradients, 1 - beta1)
    ahead = torch._foreach_lerp(firsts, gradients, 1 - beta1) if group["nadam"] else firsts
    return [u.contiguous() for u in torch._foreach_div(ahead, [1 - beta1**step for step in steps])]


def _grafts(
    group: dict[str, Any], averages: list[Tensor], gradients: list[Tensor], states: list[State], steps: Sequence[int]
) -> list[Tensor]:
    """Return a, contiguous, to be written on."""
    by_adam = [i for i, u in enumerate(averages) if group["grafting_type"] == "ADAM" or _is_long(u, group)]
    grafts: dict[int, Tensor] = {}
    if by_adam:
        beta2, squared = group["betas"][1], [gradients[i] for i in by_adam]
        seconds = _moments([states[i] for i in by_adam], "exp_avg_sq", squared)
        average_squares_(seconds, squared, beta2)
        roots = corrected_roots(seconds, beta2, [steps[i] for i in by_adam], group["eps"])
        grafts = dict(zip(by_adam, torch._foreach_div([averages[i] for i in by_adam], roots), strict=True))
    return [grafts[i] if i in grafts else u.clone() for i, u in enumerate(averages)]


def _precondition(group: dict[str, Any], directions: list[Tensor], averages: list[Tensor], states: list[State]) -> None:
    """Write the preconditioned directions, as long as the grafts that are there, in their place."""
    grafts: list[Tensor] = []
    turned: list[Tensor] = []
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


def _compute_roots(group: dict[str, Any], states: list[State]) -> None:
    """Compute the roots of these states' factors: all of them, or, with several ranks, this one's part."""
    for state in states:
        if not state["roots"]:
            state["roots"] = [torch.eye(len(f), dtype=f.dtype, device=f.device) for f in state["factors"]]
    tasks = [(state, index) for state in states for index in range(len(state["factors"]))]
    ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    rank = dist.get_rank() if ranks > 1 else 0
    owners = owners_of([len(state["factors"][index]) for state, index in tasks], ranks)
    for (state, index), owner in zip(tasks, owners, strict=True):
        if owner == rank:
            factor = state["factors"][index] / (1 - group["betas"][1] ** state["step"])
            root = group["inv_root_override"] or 2 * state["order"]
            state["roots"][index] = inverse_root(factor, root, group["eps"], state["roots"][index])
    if ranks > 1:
        for (state, index), owner in zip(tasks, owners, strict=True):
            dist.broadcast(state["roots"][index], owner)


def owners_of(sizes: Sequence[int], ranks: int) -> list[int]:
    """Return a rank for each matrix, so that all have about as much to do, counted as the cube of the size.

    Example:
        >>> owners_of([10, 100, 90, 80], ranks=2)
        [0, 0, 1, 1]
    """
    work = [0] * ranks
    owners = [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        owners[index] = work.index(min(work))
        work[owners[index]] += sizes[index] ** 3
    return owners


def inverse_root(matrix: Tensor, root: int, eps: float, otherwise: Tensor) -> Tensor:
    """Return ``(matrix + eps)^(-1/root)`` of a symmetric matrix, its negative eigenvalues lifted to 0.

    Where that fails, or is not finite, it is ``otherwise``.
    """
    try:
        values, vectors = eigh(matrix)
    except LinAlgError:
        return otherwise
    values = values - values.min().clamp(max=0) + eps
    result = (vectors * values.pow(-1 / root)) @ vectors.mT
    return result.contiguous() if result.isfinite().all() else otherwise
