"""PolarGrad."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from algoperf_lightning.optim import PolarGrad as PolarGradOptimizer
from algoperf_lightning.roles import ParameterRole, Role
from algoperf_lightning.spec import LossType
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .matrix_groups import HIDDEN
from .recipe import Recipe

_LONGEST = 1_000_000
"""Tables with at least this many rows are trained by AdamW: rows of rare tokens would move as far as all others."""

_SHIFT_INVARIANT = (LossType.SOFTMAX_CROSS_ENTROPY, LossType.CTC)
"""Losses that do not change if the same number is added to all outputs. The mean row of other outputs matters: a single
logit has no other row."""


@with_arguments
class PolarGrad(Recipe):
    """Updates that keep the symmetry of each layer: rows of one length for embeddings and the output layer.

    Updates of matrices and convolutions of hidden layers are orthogonal matrices (one each for fused queries, keys and
    values). Each row of an embedding and of the output layer moves by the same length. The mean row of an output layer
    with softmax is subtracted before, since the loss does not depend on it. AdamW trains norms and biases. Momentum
    without Nesterov, cosine decay to 0. Not an entry of the benchmark: the default point is that of the authors'
    language models, with a warm-up of 5 % and our weight decay.

    Deviations: layers are recognised by the roles of their parameters. The authors' rules for the two matrices of a
    gated layer, by neuron, are not used. A tied embedding moves as an output layer, without subtracting the mean row.
    Tables with a million rows or more (that of ``criteo1tb``) are trained by AdamW.

    Args:
        learning_rate: Peak learning rate of hidden layers.
        one_minus_beta: 1 minus the decay rate of the momentum and of both moments of AdamW.
        embedding_lr_multiplier: Peak learning rate of embeddings, as a multiple of ``learning_rate``.
        output_lr_multiplier: The same of the output layer and of tied embeddings.
        adamw_lr_multiplier: The same of AdamW.
        table_rule: Direction of embeddings and the output layer: rows of equal length (``row``), or the polar factor
            with rows of equal length (``polar_row``).
        polar_split: Which parts of a tensor with queries, keys or values are orthogonalised separately: each of its
            ``matrices``, or each of their ``heads``.
        epsilon: Added to the root of AdamW's second moment.
        shard: Whether ranks share the orthogonalisation of matrices, which gives the same result in less time.

    Reference: Lau and Su 2026, https://arxiv.org/abs/2605.18106.
    """

    search_space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"min": 2e-3, "max": 0.1, "scaling": "log"},
        "one_minus_beta": {"feasible_points": [0.05, 0.1]},
        "embedding_lr_multiplier": {"min": 2.0, "max": 50.0, "scaling": "log"},
        "output_lr_multiplier": {"min": 0.05, "max": 1.0, "scaling": "log"},
        "weight_decay": {"min": 0.005, "max": 0.5, "scaling": "log"},
        "table_rule": {"feasible_points": ["row", "polar_row"]},
    }

    learning_rate: float = 0.02
    one_minus_beta: float = 0.05
    embedding_lr_multiplier: float = 25.0
    output_lr_multiplier: float = 0.25
    adamw_lr_multiplier: float = 2.5
    warmup_factor: float = 0.05
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout_rate: float | None = None
    table_rule: Literal["row", "polar_row"] = "row"
    polar_split: Literal["matrices", "heads"] = "matrices"
    epsilon: float = 1e-8
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> PolarGradOptimizer:
        """Return PolarGrad, with a group for each rule, learning rate and split."""
        roles = self.parameter_roles(workload)
        groups: dict[Any, dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            options = self._options(roles[name], parameter, workload.loss_type)
            groups.setdefault(tuple(options.items()), {"params": [], **options})["params"].append(parameter)
        beta = 1 - self.one_minus_beta
        return PolarGradOptimizer(
            list(groups.values()),
            betas=(beta, beta),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            shard=self.shard,
        )

    def _options(self, role: ParameterRole, parameter: nn.Parameter, loss_type: str) -> dict[str, Any]:
        rate = self.learning_rate
        if role.role in HIDDEN:
            split = role.split if self.polar_split == "matrices" else role.rows_by_head(len(parameter))
            return {"lr": rate, "rule": "orthogonal", "split": split}
        if role.role is Role.EMBEDDING and len(parameter) < _LONGEST:
            return {"lr": rate * self.embedding_lr_multiplier, "rule": self.table_rule}
        if role.role is Role.TIED_EMBEDDING:
            return {"lr": rate * self.output_lr_multiplier, "rule": self.table_rule}
        if role.role is Role.HEAD:
            centered = self.table_rule == "row" and loss_type in _SHIFT_INVARIANT
            rule = "row_centered" if centered else self.table_rule
            return {"lr": rate * self.output_lr_multiplier, "rule": rule}
        return {"lr": rate * self.adamw_lr_multiplier, "matrices": False}
