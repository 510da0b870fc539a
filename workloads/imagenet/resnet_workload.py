"""ResNet-50 on ImageNet."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from .resnet import ResNet
from .spec import IMAGENET_RESNET
from .workload import ImageNetWorkload


class ImageNetResNet(ImageNetWorkload):
    """1,000-class classification of photographs with a ResNet-50.

    Batch: ``inputs`` ``(B, 3, 224, 224)``, red, green and blue from 0 to 255: uint8, but float32 in the test split;
    ``targets`` int64 ``(B,)`` in [0, 999]. The model gets normalised float32 images.

    Batch norm statistics are per device, as in AlgoPerf's PyTorch code: with N devices each normalises over its N-th of
    the batch, and evaluation uses the running statistics of rank 0 on all of them. The model has no dropout; a
    submission's ``dropout`` changes nothing.

    Reference: O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015,
    https://arxiv.org/abs/1409.0575 (the data); K. He et al., Deep Residual Learning for Image Recognition, 2016,
    https://arxiv.org/abs/1512.03385 (the model); Dahl et al., Benchmarking Neural Network Training Algorithms, 2023,
    https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = IMAGENET_RESNET
    output_layer: ClassVar[str] = "fc"

    def build_model(self) -> nn.Module:
        """Return the network."""
        return ResNet(self.spec.data["classes"], **self.spec.model)
