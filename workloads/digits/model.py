"""The network of digits."""

from __future__ import annotations

from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Two convolutions and two linear layers, 38,282 parameters: 8 x 8 pixels to 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.hidden = nn.Linear(32 * 4 * 4, 64)
        self.head = nn.Linear(64, 10)
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, 8, 8)`` to logits ``(B, 10)``."""
        features = self.activation(self.conv1(images))
        features = self.activation(self.conv2(features))
        features = self.activation(self.hidden(features.flatten(1)))
        logits: Tensor = self.head(features)
        return logits
