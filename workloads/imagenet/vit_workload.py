"""ImageNet with a vision transformer, the workload ``imagenet_vit``."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from algoperf_lightning.data import WorkloadData

from .mixup import MixedImageNetData
from .spec import IMAGENET_VIT
from .vit import VisionTransformer
from .workload import ImageNetWorkload


class ImageNetViT(ImageNetWorkload):
    """1,000-class classification of photographs with ViT-S/16, RandAugment and mixup.

    Batch: ``inputs`` ``(B, 3, 224, 224)``, red, green and blue from 0 to 255: uint8, but float32 in the test split;
    ``targets`` int64 ``(B,)`` in [0, 999]. A training batch is a mixture: its ``inputs`` are float32, its ``targets``
    float32 ``(B, 1000)``, the probabilities of the classes. The model gets normalised float32 images.

    Variants: ``glu`` gates the MLPs, ``post_ln`` norms after each residual sum, ``map`` pools by attention. The
    submission's ``dropout`` is the rate at every place of the model where there is dropout, 0 by default.

    Reference: Dosovitskiy et al., An Image is Worth 16x16 Words, 2021, https://arxiv.org/abs/2010.11929; Dahl et al.,
    Benchmarking Neural Network Training Algorithms, 2023, https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = IMAGENET_VIT
    data_class: ClassVar[type[WorkloadData]] = MixedImageNetData
    output_layer: ClassVar[str] = "head"

    def build_model(self) -> nn.Module:
        """Return the network."""
        return VisionTransformer(**self.spec.model, classes=self.spec.data["classes"], dropout=self.dropout or 0.0)
