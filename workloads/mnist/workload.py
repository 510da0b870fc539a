"""MNIST: classify 28 x 28 digits with a small network; a development workload of AlgoPerf, which is not scored."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import WorkloadData

from .data import MnistData
from .model import MnistMLP
from .spec import MNIST


class Mnist(ClassificationWorkload):
    """10-class classification of 28 x 28 handwritten digits with a 784-128-10 sigmoid network.

    Batch: ``inputs`` float32 ``(B, 1, 28, 28)`` in [-0.42, 827.3] (see :func:`~.data.normalise`); ``targets`` int64
    ``(B,)`` in [0, 9].

    The model has no dropout; a submission's ``dropout`` changes nothing.

    Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document Recognition,
    1998, doi:10.1109/5.726791 (the data); Dahl et al., Benchmarking Neural Network Training Algorithms, 2023,
    https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = MNIST
    data_class: ClassVar[type[WorkloadData]] = MnistData
    output_layer: ClassVar[str] = "layer2"

    def build_model(self) -> nn.Module:
        """Return the network."""
        return MnistMLP()
