"""Adam, AMSGrad and NAdam."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.optim import TFAdam

from ..arguments import with_arguments
from .recipe import ValleyAdamRecipe
from .spaces import ADAM


@with_arguments
class ValleyAdam(ValleyAdamRecipe):
    """Adam of the Crowded Valley study; epsilon is added before the bias of the second moment is corrected.

    Reference: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    search_space = ADAM
    amsgrad: ClassVar[bool] = False
    nesterov: ClassVar[bool] = False

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Return TensorFlow's Adam."""
        return TFAdam(model.parameters(), **self.options, amsgrad=self.amsgrad, nesterov=self.nesterov)


@with_arguments
class ValleyAMSGrad(ValleyAdam):
    """AMSGrad of the Crowded Valley study; the default learning rate is ten times that of Adam.

    Reference: Reddi et al. 2018, https://arxiv.org/abs/1904.09237; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    amsgrad: ClassVar[bool] = True

    learning_rate: float = 0.01


@with_arguments
class ValleyNAdam(ValleyAdam):
    """NAdam of the Crowded Valley study: Adam with Nesterov momentum, and no schedule of the momentum.

    Reference: Dozat 2016, "Incorporating Nesterov momentum into Adam"; Schmidt et al. 2021,
    https://arxiv.org/abs/2007.01547.
    """

    nesterov: ClassVar[bool] = True

    _: KW_ONLY
    epsilon: float = 1e-7
