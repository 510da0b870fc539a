"""fmnist_2c2d: classify images of clothing with a small network; a problem of DeepOBS."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import WorkloadData

from .data import FashionMnistData
from .model import TwoConvTwoDense
from .spec import FMNIST_2C2D


class FmnistTwoConvTwoDense(ClassificationWorkload):
    """10-class classification of 28 x 28 images of clothing with two convolutions and two linear layers.

    Batch: ``inputs`` float32 ``(B, 1, 28, 28)`` in [0, 1]; ``targets`` int64 ``(B,)`` in [0, 9].

    The model has no dropout; a submission's ``dropout`` changes nothing.

    Reference: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, 2017, https://arxiv.org/abs/1708.07747 (the data); F.
    Schneider, L. Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019,
    https://arxiv.org/abs/1903.05499.
    """

    spec = FMNIST_2C2D
    data_class: ClassVar[type[WorkloadData]] = FashionMnistData
    output_layer: ClassVar[str] = "dense2"

    def build_model(self) -> nn.Module:
        """Return the network."""
        return TwoConvTwoDense(**self.spec.model)
