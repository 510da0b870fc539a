"""The network of digits."""

from __future__ import annotations

from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Two convolutions and a linear layer: 8 x 8 pixels to 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.head = nn.Linear(64 * 4 * 4, 10)
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, 8, 8)`` to logits ``(B, 10)``."""
        features = self.activation(self.conv1(images))
        features = self.activation(self.conv2(features))
        return self.head(features.flatten(1))
