"""cifar10_3c3d: classify photographs with a small network; a problem of DeepOBS."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import WorkloadData
from algoperf_lightning.images.penalty import kernel_penalty

from .data import Cifar10DeepObsData
from .spec import CIFAR10_3C3D
from .three_conv import ThreeConvThreeDense


class Cifar10ThreeConvThreeDense(ClassificationWorkload):
    """10-class classification of 32 x 32 colour photographs with three convolutions and three linear layers.

    Batch: ``inputs`` float32 ``(B, 3, 32, 32)``, each image with mean 0 and standard deviation 1; ``targets`` int64
    ``(B,)`` in [0, 9].

    An L2 term of 0.002 is part of the objective, and of every loss. The model has no dropout; a submission's
    ``dropout`` changes nothing. In the variant ``faithful``, validation images are also used for training, as in
    DeepOBS.

    Reference: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (the data); F. Schneider, L.
    Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019, https://arxiv.org/abs/1903.05499.
    """

    spec = CIFAR10_3C3D
    data_class: ClassVar[type[WorkloadData]] = Cifar10DeepObsData
    output_layer: ClassVar[str] = "dense3"
    l2: ClassVar[float] = 0.002

    def build_model(self) -> nn.Module:
        """Return the network."""
        return ThreeConvThreeDense(**self.spec.model)

    def regularization(self) -> Tensor:
        """Return half of :attr:`l2` times the squared weights of convolutions and linear layers, a scalar."""
        return kernel_penalty(self.network, self.l2)
