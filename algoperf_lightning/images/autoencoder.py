"""A variational autoencoder for images of 28 x 28 pixels, and its loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from algoperf_lightning.dropout import Dropout

from .same_padding import SameConv2d, SameConvTranspose2d

LATENTS = 8
"""Number of latent variables per image."""

SLOPE = 0.3
"""Negative slope of the leaky ReLU."""


class Reconstruction(NamedTuple):
    """Output of the autoencoder."""

    images: Tensor
    """Reconstructed images in (0, 1), ``(B, 1, 28, 28)``."""
    mean: Tensor
    """Means of the latent variables given the image, ``(B, latents)``."""
    log_std: Tensor
    """Logarithms of the standard deviations of the latent variables, ``(B, latents)``."""


class Autoencoder(nn.Module):
    """Autoencoder for images of 28 x 28 pixels with eight Gaussian latents; 10,151,489 parameters at width 64.

    The encoder halves the logarithm of the variance, ``log_std = deviation(features) / 2``. Convolutions use
    TensorFlow's padding, and transposed convolutions its cropping. Kernels are initialised Glorot uniform, and biases
    to 0.

    Args:
        width: Number of channels of all convolutions.
        dropout: Dropout rate after each convolution except the last one.
    """

    def __init__(self, width: int = 64, dropout: float = 0.2) -> None:
        super().__init__()
        self.width = width
        self.conv1 = SameConv2d(1, width, 4, 2)
        self.conv2 = SameConv2d(width, width, 4, 2)
        self.conv3 = SameConv2d(width, width, 4, 1)
        self.mean = nn.Linear(width * 7 * 7, LATENTS)
        self.deviation = nn.Linear(width * 7 * 7, LATENTS)
        self.hidden1 = nn.Linear(LATENTS, 24)
        self.hidden2 = nn.Linear(24, 49)
        self.transposed1 = SameConvTranspose2d(1, width, 4, 2)
        self.transposed2 = SameConvTranspose2d(width, width, 4, 1)
        self.transposed3 = SameConvTranspose2d(width, width, 4, 1)
        self.pixels = nn.Linear(width * 14 * 14, 28 * 28)
        self.dropout = Dropout(dropout)
        self.leaky = nn.LeakyReLU(SLOPE)
        self.activation = nn.ReLU()
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, images: Tensor, noise: Tensor) -> Reconstruction:
        """Reconstruct images.

        Args:
            images: Images in [0, 1], ``(B, 1, 28, 28)``.
            noise: Standard normal samples ``(B, latents)``. The latent variables are ``mean + noise * exp(log_std)``.
        """
        mean, log_std = self.encode(images)
        return Reconstruction(self.decode(mean + noise * log_std.exp()), mean, log_std)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the standard deviation of the latent variables, each ``(B, latents)``."""
        features = images
        for convolution in (self.conv1, self.conv2, self.conv3):
            features = self.dropout(self.leaky(convolution(features)))
        features = features.flatten(1)
        return self.mean(features), 0.5 * self.deviation(features)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latent variables ``(B, latents)`` to images ``(B, 1, 28, 28)``."""
        features = self.leaky(self.hidden2(self.leaky(self.hidden1(latents)))).view(-1, 1, 7, 7)
        features = self.dropout(self.activation(self.transposed1(features)))
        features = self.dropout(self.activation(self.transposed2(features)))
        features = self.activation(self.transposed3(features))
        return torch.sigmoid(self.pixels(features.flatten(1))).view(-1, 1, 28, 28)


def autoencoder_losses(outputs: Reconstruction, images: Tensor) -> Tensor:
    """Return the loss of each image, ``(B,)``: squared error summed over pixels, plus KL divergence in nats."""
    error = (outputs.images.float() - images).square().flatten(1).sum(1)
    return error + divergences(outputs)


def divergences(outputs: Reconstruction) -> Tensor:
    """Return the KL divergence between the latents of each image and a standard normal in nats, ``(B,)``."""
    mean, log_std = outputs.mean.float(), outputs.log_std.float()
    return -0.5 * (1 + 2 * log_std - mean.square() - (2 * log_std).exp()).sum(1)
