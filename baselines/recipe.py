"""Base class of the baselines: hyperparameters are fields, a subclass creates the optimizer, and the rest is shared.

The file of a baseline contains only its docstring, defaults, batch sizes, search space and optimizer.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import KW_ONLY
from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.contract import EVERY_ROLE, Contract
from algoperf_lightning.roles import ParameterRole
from algoperf_lightning.submission import Submission
from algoperf_lightning.view import WorkloadView

from .arguments import check_decorated, with_arguments
from .batch_sizes import USUAL
from .ranges import RANGES
from .schedules import warmup_cosine_schedule

USUAL_SYMMETRIES = {"permutation": EVERY_ROLE, "sign": EVERY_ROLE, "scale": EVERY_ROLE}
"""Symmetries of optimizers whose steps follow rows and columns, and do not depend on the scale of the loss."""
NO_FLOAT16 = {
    "float16": "Squares of small gradients are 0 in float16, and so is eps. 16-mixed keeps parameters in float32."
}
"""Checks that do not apply to optimizers whose moments have the precision of the parameters."""


class Recipe(Submission):
    """Base of the baselines: an optimizer, linear warm-up, cosine decay to 0; all parameters are decayed.

    A subclass is decorated with :func:`~.arguments.with_arguments`, declares its hyperparameters as fields, and defines
    :meth:`make_optimizer`. The hyperparameters below mean the same in each baseline that has them.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        epsilon: Added to the root of the second moment.
        warmup_steps: Steps of warm-up, in place of ``warmup_factor``.
        horizon_steps: Steps until the learning rate is 0; None is the step hint.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES

    learning_rate: float
    one_minus_beta1: float
    beta2: float
    warmup_factor: float
    weight_decay: float
    epsilon: float
    dropout_rate: float | None = None
    warmup_steps: int | None = None
    horizon_steps: int | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Resolve the types of a user's own constructor: jsonargparse would look for them among the fields."""
        super().__init_subclass__(**options)
        if constructor := vars(cls).get("__init__"):
            with suppress(NameError):
                constructor.__annotations__ = typing.get_type_hints(constructor)

    def __post_init__(self) -> None:
        """Pass the dropout rate on."""
        check_decorated(type(self))
        self.dropout = self.dropout_rate

    @property
    def adam_options(self) -> dict[str, Any]:
        """Options of an optimizer with the arguments of Adam."""
        return {
            "lr": self.learning_rate,
            "betas": (1 - self.one_minus_beta1, self.beta2),
            "eps": self.epsilon,
            "weight_decay": self.weight_decay,
        }

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> Optimizer:
        """Return the optimizer; arguments as in :meth:`configure_optimizers`."""
        raise NotImplementedError(f"{type(self).__name__} must define make_optimizer(self, model, workload).")

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return the optimizer and its schedule."""
        optimizer = self.make_optimizer(model, workload)
        return {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer, workload.step_hint)}

    def parameter_roles(self, workload: WorkloadView) -> dict[str, ParameterRole]:
        """Return the role of each parameter, for baselines that treat matrices separately; override it to change some.

        The keyword ``overrides`` of :func:`~algoperf_lightning.roles.parameter_roles` takes roles by pattern of name.
        """
        return workload.parameter_roles

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the schedule of the learning rate."""
        return warmup_cosine_schedule(
            optimizer,
            horizon=self.horizon_steps or step_hint,
            warmup_factor=self.warmup_factor,
            warmup_steps=self.warmup_steps,
        )


@with_arguments
class AdamRecipe(Recipe):
    """The hyperparameters of Adam; a subclass's own come before ``epsilon``."""

    contract = Contract(symmetries=USUAL_SYMMETRIES)

    learning_rate: float = 2e-3
    one_minus_beta1: float = 0.1
    beta2: float = 0.999
    warmup_factor: float = 0.05
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    dropout_rate: float | None = None
    _: KW_ONLY
    epsilon: float = 1e-8


@with_arguments
class MomentumRecipe(Recipe):
    """The hyperparameters of an optimizer with one moment."""

    learning_rate: float = 2e-3
    one_minus_beta1: float = 0.1
    warmup_factor: float = 0.05
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    dropout_rate: float | None = None

    @property
    def beta1(self) -> float:
        """Decay rate of the moment."""
        return 1 - self.one_minus_beta1
