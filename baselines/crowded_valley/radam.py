"""RAdam and AdaBelief."""

from __future__ import annotations

from dataclasses import KW_ONLY

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.optim import AdaBelief, RAdam

from ..arguments import with_arguments
from .recipe import ValleyAdamRecipe
from .spaces import ADAM


@with_arguments
class ValleyRAdam(ValleyAdamRecipe):
    """RAdam of the Crowded Valley study; its first steps, which are not rectified, are those of SGD with momentum.

    Reference: Liu et al. 2020, https://arxiv.org/abs/1908.03265; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    search_space = ADAM

    _: KW_ONLY
    epsilon: float = 1e-7

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return RAdam."""
        return RAdam(model.parameters(), **self.options)


@with_arguments
class ValleyAdaBelief(ValleyAdamRecipe):
    """AdaBelief of the Crowded Valley study, with RAdam's rectification.

    Reference: Zhuang et al. 2020, https://arxiv.org/abs/2010.07468; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    search_space = ADAM

    _: KW_ONLY
    epsilon: float = 1e-14

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return AdaBelief."""
        return AdaBelief(model.parameters(), **self.options)
