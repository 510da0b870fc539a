"""Shared base of the study's optimizers: a schedule in epochs, and the switch to the published behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.contract import Contract
from algoperf_lightning.submission import Submission
from algoperf_lightning.utilities.inputs import nearest_or_raise
from algoperf_lightning.view import WorkloadView

from ..arguments import check_decorated, with_arguments
from ..batch_sizes import USUAL
from ..ranges import RANGES
from ..recipe import NO_FLOAT16
from .schedules import SCHEDULES, ScheduleName, epoch_schedule


@with_arguments
class ValleyRecipe(Submission):
    """Base of the study's optimizers: no weight decay, and a schedule whose factor is constant within an epoch.

    Args:
        learning_rate: Learning rate, which the schedule multiplies.
        schedule: constant, cosine, cosine-restarts or trapezoid.
        faithful: Whether to reproduce the published runs: the trapezoid starts with an epoch at the full learning rate,
            and restarts come after 10, 30, 70, ... epochs, independent of the length of the run.
    """

    contract = Contract(options={"schedule": "cosine"})

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES

    learning_rate: float = 0.01
    _: KW_ONLY
    schedule: ScheduleName = "constant"
    faithful: bool = False

    def __post_init__(self) -> None:
        """Check the schedule's name."""
        check_decorated(type(self))
        nearest_or_raise("schedule", self.schedule, SCHEDULES)

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of a model's parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define make_optimizer(self, model).")

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return the optimizer and its schedule."""
        optimizer = self.make_optimizer(model)
        return {
            "optimizer": optimizer,
            "lr_scheduler": epoch_schedule(optimizer, workload, self.schedule, self.faithful),
        }


@with_arguments
class ValleyMomentumRecipe(ValleyRecipe):
    """The hyperparameters of SGD with momentum.

    Args:
        one_minus_momentum: 1 minus the momentum.
    """

    one_minus_momentum: float = 0.01
    nesterov: ClassVar[bool] = False

    @property
    def momentum(self) -> float:
        """The momentum."""
        return 1 - self.one_minus_momentum


@with_arguments
class ValleyAdamRecipe(ValleyRecipe):
    """The hyperparameters of Adam.

    Args:
        beta1: Decay rate of the first moment.
        beta2: Decay rate of the second moment.
        epsilon: Added to the root of the second moment.
    """

    contract = Contract(exempt=NO_FLOAT16, options={"schedule": "cosine"})

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    _: KW_ONLY
    epsilon: float = 1e-8

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of an optimizer with the interface of Adam."""
        return {"lr": self.learning_rate, "betas": (self.beta1, self.beta2), "eps": self.epsilon}
