"""CIFAR-10: classify 32 x 32 photographs with ResNet-18; a development workload of AlgoPerf, which is not scored."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import WorkloadData

from .data import Cifar10Data
from .model import ResNet18
from .spec import CIFAR10


class Cifar10(ClassificationWorkload):
    """10-class classification of 32 x 32 colour photographs with a ResNet-18 for small images.

    Batch: ``inputs`` float32 ``(B, 3, 32, 32)``, each colour with mean 0 and standard deviation 1 over the data set;
    ``targets`` int64 ``(B,)`` in [0, 9].

    Batch norm statistics are per device, as in AlgoPerf's PyTorch code: with N devices each normalises over its N-th of
    the batch, and evaluation uses the running statistics of rank 0. The model has no dropout; a submission's
    ``dropout`` changes nothing.

    Reference: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf (the data); He et al., Deep Residual Learning for
    Image Recognition, 2016, https://arxiv.org/abs/1512.03385 (the model); Dahl et al., Benchmarking Neural Network
    Training Algorithms, 2023, https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = CIFAR10
    data_class: ClassVar[type[WorkloadData]] = Cifar10Data
    output_layer: ClassVar[str] = "fc"

    def build_model(self) -> nn.Module:
        """Return the network."""
        return ResNet18(**self.spec.model)
