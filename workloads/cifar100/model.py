"""The network of cifar100_allcnnc."""

from __future__ import annotations

from torch import Tensor, nn

from algoperf_lightning.dropout import Dropout
from algoperf_lightning.images.same_padding import SameConv2d
from algoperf_lightning.initialisation import glorot_normal_


class AllCnnC(nn.Module):
    """Nine convolutions, no other layers; 1,387,108 parameters at width 96.

    The activation is also applied after the last convolution, so logits are not negative. Initialisation: kernels
    Glorot normal, truncated at two standard deviations; biases 0.1.

    Args:
        width: Channels of the first three convolutions; the others have twice as many.
        dropout: Dropout rate after each third convolution.
        input_dropout: Dropout rate of pixels.

    Reference: J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, Striving for Simplicity, 2015,
    https://arxiv.org/abs/1412.6806.
    """

    def __init__(self, width: int = 96, dropout: float = 0.5, input_dropout: float = 0.2) -> None:
        super().__init__()
        self.input_dropout = Dropout(input_dropout)
        self.conv1 = SameConv2d(3, width, 3)
        self.conv2 = SameConv2d(width, width, 3)
        self.conv3 = SameConv2d(width, width, 3, stride=2)
        self.conv4 = SameConv2d(width, 2 * width, 3)
        self.conv5 = SameConv2d(2 * width, 2 * width, 3)
        self.conv6 = SameConv2d(2 * width, 2 * width, 3, stride=2)
        self.conv7 = nn.Conv2d(2 * width, 2 * width, 3)
        self.conv8 = nn.Conv2d(2 * width, 2 * width, 1)
        self.conv9 = nn.Conv2d(2 * width, 100, 1)
        self.dropout = Dropout(dropout)
        self.activation = nn.ReLU()
        for parameter in self.parameters():
            if parameter.ndim > 1:
                glorot_normal_(parameter)
            else:
                nn.init.constant_(parameter, 0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 3, 32, 32)`` to logits ``(B, 100)``."""
        features = self.input_dropout(images)
        for convolution in (self.conv1, self.conv2, self.conv3):
            features = self.activation(convolution(features))
        features = self.dropout(features)
        for convolution in (self.conv4, self.conv5, self.conv6):
            features = self.activation(convolution(features))
        features = self.dropout(features)
        features = self.activation(self.conv8(self.activation(self.conv7(features))))
        logits: Tensor = self.activation(self.conv9(features)).mean((2, 3))
        return logits
