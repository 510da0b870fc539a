"""Adaptive CASPR: the right factor is averaged after the left preconditioner is applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.foreach import (
    ForeachOptimizer,
    Group,
    State,
    Tensors,
    adam_state,
    corrected_roots,
    move_moments,
)
from algoperf_lightning.optim.matrices import LinAlgError, eigh
from algoperf_lightning.optim.sharding import Share, compute_here, sharing


class AdaptiveCaspr(ForeachOptimizer):
    """NadamW with the direction ``P_L u P_R`` for matrices, scaled to the step length of NadamW.

    A tensor with two or more axes is treated as a matrix of inputs by outputs: the transpose of a weight ``(outputs,
    inputs)``, or a kernel with its spatial axes before its input channels. With ``inputs_first``, as for embeddings
    ``(tokens, width)``, it is a matrix of the first axis by all others. The matrix is divided into blocks of at most
    ``block_size``. G is the gradient of a block with m rows, and u and v are the bias-corrected moments of NadamW::

        at the step after new roots:  c = trace(P_L (K + e |K| 1) P_L) / m;  K <- L;  otherwise c = 1
        L <- b2 L + (1 - b2) G G^T;  R <- b2 c R + (1 - b2) G^T P_L P_L G / m
        every ``precondition_frequency`` steps:  P_L = (L + e |L| 1)^(-1/2), P_R likewise
        d = u / (sqrt(v) + eps);  after ``start`` steps, d <- P_L u P_R |d| / |P_L u P_R|, |.| of the tensor
        p <- p - lr (d + weight_decay p)

    where ``|K|`` is the largest eigenvalue. K and L are initialised to e, and R, P_L and P_R to 1. Tensors with an axis
    longer than ``max_axis`` and tensors with fewer than two axes are updated by NadamW. Steps that compute roots
    synchronise with the device, because ``eigh`` does.

    Deviation: the entry computes roots with a coupled Newton iteration, which agrees to 1e-6. This class uses
    eigenvalue decompositions. The entry's code fails for matrices with more than ``block_size`` rows and columns.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1). The second is also used for the factors.
        eps: Added to the root of the second moment.
        weight_decay: Weight decay.
        matrix_eps: e, relative to the largest eigenvalue.
        precondition_frequency: Number of steps between computations of the roots.
        start: Number of steps before the roots are used.
        block_size: Maximum side length of a block.
        max_axis: Maximum axis length of a preconditioned tensor, after kernels are flattened to matrices.
        inputs_first: Whether the input axis of the tensors in a group is the first axis.
        shard: Whether to shard the computation of the roots over the ranks.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Duvvuri et al. 2024, "Combining Axes Preconditioners through Kronecker Approximation for Deep Learning";
    the entry "CASPR Adaptive" of the AlgoPerf v0.5 leaderboard.
    """

    _share: Share = staticmethod(compute_here)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        matrix_eps: float = 1e-6,
        precondition_frequency: int = 20,
        start: int = 101,
        block_size: int = 1024,
        max_axis: int = 40_000,
        inputs_first: bool = False,
        *,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        options = {
            "matrix_eps": matrix_eps,
            "precondition_frequency": precondition_frequency,
            "start": start,
            "block_size": block_size,
            "max_axis": max_axis,
            "inputs_first": inputs_first,
        }
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **options})
        self._share = sharing(shard, process_group)

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["matrix_eps"] > 0, options, "matrix_eps", "be positive")
        for name in ("precondition_frequency", "block_size", "max_axis"):
            self.require(options[name] >= 1, options, name, "be 1 or more")
        self.require(options["start"] >= 0, options, "start", "not be negative")

    def init_state(self, parameter: Tensor) -> State:
        """Return zero-initialised moments. Factors are added with the first gradient."""
        return {**adam_state(parameter), "blocks": []}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        beta1, beta2 = group["betas"]
        for gradient, state in zip(gradients, states, strict=True):
            for block, factors in _pairs(gradient, state, group):
                _move_factors(block, factors, state["step"], group)
        steps, firsts, seconds = move_moments(group, gradients, states)
        due = [state for state in states if state["step"] % group["precondition_frequency"] == 0]
        self._compute_roots([block for state in due for block in state["blocks"]], group["matrix_eps"])
        ahead = list(torch._foreach_lerp(firsts, gradients, 1 - beta1))
        torch._foreach_div_(ahead, [1 - beta1**step for step in steps])
        directions = list(torch._foreach_div(ahead, corrected_roots(seconds, beta2, steps, group["eps"])))
        for index, state in enumerate(states):
            if state["blocks"] and state["step"] > group["start"]:
                directions[index] = _preconditioned(ahead[index], directions[index], state, group)
        torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])

    def _compute_roots(self, blocks: list[dict[str, Tensor]], eps: float) -> None:
        tasks = [(block, side) for block in blocks for side in ("left", "right")]
        kept = [block[f"{side}_root"] for block, side in tasks]

        def compute(numbers: Sequence[int]) -> Tensors:
            return [_inverse_root(*tasks[number], eps) for number in numbers]

        if tasks:
            torch._foreach_copy_(kept, self._share(compute, [float(len(root)) ** 3 for root in kept], kept))


def _matrix(tensor: Tensor, group: Group) -> Tensor:
    """Return a tensor with two or more axes as a matrix of inputs by outputs."""
    if group["inputs_first"]:
        return tensor.flatten(1)
    return tensor.movedim(1, -1).flatten(1).mT


def _is_preconditioned(tensor: Tensor, group: Group) -> bool:
    return tensor.ndim >= 2 and max(_matrix(tensor, group).shape) <= group["max_axis"]


def _cut(matrix: Tensor, size: int) -> list[Tensor]:
    return [block for rows in torch.split(matrix, size) for block in torch.split(rows, size, dim=1)]


def _pairs(gradient: Tensor, state: State, group: Group) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Return the blocks of a gradient, each with its factors."""
    if not _is_preconditioned(gradient, group):
        return []
    blocks = _cut(_matrix(gradient, group), group["block_size"])
    if not state["blocks"]:
        state["blocks"] = [_first_factors(block, group["matrix_eps"]) for block in blocks]
    return list(zip(blocks, state["blocks"], strict=True))


def _first_factors(block: Tensor, eps: float) -> dict[str, Tensor]:
    left, right = (torch.eye(size, dtype=block.dtype, device=block.device) for size in block.shape)
    roots = {"left_root": left.clone(), "right_root": right.clone()}
    return {"left": left * eps, "last_left": left * eps, "right": right, **roots}


def _move_factors(block: Tensor, factors: dict[str, Tensor], earlier: int, group: Group) -> None:
    """Update the factors of a block.

    Args:
        block: Gradient of the block.
        factors: Factors of the block.
        earlier: Number of previous steps.
        group: Options.
    """
    keep, root = group["betas"][1], factors["left_root"]
    right = factors["right"]
    if earlier and earlier % group["precondition_frequency"] == 0:
        last = factors["last_left"]
        top = torch.linalg.eigvalsh(last)[-1]
        damped = last + group["matrix_eps"] * top * torch.eye(len(last), dtype=last.dtype, device=last.device)
        right = right * ((root * (damped @ root)).sum().clamp(min=0) / len(block))
        factors["last_left"] = factors["left"].clone()
    factors["left"].lerp_(block @ block.mT, 1 - keep)
    half = root @ block
    factors["right"] = torch.lerp(right, half.mT @ half / len(block), 1 - keep)


def _inverse_root(block: dict[str, Tensor], side: str, eps: float) -> Tensor:
    """Return the inverse square root of a damped factor, or the previous root if the computation fails."""
    try:
        values, vectors = eigh(block[side])
    except LinAlgError:
        return block[f"{side}_root"]
    top = values[-1].clamp(min=torch.finfo(values.dtype).tiny)
    values = values.clamp(min=0) + eps * top
    result = ((vectors * values.rsqrt()) @ vectors.mT).contiguous()
    return result if result.isfinite().all() else block[f"{side}_root"]


def _preconditioned(u: Tensor, graft: Tensor, state: State, group: Group) -> Tensor:
    """Return u with both roots applied, scaled to the norm of the graft."""
    matrix = _matrix(u, group)
    turned: Tensor = torch.empty_like(matrix)
    size = group["block_size"]
    for part, block, factors in zip(_cut(turned, size), _cut(matrix, size), state["blocks"], strict=True):
        part.copy_(factors["left_root"] @ block @ factors["right_root"])
    turned *= graft.norm() / turned.norm().clamp(min=torch.finfo(turned.dtype).tiny)
    if group["inputs_first"]:
        return turned.view_as(u)
    sides = u.movedim(1, -1).shape
    return turned.mT.reshape(sides).movedim(-1, 1).contiguous()
