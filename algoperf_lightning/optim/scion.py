"""Scion: steps of a fixed size in a norm that is chosen for each kind of parameter."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors
from algoperf_lightning.optim.orthogonal import DTYPES, orthogonal_each
from algoperf_lightning.optim.sharding import Share, compute_here, sharing


class Scion(ForeachOptimizer):
    """Moves each parameter by the minimiser of its averaged gradient over a ball of a norm (without the sign).

    With gradient g, radius ``scale`` and the minimiser lmo of the group's norm::

        d <- beta d + (1 - beta) g
        p <- (1 - lr) p, if constrained;  p <- p - lr * scale * lmo(d)

    In the constrained form, p stays in the ball of that radius once it is there, and the learning rate is also the
    weight decay. In the unconstrained form with the norm ``spectral``, it is Muon with a plain moving average and
    another scale.
    The length of a step depends only on lr and scale, except that a gradient of zeros moves nothing.

    Of a matrix ``(m, n)`` (outputs by inputs; all axes but the first are the inputs), lmo(d) is:

    * ``spectral``: sqrt(m / n) orthogonal(d); ``spectral_max``: at least orthogonal(d), for an input layer;
    * ``convolution``: as a matrix of output channels by the rest, sqrt(out / in) orthogonal(d) over k^(number of sides)
      with k the first side of the kernel;
    * ``sign``: sign(d) / n, for an output layer or a tied embedding;
    * ``row``: each row over its length and sqrt(n), another choice for an output layer;
    * ``column``: each column over the root mean square of its entries, for an embedding ``(width, tokens)``;
    * ``token``: each row over the root mean square of its entries, for an embedding ``(tokens, width)``;
    * ``rms``: d over the root mean square along its first axis, for biases and norms;
    * ``auto``: ``convolution`` from three axes on, ``spectral`` for two, ``rms`` below.

    Deviation: nothing is done to the initial weights, which belong to the model. The authors draw them from the norms'
    balls and scale them by ``scale``, so their settings do not carry over unchanged.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate; in the constrained form at most 1.
        beta: Decay rate of the averaged gradient, in [0, 1): 1 minus the ``momentum`` of the authors' code. At 0 there
            is no state.
        scale: Radius of the ball.
        norm: A name above.
        constrained: Whether parameters decay towards 0.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.
        shard: Whether to shard the orthogonalisation over the ranks.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Pethick et al. 2025, https://arxiv.org/abs/2502.07529.
    """

    _share: Share = staticmethod(compute_here)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        beta: float = 0.9,
        scale: float = 1.0,
        norm: str = "auto",
        constrained: bool = True,
        newton_schulz_dtype: str = "float32",
        *,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        options = {"norm": norm, "constrained": constrained, "newton_schulz_dtype": newton_schulz_dtype}
        super().__init__(params, {"lr": lr, "beta": beta, "scale": scale, **options})
        self._share = sharing(shard, process_group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group after checking its options and that its norm fits the shapes of its parameters."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        norm = group["norm"]
        least = _LEAST_AXES.get(norm, 0)
        if flat := [tuple(p.shape) for p in group["params"] if p.ndim < least]:
            raise BadInputError(
                f"{type(self).__name__}: the norm {norm!r} needs tensors of {least} axes or more, but got {flat}."
            )

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(0 <= options["beta"] < 1, options, "beta", "be in [0, 1)")
        self.require(options["scale"] > 0, options, "scale", "be positive")
        names = ("auto", *_MATRICES, *_OTHERS)
        self.require(options["norm"] in names, options, "norm", f"be one of {', '.join(names)}")
        self.require(not options["constrained"] or options["lr"] <= 1, options, "lr", "be at most 1 if constrained")
        dtypes = f"be one of {', '.join(DTYPES)}"
        self.require(options["newton_schulz_dtype"] in DTYPES, options, "newton_schulz_dtype", dtypes)

    def init_state(self, parameter: Tensor) -> State:
        """Return nothing: the average is added with the first gradient, if there is one."""
        return {}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        moves = self._minimisers(group, _averaged(group["beta"], gradients, states))
        if group["constrained"]:
            torch._foreach_mul_(parameters, 1 - group["lr"])
        torch._foreach_add_(parameters, moves, alpha=-group["lr"] * group["scale"])

    def _minimisers(self, group: Group, averages: Tensors) -> Tensors:
        by_norm: dict[str, list[int]] = defaultdict(list)
        for index, average in enumerate(averages):
            by_norm[_norm_of(average, group["norm"])].append(index)
        found: dict[int, Tensor] = {}
        for norm, indices in by_norm.items():
            chosen = [averages[index] for index in indices]
            if norm in _MATRICES:
                results = orthogonal_each(chosen, dtype=DTYPES[group["newton_schulz_dtype"]], share=self._share)
                torch._foreach_mul_(results, [_MATRICES[norm](result) for result in results])
            else:
                results = [_OTHERS[norm](average) for average in chosen]
            found.update(zip(indices, results, strict=True))
        return [found[index] for index in range(len(averages))]


def _averaged(beta: float, gradients: Tensors, states: list[State]) -> Tensors:
    if not beta:
        return gradients
    for gradient, state in zip(gradients, states, strict=True):
        if "average" not in state:
            state["average"] = torch.zeros_like(gradient)
    averages = [state["average"] for state in states]
    torch._foreach_lerp_(averages, gradients, 1 - beta)
    return averages


def _norm_of(tensor: Tensor, norm: str) -> str:
    if norm != "auto":
        return norm
    return "convolution" if tensor.ndim > 2 else "spectral" if tensor.ndim == 2 else "rms"


def _inputs(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])


_MATRICES: Mapping[str, Callable[[Tensor], float]] = MappingProxyType(
    {
        "spectral": lambda o: (len(o) / _inputs(o)) ** 0.5,
        "spectral_max": lambda o: max(1.0, len(o) / _inputs(o)) ** 0.5,
        "convolution": lambda o: (o.shape[0] / o.shape[1]) ** 0.5 / o.shape[2] ** (o.ndim - 2),
    }
)
"""By what an orthogonal matrix is multiplied, by the name of the norm."""

_LEAST_AXES = {"spectral": 2, "spectral_max": 2, "convolution": 3, "row": 2}

_OTHERS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "sign": lambda d: d.sign() / _inputs(d),
        "row": lambda d: d / (d.norm(dim=-1, keepdim=True) * d.shape[-1] ** 0.5 + 1e-8),
        "column": lambda d: d / (d.square().mean(0, keepdim=True).sqrt() + 1e-8),
        "token": lambda d: d / (d.square().mean(-1, keepdim=True).sqrt() + 1e-8),
        "rms": lambda d: d / (d.square().mean(0, keepdim=True).sqrt() + 1e-8) if d.ndim else d / (d.abs() + 1e-8),
    }
)
"""The minimiser, by the name of the norm."""
