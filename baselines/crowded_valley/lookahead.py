"""Lookahead around SGD with momentum, and around RAdam."""

from __future__ import annotations

from dataclasses import KW_ONLY

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.optim import HeavyBall, Lookahead, RAdam

from ..arguments import with_arguments
from .recipe import ValleyAdamRecipe, ValleyMomentumRecipe
from .spaces import LOOKAHEAD_MOMENTUM, LOOKAHEAD_RADAM


@with_arguments
class ValleyLookaheadMomentum(ValleyMomentumRecipe):
    """Lookahead around SGD with momentum, of the Crowded Valley study.

    The published runs updated the slow weights instead of a step: at steps 0, k, 2k, ... no gradient was used, so
    a period of 1 trains nothing. ``faithful`` reproduces this. The default updates them after every k-th step, as in
    the paper of Lookahead.

    Args:
        faithful: Whether to reproduce the published runs: schedules as in ``valley_sgd``, Lookahead as above.
        sync_period: Steps between updates of the slow weights, k.
        slow_step_size: How far the slow weights move toward the fast ones.

    Reference: Zhang et al. 2019, https://arxiv.org/abs/1907.08610; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    search_space = LOOKAHEAD_MOMENTUM

    _: KW_ONLY
    sync_period: int = 5
    slow_step_size: float = 0.5

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return Lookahead."""
        inner = HeavyBall(model.parameters(), lr=self.learning_rate, momentum=self.momentum)
        return Lookahead(inner, k=self.sync_period, alpha=self.slow_step_size, discard=self.faithful)


@with_arguments
class ValleyLookaheadRAdam(ValleyAdamRecipe):
    """Lookahead around RAdam, of the Crowded Valley study.

    The published runs updated the slow weights in place of a step, as described for ``valley_lookahead_momentum``, and
    RAdam never counted its steps, so it remained at the first one: SGD with momentum ``beta1``, without any effect
    of ``beta2`` and ``epsilon``. ``faithful`` reproduces this. The default is Lookahead around RAdam.

    Args:
        faithful: Whether to reproduce the published runs: schedules as in ``valley_sgd``, Lookahead as above.
        sync_period: Steps between updates of the slow weights, k.
        slow_step_size: How far the slow weights move toward the fast ones.

    Reference: Zhang et al. 2019, https://arxiv.org/abs/1907.08610; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    search_space = LOOKAHEAD_RADAM

    _: KW_ONLY
    epsilon: float = 1e-7
    sync_period: int = 5
    slow_step_size: float = 0.5

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return Lookahead."""
        inner: HeavyBall | RAdam = RAdam(model.parameters(), **self.options)
        if self.faithful:  # m / (1 - beta1) is the momentum of SGD
            inner = HeavyBall(model.parameters(), lr=self.learning_rate, momentum=self.beta1)
        return Lookahead(inner, k=self.sync_period, alpha=self.slow_step_size, discard=self.faithful)
