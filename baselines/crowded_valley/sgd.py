"""SGD, with and without momentum."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.optim.momentum import begin_momentum

from ..arguments import with_arguments
from .recipe import ValleyMomentumRecipe, ValleyRecipe
from .spaces import of_rate


@with_arguments
class ValleySGD(ValleyRecipe):
    """SGD of the Crowded Valley study.

    Reference: Robbins and Monro 1951; Schmidt et al. 2021, https://arxiv.org/abs/2007.01547.
    """

    search_space = of_rate()

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return torch's SGD."""
        return torch.optim.SGD(model.parameters(), lr=self.learning_rate, fused=True)


@with_arguments
class ValleyMomentum(ValleyMomentumRecipe):
    """SGD with heavy-ball momentum of the Crowded Valley study; the momentum of the default point is 0.99.

    Reference: Polyak 1964; Schmidt et al. 2021, https://arxiv.org/abs/2007.01547.
    """

    search_space = of_rate("one_minus_momentum")

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return torch's SGD."""
        nesterov = self.nesterov and self.momentum > 0  # at 0 both are SGD, but torch refuses it
        options: dict[str, Any] = {"lr": self.learning_rate, "momentum": self.momentum, "nesterov": nesterov}
        optimizer = torch.optim.SGD(model.parameters(), **options, fused=True)
        begin_momentum(optimizer)
        return optimizer


@with_arguments
class ValleyNAG(ValleyMomentum):
    """SGD with Nesterov momentum of the Crowded Valley study; the momentum of the default point is 0.99.

    Reference: Nesterov 1983; Schmidt et al. 2021, https://arxiv.org/abs/2007.01547.
    """

    nesterov: ClassVar[bool] = True
