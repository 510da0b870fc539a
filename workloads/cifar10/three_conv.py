"""The network of cifar10_3c3d."""

from __future__ import annotations

from torch import Tensor, nn

from algoperf_lightning.images.same_padding import SameConv2d, SameMaxPool2d
from algoperf_lightning.initialisation import glorot_normal_


class ThreeConvThreeDense(nn.Module):
    """Three convolutions, each with pooling, and three linear layers; 895,210 parameters at full size.

    The first two convolutions are not padded. Initialisation: kernels of convolutions Glorot normal, truncated at two
    standard deviations; weights of linear layers Glorot uniform; biases 0.

    Args:
        channels: Output channels of the three convolutions.
        widths: Output features of the two hidden linear layers.
    """

    def __init__(self, channels: tuple[int, int, int] = (64, 96, 128), widths: tuple[int, int] = (512, 256)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], 5)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3)
        self.conv3 = SameConv2d(channels[1], channels[2], 3)
        self.dense1 = nn.Linear(channels[2] * 3 * 3, widths[0])
        self.dense2 = nn.Linear(widths[0], widths[1])
        self.dense3 = nn.Linear(widths[1], 10)
        self.pool = SameMaxPool2d(3, 2)
        self.activation = nn.ReLU()
        for parameter in self.parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
            else:
                glorot_normal_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 3, 32, 32)`` to logits ``(B, 10)``."""
        features = images
        for convolution in (self.conv1, self.conv2, self.conv3):
            features = self.pool(self.activation(convolution(features)))
        features = self.activation(self.dense1(features.flatten(1)))
        logits: Tensor = self.dense3(self.activation(self.dense2(features)))
        return logits
