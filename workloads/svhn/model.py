"""The network of svhn_wrn164."""

from __future__ import annotations

from torch import Tensor, nn

from algoperf_lightning.images.same_padding import SameConv2d


class WideResNet(nn.Module):
    """Wide ResNet 16-4: a convolution, six blocks in three groups, one linear layer; 2,748,890 parameters at width 64.

    Initialisation: weights Glorot uniform, biases 0, batch norm scales 1. Batch norm: the running statistics for
    evaluation have a momentum of 0.1 and use the unbiased variance.

    Args:
        width: Channels of the first group; each later one has twice as many as the one before.

    Reference: S. Zagoruyko, N. Komodakis, Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv = SameConv2d(3, 16, 3, bias=False)
        self.group1 = _group(16, width, 1)
        self.group2 = _group(width, 2 * width, 2)
        self.group3 = _group(2 * width, 4 * width, 2)
        self.bn = nn.BatchNorm2d(4 * width)
        self.dense = nn.Linear(4 * width, 10)
        self.activation = nn.ReLU()
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.zeros_(self.dense.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 3, 32, 32)`` to logits ``(B, 10)``."""
        features = self.group3(self.group2(self.group1(self.conv(images))))
        logits: Tensor = self.dense(self.activation(self.bn(features)).mean((2, 3)))
        return logits


class Block(nn.Module):
    """Two convolutions with batch norm and activation before each, and a shortcut.

    Args:
        in_channels: Input channels.
        channels: Output channels.
        stride: Stride of the first convolution.
        projects: Whether the shortcut is a 1 x 1 convolution of the activated input; otherwise it is the input itself.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, projects: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.shortcut = SameConv2d(in_channels, channels, 1, stride, bias=False) if projects else None
        self.conv1 = SameConv2d(in_channels, channels, 3, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = SameConv2d(channels, channels, 3, bias=False)
        self.activation = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, in_channels, H, W)`` to ``(B, channels, ceil(H / stride), ceil(W / stride))``."""
        activated = self.activation(self.bn1(features))
        shortcut = features if self.shortcut is None else self.shortcut(activated)
        residual: Tensor = self.conv2(self.activation(self.bn2(self.conv1(activated))))
        return shortcut + residual


def _group(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(in_channels, channels, stride, True), Block(channels, channels, 1, False))
