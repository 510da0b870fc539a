"""Amos, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import Amos as AmosOptimizer
from algoperf_lightning.optim.amos import Style, base_learning_rate
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import Recipe

_K = ParameterKind
_SCALES = (_K.BATCH_NORM_SCALE, _K.LAYER_NORM_SCALE)
_BIASES = (_K.BIAS, _K.BATCH_NORM_BIAS, _K.LAYER_NORM_BIAS, _K.ATTENTION_BIAS)
_OVERRIDDEN = (_K.WEIGHT, _K.BIAS, _K.EMBEDDING)


@with_arguments
class Amos(Recipe):
    """Amos: learning rates and weight decay follow from the expected scale of each tensor and the number of steps.

    Linear warm-up, then no schedule except that of Amos; gradients are clipped to a norm of 1. The expected scale of an
    element is 1 in embeddings and scales of norms, 0.5 in biases, sqrt(2 / inputs) in weights, and sqrt(1 / inputs) in
    convolutions and attention, as in the benchmark's entry. Each row of an embedding, and each head of queries, keys
    and values, has its own decay.

    **The entry's five points are unknown:** its code is public, but we did not find its list of points. The rule is
    the entry's; the default point and the search space are ours.

    Deviations: in JAX, each head is a slice of one axis; here it is a block of rows, if a module declares their number.
    Fused queries, keys and values are treated as if they were separate.

    Args:
        warmup_factor: Share of the step hint spent warming up.
        converge_factor: Steps within which the model is to converge, as a share of the step hint after warm-up; it
            determines the learning rate.
        beta1: Decay rate of the first moment, or of the steps.
        beta2: Decay rate of the second moment.
        l2: Strength of an additional regularisation.
        eta_override: Expected scale of all weights, biases and embeddings, instead of the rule.
        style: Adam's second moment (``adam``), or one for each block (``reduced``), with less memory.
        gradient_clip: Largest norm of the whole gradient.

    Reference: Tian and Parikh 2022, https://arxiv.org/abs/2210.11693; the entry "Amos" of the AlgoPerf v0.5
    leaderboard.
    """

    contract = Contract(
        exempt={
            "convolution": "The published scale of convolutions is sqrt(1 / inputs), that of weights sqrt(2 / inputs).",
            "schedule": "The learning rate is constant after warm-up; steps decrease by a rule of Amos itself.",
        }
    )
    search_space: ClassVar[dict[str, Any]] = {
        "converge_factor": {"min": 0.1, "max": 3.0, "scaling": "log"},
        "beta1": {"feasible_points": [0.9, 0.95]},
        "beta2": {"feasible_points": [0.99, 0.999]},
        "l2": {"feasible_points": [0.0, 0.1, 1.0]},
        "style": {"feasible_points": ["adam", "reduced"]},
    }

    warmup_factor: float = 0.05
    converge_factor: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    l2: float = 0.0
    eta_override: float | None = None
    style: Style = "adam"
    label_smoothing: float = 0.1
    dropout_rate: float | None = None
    gradient_clip: float | None = 1.0

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> AmosOptimizer:
        """Return Amos, with a group for each expected scale and number of blocks."""
        groups: dict[tuple[float, int], list[nn.Parameter]] = {}
        kinds, roles = workload.parameter_kinds, self.parameter_roles(workload)
        for name, parameter in model.named_parameters():
            kind, role = kinds[name], roles[name]
            blocks = len(parameter) if kind is _K.EMBEDDING else 1
            if parameter.ndim >= 2 and kind is not _K.EMBEDDING:
                blocks = len(role.rows_by_head(len(parameter))) or 1
            groups.setdefault((self._scale(kind, parameter), blocks), []).append(parameter)
        largest = max(p.numel() // blocks for (_, blocks), parameters in groups.items() for p in parameters)
        steps = workload.step_hint * (1 - self.warmup_factor * 2 / 3)
        return AmosOptimizer(
            [{"params": parameters, "eta": eta, "blocks": blocks} for (eta, blocks), parameters in groups.items()],
            lr=base_learning_rate(largest, self.converge_factor * steps),
            betas=(self.beta1, self.beta2),
            l2=self.l2,
            style=self.style,
        )

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the warm-up, whose first step is not 0."""
        return LambdaLR(optimizer, partial(_warmup, steps=self.warmup_factor * step_hint))

    def _scale(self, kind: ParameterKind, parameter: nn.Parameter) -> float:
        """Return the expected scale of the elements of a parameter."""
        if self.eta_override is not None and kind in _OVERRIDDEN:
            return self.eta_override
        if kind in _SCALES or kind is _K.EMBEDDING:
            return 1.0
        if kind in _BIASES or parameter.ndim < 2:
            return 0.5
        inputs = parameter.numel() / len(parameter)
        return math.sqrt((2 if kind is _K.WEIGHT else 1) / inputs)


def _warmup(step: int, steps: float) -> float:
    return min(1.0, (step + 1) / steps) if steps > 0 else 1.0
