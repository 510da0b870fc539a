"""Updates that respect the symmetry of a layer: polar factors, and normalised rows or columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.foreach import Group, State, Tensors
from algoperf_lightning.optim.matrix_optimizer import MatrixOptimizer
from algoperf_lightning.optim.orthogonal import DIALECTS, blocks_of_rows, joined, orthogonal_each

_EPS = 1e-8


class PolarGrad(MatrixOptimizer):
    """Updates each matrix in a direction computed from its averaged gradient with the rule of its group.

    With gradient g, flattened to a matrix of the first axis by all other axes::

        m <- b m + (1 - b) g;  p <- p (1 - lr * weight_decay) - lr u

    where u depends on ``rule``:

    * ``orthogonal``: sqrt(max(1, rows / columns)) orthogonal(m), as in Muon, for hidden layers;
    * ``polar``: n^alpha m (m^T m)^(-1/2), where n is the inner product of m and m (m^T m)^(-1/2), which is the nuclear
      norm of m;
    * ``polar_row``: ``polar`` followed by dividing each row by its norm, for embeddings ``(tokens, width)``;
    * ``row``: each row of m divided by its norm, for embeddings;
    * ``row_centered``: ``row`` of m minus its mean row, with the mean row of the result subtracted again, for an output
      layer;
    * ``column``: each column of m divided by its norm.

    Symmetries: the loss is invariant to permutations of the tokens and rotations of the width of an embedding. For an
    output layer with softmax, it is also invariant to the mean row.

    The inverse root is computed with five iterations of Polar Express. Other groups and tensors are updated with
    ``torch.optim.AdamW``.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1). b is the first. AdamW uses both.
        eps: eps of AdamW.
        weight_decay: Decoupled weight decay.
        rule: Name of a rule listed above.
        alpha: Exponent of the nuclear norm in ``polar`` and ``polar_row``.
        split: Numbers of rows of the blocks that ``orthogonal`` treats as separate matrices; empty for the whole
            tensor.
        matrices: Whether tensors with two or more axes in a group use the rule of the group instead of AdamW.
        shard: Whether to shard the orthogonalisation over the ranks.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Lau and Su 2026, https://arxiv.org/abs/2605.18106.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        rule: str = "orthogonal",
        alpha: float = 1.0,
        split: tuple[int, ...] = (),
        matrices: bool = True,
        *,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "rule": rule}
        super().__init__(
            params,
            {**defaults, "alpha": alpha, "split": split},
            matrices=matrices,
            shard=shard,
            process_group=process_group,
        )

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        rules = ("orthogonal", *_RULES)
        self.require(options["rule"] in rules, options, "rule", f"be one of {', '.join(rules)}")
        self.require(options["alpha"] >= 0, options, "alpha", "not be negative")

    def update_matrices(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        for gradient, state in zip(gradients, states, strict=True):
            if not state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
        momenta = [state["momentum_buffer"] for state in states]
        torch._foreach_lerp_(momenta, gradients, 1 - group["betas"][0])
        if group["rule"] == "orthogonal":
            directions = self._orthogonal(group, momenta)
        else:
            rule = _RULES[group["rule"]]
            directions = [rule(m.flatten(1), group["alpha"]).view(m.shape) for m in momenta]
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])

    def _orthogonal(self, group: Group, momenta: Tensors) -> Tensors:
        blocks = orthogonal_each(blocks_of_rows(momenta, group["split"]), share=self._share)
        torch._foreach_mul_(blocks, [max(1.0, len(o) ** 2 / o.numel()) ** 0.5 for o in blocks])
        return joined(blocks, len(group["split"]))


def _rows(m: Tensor, alpha: float) -> Tensor:
    lengths: Tensor = m.norm(dim=1, keepdim=True)
    return m / (lengths + _EPS)


def _polar(m: Tensor, alpha: float) -> Tensor:
    """Return m times the inverse root of m^T m. The root and the matrix are iterated together."""
    gram = m.mT @ m
    gram.diagonal().add_(_EPS)
    divisor = 1.02 * gram.norm() + _EPS
    gram = gram / divisor
    root: Tensor | None = None
    dialect = DIALECTS["polar_express"]
    for a, b, c in dialect.coefficients[: dialect.steps]:
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        root = factor if root is None else root @ factor
        gram = gram @ factor @ factor
    assert root is not None
    u = m @ (root / divisor.sqrt())
    result: Tensor = u * (m * u).sum().pow(alpha)
    return result


def _centered_rows(m: Tensor, alpha: float) -> Tensor:
    u = _rows(m - m.mean(0, keepdim=True), alpha)
    return u - u.mean(0, keepdim=True)


_RULES: Mapping[str, Callable[[Tensor, float], Tensor]] = MappingProxyType(
    {
        "polar": _polar,
        "polar_row": lambda m, alpha: _rows(_polar(m, alpha), alpha),
        "row": _rows,
        "row_centered": _centered_rows,
        "column": lambda m, alpha: m / (m.norm(dim=0, keepdim=True) + _EPS),
    }
)
