"""Scion: steps of fixed size in a norm that depends on the type of parameter."""

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
    """Updates each parameter with the minimiser of its averaged gradient over a norm ball (without the sign).

    With gradient g, radius ``scale`` and the linear minimisation oracle lmo of the norm of the group::

        d <- beta d + (1 - beta) g
        p <- (1 - lr) p, if constrained;  p <- p - lr * scale * lmo(d)

    In the constrained form, p remains in the ball of that radius once it has entered it, and the learning rate is also
    the weight decay. The unconstrained form with the norm ``spectral`` is Muon with a standard moving average and a
    different scale. The step length depends only on lr and scale, except that a zero gradient has no effect.

    For a matrix ``(m, n)`` of outputs by inputs, where all axes except the first are inputs, lmo(d) is:

    * ``spectral``: sqrt(m / n) orthogonal(d); ``spectral_max``: max(1, sqrt(m / n)) orthogonal(d), for an input layer;
    * ``convolution``: with d as a matrix of output channels by all other axes, sqrt(out / in) orthogonal(d) divided by
      k^(number of spatial axes), where k is the first spatial size of the kernel;
    * ``sign``: sign(d) / n, for an output layer or a tied embedding;
    * ``row``: each row divided by its norm and by sqrt(n), an alternative for an output layer;
    * ``column``: each column divided by the root mean square of its entries, for an embedding ``(width, tokens)``;
    * ``token``: each row divided by the root mean square of its entries, for an embedding ``(tokens, width)``;
    * ``rms``: d divided by its root mean square along the first axis, for biases and norms;
    * ``auto``: ``convolution`` for three or more axes, ``spectral`` for two, ``rms`` for fewer.

    Deviation: the initial weights of the model are not changed. The authors draw them from the norm balls and multiply
    them by ``scale``, so their hyperparameters do not transfer directly.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate, at most 1 in the constrained form.
        beta: Decay rate of the averaged gradient, in [0, 1), equal to 1 minus the ``momentum`` of the authors' code.
            With 0, there is no state.
        scale: Radius of the ball.
        norm: Name of a norm listed above.
        constrained: Whether to use the constrained form, in which parameters decay towards 0.
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
        """Add a group after checking its options and whether its norm supports the shapes of its parameters."""
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
        """Return an empty state. The average, if any, is added with the first gradient."""
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
"""Scale factor of an orthogonal matrix, by name of the norm."""

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
"""Linear minimisation oracle, by name of the norm."""
