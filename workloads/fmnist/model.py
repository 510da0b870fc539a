"""The network of fmnist_2c2d."""

from __future__ import annotations

from torch import Tensor, nn

from algoperf_lightning.images.same_padding import SameConv2d, SameMaxPool2d


class TwoConvTwoDense(nn.Module):
    """Two convolutions of 5 x 5, each with pooling, and two linear layers; 3,274,634 parameters.

    Initialisation: weights normal with standard deviation 0.05, truncated at two standard deviations; all biases 0.05.

    Args:
        channels: Output channels of the first convolution; the second has twice as many.
        width: Output features of the hidden linear layer.
    """

    def __init__(self, channels: int = 32, width: int = 1_024) -> None:
        super().__init__()
        self.conv1 = SameConv2d(1, channels, 5)
        self.conv2 = SameConv2d(channels, 2 * channels, 5)
        self.dense1 = nn.Linear(2 * channels * 7 * 7, width)
        self.dense2 = nn.Linear(width, 10)
        self.pool = SameMaxPool2d(2, 2)
        self.activation = nn.ReLU()
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.05, a=-0.1, b=0.1)
            else:
                nn.init.constant_(parameter, 0.05)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, 28, 28)`` to logits ``(B, 10)``."""
        features = self.pool(self.activation(self.conv1(images)))
        features = self.pool(self.activation(self.conv2(features)))
        logits: Tensor = self.dense2(self.activation(self.dense1(features.flatten(1))))
        return logits
