"""Adagrad, Adadelta and RMSProp."""

from __future__ import annotations

from dataclasses import KW_ONLY

import torch
from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import TFRMSprop

from ..arguments import with_arguments
from ..recipe import NO_FLOAT16
from .recipe import ValleyRecipe
from .spaces import of_rate


@with_arguments
class ValleyAdagrad(ValleyRecipe):
    """Adagrad of the Crowded Valley study; the sum of squares starts at 0.1, and no epsilon is added to its root.

    Args:
        initial_accumulator: Sum of squares before the first step.

    Reference: Duchi et al. 2011; Schmidt et al. 2021, https://arxiv.org/abs/2007.01547.
    """

    search_space = of_rate()

    _: KW_ONLY
    initial_accumulator: float = 0.1

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return torch's Adagrad."""
        return torch.optim.Adagrad(
            model.parameters(),
            lr=self.learning_rate,
            initial_accumulator_value=self.initial_accumulator,
            eps=0.0,
        )


@with_arguments
class ValleyAdadelta(ValleyRecipe):
    """Adadelta of the Crowded Valley study; the learning rate of 0.001 is tiny (Adadelta's paper uses 1).

    Args:
        one_minus_rho: 1 minus the decay rate of both averages.
        epsilon: Added to both averages under their roots.

    Reference: Zeiler 2012, https://arxiv.org/abs/1212.5701; Schmidt et al. 2021, https://arxiv.org/abs/2007.01547.
    """

    search_space = of_rate("one_minus_rho")
    contract = Contract(exempt=NO_FLOAT16, options={"schedule": "cosine", "learning_rate": 1.0})

    learning_rate: float = 1e-3
    one_minus_rho: float = 0.05
    _: KW_ONLY
    epsilon: float = 1e-8

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return torch's Adadelta."""
        rho = 1 - self.one_minus_rho
        return torch.optim.Adadelta(model.parameters(), lr=self.learning_rate, rho=rho, eps=self.epsilon)


@with_arguments
class ValleyRMSprop(ValleyRecipe):
    """RMSProp of the Crowded Valley study, with epsilon under the root and without momentum.

    In the published runs, the average of squares started at 1, as in TensorFlow 1, so the first steps were small;
    ``faithful`` reproduces this. The default starts at 0, as in the description of the method.

    Args:
        faithful: Whether to reproduce the published runs: their schedules, as in ``valley_sgd``, and an average of
            squares that starts at 1.
        one_minus_decay: 1 minus the decay rate of the second moment.
        epsilon: Added to the second moment under its root.

    Reference: Tieleman and Hinton 2012, lecture 6e of "Neural networks for machine learning"; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    search_space = of_rate("one_minus_decay")
    contract = Contract(exempt=NO_FLOAT16, options={"schedule": "cosine"})

    learning_rate: float = 1e-3
    one_minus_decay: float = 0.1
    _: KW_ONLY
    epsilon: float = 1e-10

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return RMSProp."""
        return TFRMSprop(
            model.parameters(),
            lr=self.learning_rate,
            decay=1 - self.one_minus_decay,
            eps=self.epsilon,
            initial_second_moment=float(self.faithful),
        )
