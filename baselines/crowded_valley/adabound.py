"""AdaBound and AMSBound."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.optim import AdaBound

from ..arguments import with_arguments
from .recipe import ValleyAdamRecipe
from .spaces import BOUND


@with_arguments
class ValleyAdaBound(ValleyAdamRecipe):
    """AdaBound of the Crowded Valley study: Adam with learning rates clipped to bounds that approach that of SGD.

    In the published runs, ``final_lr`` did not follow the schedule, so the lower bound overrode the schedule late in a
    run; ``faithful`` reproduces this. The default multiplies ``final_lr`` by the schedule, as the authors' code does.

    Args:
        faithful: Whether to reproduce the published runs: their schedules, as in ``valley_sgd``, without effect on
            ``final_lr``.
        final_lr: Learning rate of SGD that the bounds approach.
        gamma: How fast the bounds approach it.

    Reference: Luo et al. 2019, https://arxiv.org/abs/1902.09843; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    search_space = BOUND
    amsgrad: ClassVar[bool] = False

    _: KW_ONLY
    final_lr: float = 0.1
    gamma: float = 1e-3

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return AdaBound."""
        return AdaBound(
            model.parameters(),
            **self.options,
            final_lr=self.final_lr,
            gamma=self.gamma,
            amsgrad=self.amsgrad,
            follow_schedule=not self.faithful,
        )


@with_arguments
class ValleyAMSBound(ValleyAdaBound):
    """AMSBound of the Crowded Valley study: AdaBound with the second moment of AMSGrad."""

    amsgrad: ClassVar[bool] = True
