"""CASPR Adaptive, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import AdaptiveCaspr
from algoperf_lightning.roles import Role
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .nadamw import POINTS
from .recipe import NO_FLOAT16, AdamRecipe
from .schedules import nested_cosines

_TABLES = (Role.EMBEDDING, Role.TIED_EMBEDDING)


@with_arguments
class CasprAdaptive(AdamRecipe):
    """NadamW's moments, preconditioned from both sides, with the step length of NadamW; three nested cosines.

    The right preconditioner of a matrix is averaged after the left one has been applied. The learning rate falls to 0
    three times: at 0.536, 0.75 and 1 of the step hint. Each decay starts from the value that one cosine over the whole
    step hint would have there. The search space is NadamW's list of five points, the default its first.

    Deviations: the entry's code fails on matrices with more than 1024 rows and columns, as in ``criteo1tb``; ours cuts
    them into blocks, as intended. Inverse roots are computed from eigenvalues, not by an iteration.

    Args:
        precondition_frequency: Steps between computations of inverse roots.
        preconditioning_start: Steps before the inverse roots are used.
        shard: Whether ranks share the computation of roots, which gives the same result in less time.

    Reference: the entry "CASPR Adaptive" of the AlgoPerf v0.5 leaderboard; Kasimbeg et al. 2025,
    https://arxiv.org/abs/2502.15015.
    """

    contract = Contract(exempt=NO_FLOAT16)
    search_space = POINTS

    learning_rate: float = 0.001308209823469072
    one_minus_beta1: float = 0.02686663061
    beta2: float = 0.9981232922116359
    warmup_factor: float = 0.1
    weight_decay: float = 0.16375311233774334
    label_smoothing: float = 0.1
    dropout_rate: float | None = 0.0
    precondition_frequency: int = 20
    preconditioning_start: int = 101
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> AdaptiveCaspr:
        """Return CASPR, with a separate group for embeddings, whose first axis is their input."""
        roles = self.parameter_roles(workload)
        groups: list[dict[str, Any]] = [{"params": [], "inputs_first": first} for first in (False, True)]
        for name, parameter in model.named_parameters():
            groups[roles[name].role in _TABLES]["params"].append(parameter)
        return AdaptiveCaspr(
            [group for group in groups if group["params"]],
            **self.adam_options,
            precondition_frequency=self.precondition_frequency,
            start=self.preconditioning_start,
            shard=self.shard,
        )

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the three cosines."""
        return LambdaLR(optimizer, partial(nested_cosines, horizon=step_hint, warmup_factor=self.warmup_factor))
