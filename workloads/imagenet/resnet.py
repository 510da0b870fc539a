"""The network of imagenet_resnet: ResNet-50."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.initialisation import lecun_normal_
from algoperf_lightning.utilities.inputs import nearest_or_raise

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "silu": nn.SiLU,
    "gelu": lambda: nn.GELU(approximate="tanh"),
}
"""The activation functions of the workload and its variants."""

EXPANSION = 4
"""Output channels of a block relative to those of its 3 x 3 convolution."""


class ResNet(nn.Module):
    """A residual network of bottleneck blocks; at its default size ResNet-50, with 25,557,032 parameters.

    The 3 x 3 convolution of a block has the stride (the form known as v1.5). Parameters have the order, shapes and,
    except for the shortcuts (``downsample.conv``, ``downsample.bn``), the names of torchvision's ResNet-50.

    Initialisation: convolutions LeCun normal (variance 1 / fan_in), truncated at two standard deviations; batch norm
    scales 1, but ``bn_init_scale`` for the last one of each residual branch; head N(0, 0.01^2) with bias 0.

    Batch norm: statistics are those of one device's share of the batch, also with several devices. The running
    statistics, used for evaluation, move by 0.1 per step; distributed data-parallel training keeps those of rank 0.

    Args:
        classes: How many logits to return.
        blocks: Blocks in each stage; every stage but the first halves the resolution.
        width: Channels of the stem and of the 3 x 3 convolutions of the first stage; each stage doubles them.
        activation: One of :data:`ACTIVATIONS`.
        bn_init_scale: Initial scale of the last batch norm of each residual branch; 0 starts every block as its
            shortcut.

    Reference: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, 2016,
    https://arxiv.org/abs/1512.03385; P. Goyal et al., Accurate, Large Minibatch SGD, 2017,
    https://arxiv.org/abs/1706.02677 (the stride, and the scale of 0).
    """

    def __init__(
        self,
        classes: int = 1_000,
        *,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        activation: str = "relu",
        bn_init_scale: float = 0.0,
    ) -> None:
        super().__init__()
        activate = ACTIVATIONS[nearest_or_raise("activation", activation, ACTIVATIONS)]()
        self.conv1 = _convolution(3, width, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(width)
        self.activation = activate
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages: list[str] = []
        channels = width
        for stage, count in enumerate(blocks):
            layers = []
            for block in range(count):
                stride = 2 if stage and not block else 1
                layers.append(Bottleneck(channels, width * 2**stage, stride, activate, bn_init_scale))
                channels = EXPANSION * width * 2**stage
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images ``(B, 3, H, W)`` to logits ``(B, classes)``."""
        # All convolutions and norms then use channels-last memory. The weights keep the default layout, because
        # training algorithms may reshape them.
        images = images.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.maxpool(self.activation(self.bn1(self.conv1(images))))
        for stage in self.stages:
            features = self.get_submodule(stage)(features)
        logits: Tensor = self.fc(F.adaptive_avg_pool2d(features, 1).flatten(1))
        return logits


class Bottleneck(nn.Module):
    """A 1 x 1, a 3 x 3 and a 1 x 1 convolution with a shortcut, which is a 1 x 1 convolution if the shape changes.

    Args:
        in_channels: Input channels.
        width: Channels of the 3 x 3 convolution; the output has four times as many.
        stride: Stride of the 3 x 3 convolution and of the shortcut.
        activation: Activation function.
        bn_init_scale: Initial scale of the last batch norm.
    """

    def __init__(self, in_channels: int, width: int, stride: int, activation: nn.Module, bn_init_scale: float) -> None:
        super().__init__()
        channels = EXPANSION * width
        self.conv1 = _convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, channels, 1)
        self.bn3 = nn.BatchNorm2d(channels)
        nn.init.constant_(self.bn3.weight, bn_init_scale)
        self.activation = activation
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            projection = _convolution(in_channels, channels, 1, stride)
            self.downsample = nn.Sequential(OrderedDict(conv=projection, bn=nn.BatchNorm2d(channels)))

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, in_channels, H, W)`` to ``(B, 4 * width, H / stride, W / stride)``."""
        residual = self.activation(self.bn1(self.conv1(features)))
        residual = self.activation(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        output: Tensor = self.activation(residual + self.downsample(features))
        return output


def _convolution(in_channels: int, channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=False)
    lecun_normal_(convolution.weight)
    return convolution
