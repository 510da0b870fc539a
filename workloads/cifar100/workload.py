"""cifar100_allcnnc: classify photographs with a network of convolutions only; a problem of DeepOBS."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import WorkloadData
from algoperf_lightning.images.penalty import kernel_penalty

from .data import Cifar100Data
from .model import AllCnnC
from .spec import CIFAR100_ALLCNNC


class Cifar100AllCnnC(ClassificationWorkload):
    """100-class classification of 32 x 32 colour photographs with All-CNN-C.

    Batch: ``inputs`` float32 ``(B, 3, 32, 32)``, each image with mean 0 and standard deviation 1; ``targets`` int64
    ``(B,)`` in [0, 99], the fine classes.

    An L2 term of 0.0005 is part of the objective, and of every loss. Dropout rates are 0.2 for pixels and 0.5 for
    features; a submission's ``dropout`` replaces both.

    Reference: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (the data); F. Schneider, L.
    Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019, https://arxiv.org/abs/1903.05499.
    """

    spec = CIFAR100_ALLCNNC
    data_class: ClassVar[type[WorkloadData]] = Cifar100Data
    output_layer: ClassVar[str] = "conv9"
    l2: ClassVar[float] = 0.0005

    def build_model(self) -> nn.Module:
        """Return the network."""
        rate = self.submission.dropout
        width: int = self.spec.model["width"]
        return AllCnnC(width) if rate is None else AllCnnC(width, rate, rate)

    def regularization(self) -> Tensor:
        """Return half of :attr:`l2` times the squared weights of convolutions and linear layers, a scalar."""
        return kernel_penalty(self.network, self.l2)
