"""svhn_wrn164: classify house numbers with a wide residual network; a problem of DeepOBS."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import WorkloadData
from algoperf_lightning.images.penalty import kernel_penalty

from .data import SvhnData
from .model import WideResNet
from .spec import SVHN_WRN164


class SvhnWideResNet(ClassificationWorkload):
    """10-class classification of 32 x 32 photographs of house numbers with Wide ResNet 16-4.

    Batch: ``inputs`` float32 ``(B, 3, 32, 32)``, each image with mean 0 and standard deviation 1; ``targets`` int64
    ``(B,)``, the digit.

    An L2 term of 0.0005 is part of the objective, and of every loss. Batch norm statistics are per device, and
    evaluation uses the running statistics of rank 0. The model has no dropout; a submission's ``dropout`` changes
    nothing. In the variant ``faithful``, validation images are also used for training, as in DeepOBS.

    Reference: Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011 (the data);
    F. Schneider, L. Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019,
    https://arxiv.org/abs/1903.05499.
    """

    spec = SVHN_WRN164
    data_class: ClassVar[type[WorkloadData]] = SvhnData
    output_layer: ClassVar[str] = "dense"
    l2: ClassVar[float] = 0.0005

    def build_model(self) -> nn.Module:
        """Return the network."""
        return WideResNet(**self.spec.model)

    def regularization(self) -> Tensor:
        """Return half of :attr:`l2` times the squared weights of convolutions and linear layers, a scalar."""
        return kernel_penalty(self.network, self.l2)
