"""Generalized Adam, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .momentum import begin_momentum
from .nadamw import NadamWOptimizer
from .ranges import RANGES
from .schedules import warmup_cosine_schedule

_POINT_KEYS = (
    "learning_rate",
    "beta1",
    "beta2",
    "weight_decay",
    "warmup_factor",
    "disable_preconditioning",
    "dropout_rate",
    "label_smoothing",
    "horizon_factor",
)
_POINTS = (
    (1.9487942250159782, 0.9721703824185486, 0.0, 0.00024022723093685417, 0.1, True, 0.1, 0.2, 1.0),
    (0.0023792566965593815, 0.9800966478498105, 0.9632738717172477, 0.3417568278549717, 0.01, False, 0.0, 0.0, 0.75),
    (0.003705201967500061, 0.9735338788784104, 0.9785557586542197, 0.022670946869370066, 0.1, False, 0.1, 0.2, 0.75),
    (0.0014271957958295392, 0.9661952124707597, 0.9957304053273589, 0.09153141484048229, 0.01, False, 0.1, 0.1, 1.0),
    (0.001768509931943289, 0.9414979138541995, 0.9768053375036079, 0.0279513959224539, 0.02, False, 0.0, 0.2, 1.0),
)


class GeneralizedAdam(Submission):
    """NadamW or, without preconditioning, Nesterov momentum with decoupled decay, as the point says.

    Linear warm-up, cosine decay to 0 over a share of the step hint; all parameters are decayed. The search space is the
    benchmark entry's list of five points, the default its third: the first is momentum with a learning rate that small
    workloads do not survive.

    Deviations: names of hyperparameters (``horizon_factor`` was ``cosine_decay_fraction``, ``warmup_factor`` was
    ``warmup_steps_fraction``); one dropout rate for all layers, where point 5 had 0 and 0.1 of another kind.

    Args:
        learning_rate: Peak learning rate.
        beta1: Decay rate of the first moment, or the momentum.
        beta2: Decay rate of the second moment.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        warmup_factor: Share of the horizon spent warming up.
        disable_preconditioning: Momentum in place of NadamW.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        label_smoothing: Label smoothing of the training loss.
        horizon_factor: Steps until the learning rate is 0, as a share of the step hint.
        epsilon: Added to the root of the second moment.

    Reference: the entry "Generalized Adam" of the AlgoPerf v0.5 leaderboard; Kasimbeg et al. 2025,
    https://arxiv.org/abs/2502.15015.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = {**RANGES, "beta1": "(0, 1)"}  # as Nesterov's momentum
    search_space: ClassVar[list[dict[str, Any]]] = [dict(zip(_POINT_KEYS, point, strict=True)) for point in _POINTS]

    def __init__(
        self,
        learning_rate: float = 0.003705201967500061,
        beta1: float = 0.9735338788784104,
        beta2: float = 0.9785557586542197,
        weight_decay: float = 0.022670946869370066,
        warmup_factor: float = 0.1,
        disable_preconditioning: bool = False,
        dropout_rate: float | None = 0.1,
        label_smoothing: float = 0.2,
        horizon_factor: float = 0.75,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = (beta1, beta2)
        self.weight_decay = weight_decay
        self.warmup_factor = warmup_factor
        self.disable_preconditioning = disable_preconditioning
        self.dropout = dropout_rate
        self.label_smoothing = label_smoothing
        self.horizon_factor = horizon_factor
        self.epsilon = epsilon

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return NadamW or momentum, and the schedule."""
        optimizer: torch.optim.Optimizer
        if self.disable_preconditioning:
            optimizer = DecoupledNesterov(
                model.parameters(), lr=self.learning_rate, momentum=self.betas[0], decoupled_decay=self.weight_decay
            )
        else:
            optimizer = NadamWOptimizer(
                model.parameters(),
                lr=self.learning_rate,
                betas=self.betas,
                eps=self.epsilon,
                weight_decay=self.weight_decay,
            )
        horizon = int(self.horizon_factor * workload.step_hint)
        schedule = warmup_cosine_schedule(optimizer, horizon=horizon, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class DecoupledNesterov(torch.optim.SGD):
    """torch's SGD with Nesterov momentum, and weight decay that does not pass through the momentum.

    With gradient g and momentum b: ``b <- g + mu b;  p <- p - lr * (g + mu b + decoupled_decay p)``.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: mu.
        decoupled_decay: Weight decay.

    Raises:
        BadInputError: If the weight decay is negative.
        ValueError: If an option of SGD is out of its range.
    """

    def __init__(self, params: Any, lr: float, momentum: float, decoupled_decay: float) -> None:
        super().__init__(params, lr=lr, momentum=momentum, nesterov=True, fused=True)
        for group in self.param_groups:
            if not group.setdefault("decoupled_decay", decoupled_decay) >= 0:
                raise BadInputError(
                    f"{type(self).__name__}: decoupled_decay must not be negative, but got {group['decoupled_decay']}."
                )
        begin_momentum(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step and return what the closure returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["decoupled_decay"])
        super().step()
        return loss
