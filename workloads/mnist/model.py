"""The network of mnist."""

from __future__ import annotations

from torch import Tensor, nn


class MnistMLP(nn.Module):
    """One hidden layer of 128 sigmoid units: 784 pixels to 10 logits, 101,770 parameters.

    Initialisation is torch's default of a linear layer, U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weights and biases,
    because AlgoPerf trains the first model that it builds. (Its reference code contains another rule, LeCun-normal
    weights and zero biases, which is only applied to a second model of the same workload object.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Linear(784, 128)
        self.activation = nn.Sigmoid()
        self.layer2 = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, 28, 28)`` to logits ``(B, 10)``."""
        hidden: Tensor = self.activation(self.layer1(images.flatten(1)))
        logits: Tensor = self.layer2(hidden)
        return logits
