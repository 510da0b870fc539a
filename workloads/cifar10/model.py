"""The network of cifar10: ResNet-18 for small images."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.initialisation import lecun_normal_


class ResNet18(nn.Module):
    """ResNet-18 with a stem for 32 x 32 pixels: one 3 x 3 convolution of stride 1, no pooling. 11,173,962 parameters.

    Initialisation: convolutions LeCun normal (variance 1 / fan_in), truncated at two standard deviations; batch norm
    scales 1, but 0 for the last one of each block, so that every block starts as its shortcut; head N(0, 0.01^2) with
    bias 0.

    Batch norm: statistics are those of one device's share of the batch, also with several devices. The running
    statistics, used for evaluation, move by 0.1 per step; distributed data-parallel training keeps those of rank 0.

    Args:
        width: Channels of the first stage; each later stage has twice as many as the one before.
        blocks: Blocks of each stage.

    Reference: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, 2016,
    https://arxiv.org/abs/1512.03385.
    """

    def __init__(self, width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.conv1 = _convolution(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.activation = nn.ReLU()
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, blocks, stride=2)
        self.fc = nn.Linear(8 * width, 10)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 3, 32, 32)`` to logits ``(B, 10)``."""
        features: Tensor = self.activation(self.bn1(self.conv1(images)))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.fc(F.avg_pool2d(features, 4).flatten(1))
        return logits


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut, which is a 1 x 1 convolution if the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn2.weight)
        self.activation = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            projection = _convolution(in_channels, channels, 1, stride)
            self.downsample = nn.Sequential(OrderedDict(conv=projection, bn=nn.BatchNorm2d(channels)))

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, in_channels, H, W)`` to ``(B, channels, H / stride, W / stride)``."""
        residual = self.activation(self.bn1(self.conv1(features)))
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.activation(self.downsample(features) + residual)
        return output


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def _convolution(in_channels: int, channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=False)
    lecun_normal_(convolution.weight)
    return convolution
