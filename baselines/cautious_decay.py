"""Cautious weight decay around any submission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.optim import CautiousDecay as CautiousDecayOptimizer
from algoperf_lightning.submission import Submission
from algoperf_lightning.view import WorkloadView

from .ranges import RANGES
from .wrapper import Wrapper


class CautiousDecay(Wrapper):
    """Any submission whose weight decay is applied only where a step moves a weight toward 0, or does not move it.

    The decay is decoupled and multiplied by the learning rate, whatever the wrapped submission does with its own. Not
    an entry of the benchmark: the default point is AdamW's.

    Optimizers that keep another copy of the parameters, such as the schedule-free ones, do not decay that copy: this
    wrapper is of little use for them.

    Args:
        base: The wrapped submission: a registered name, an import path, or a class. Several, from the outside to the
            inside, are separated by slashes: ``ema_nesterov/muon``.
        cautious_decay: The weight decay; None takes over the ``weight_decay`` of the wrapped submission's optimizer.
        options: Hyperparameters of the wrapped submission.

    Raises:
        BadInputError: If there is no such submission, or a hyperparameter is unknown or out of its range.

    Reference: Chen et al. 2025, https://arxiv.org/abs/2510.12402.
    """

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    search_space: ClassVar[dict[str, Any]] = {"cautious_decay": {"min": 0.005, "max": 1.0, "scaling": "log"}}

    def __init__(
        self, base: str | type[Submission] = "adamw", cautious_decay: float | None = None, **options: Any
    ) -> None:
        super().__init__(base, **options)
        self.cautious_decay = cautious_decay

    def wrap(self, optimizers: list[Optimizer], model: nn.Module, workload: WorkloadView) -> None:
        """Wrap each optimizer, and use its weight decay unless one was given."""
        for optimizer in optimizers:
            CautiousDecayOptimizer(optimizer, self.cautious_decay)
