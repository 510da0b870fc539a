"""The network of fastmri: a U-Net."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.dropout import Dropout2d
from algoperf_lightning.initialisation import lecun_normal_
from algoperf_lightning.utilities.inputs import nearest_or_raise

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": lambda: nn.LeakyReLU(0.2, inplace=True),
    "tanh": nn.Tanh,
}


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm that compiles well.

    On a CPU the compiler stores images in channels-last format, which torch's own norm has to copy; this makes the
    compiled step slower by a third.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise each channel of each image ``(B, C, H, W)``."""
        if not torch.compiler.is_compiling():
            return super().forward(features)
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
        return ((wide - mean) * torch.rsqrt(variance + self.eps)).to(features.dtype)


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": InstanceNorm,
    "layer": lambda channels: nn.GroupNorm(1, channels, eps=1e-6),
}


class UNet(nn.Module):
    """U-Net for image reconstruction: convolutions with pooling, then with upsampling and skip connections.

    With the benchmark's 32 channels and 4 pools it has 7,756,097 parameters.

    Initialisation: convolutions LeCun normal (variance 1 / fan_in), truncated at two standard deviations; output bias
    0. The fan_in of a transposed convolution is computed from its output channels, as in torch.

    Args:
        channels: Channels of the first stage; each stage below has twice as many as the one above.
        pools: Number of poolings, each of which halves the image.
        activation: ``leaky_relu`` (slope 0.2) or ``tanh``.
        norm: ``instance``, without parameters, or ``layer``, over channels and pixels with scale and shift. Applies to
            the convolution blocks; upsampling always has instance norm.
        dropout: Dropout rate of whole channels after each activation of a convolution block.

    Raises:
        BadInputError: If the activation or norm is unknown.

    Reference: O. Ronneberger, P. Fischer, T. Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation,
    2015, https://arxiv.org/abs/1505.04597; as a baseline of fastMRI: J. Zbontar et al., fastMRI: An Open Dataset and
    Benchmarks for Accelerated MRI, 2018, https://arxiv.org/abs/1811.08839.
    """

    def __init__(
        self,
        channels: int = 32,
        pools: int = 4,
        activation: str = "leaky_relu",
        norm: str = "instance",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        nearest_or_raise("activation", activation, _ACTIVATIONS)
        nearest_or_raise("norm", norm, _NORMS)

        def block(in_channels: int, out_channels: int) -> nn.Sequential:
            return nn.Sequential(
                *_convolution(in_channels, out_channels, activation, norm, dropout),
                *_convolution(out_channels, out_channels, activation, norm, dropout),
            )

        widths = [channels * 2**stage for stage in range(pools + 1)]  # from the top to the bottom
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # and up again: channels below, channels above
        self.down = nn.ModuleList(block(*pair) for pair in zip([1, *widths[:-2]], widths[:-1], strict=True))
        self.bottom = block(widths[-2], widths[-1])
        self.up = nn.ModuleList(block(below, above) for below, above in steps)
        self.output = nn.Conv2d(channels, 1, 1)
        self.upsample = nn.ModuleList(_upsampling(below, above, activation) for below, above in steps)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                lecun_normal_(module.weight)
        assert self.output.bias is not None
        nn.init.zeros_(self.output.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, floats ``(B, H, W)``, to images of the same shape."""
        features = images.unsqueeze(1)
        skipped = []
        for block in self.down:
            features = block(features)
            skipped.append(features)
            features = F.avg_pool2d(features, 2)
        features = self.bottom(features)
        for upsample, block in zip(self.upsample, self.up, strict=True):
            beside = skipped.pop()
            features = _padded_to(upsample(features), beside)
            features = block(torch.cat([features, beside], dim=1))
        output: Tensor = self.output(features)
        return output.squeeze(1)


def _convolution(in_channels: int, channels: int, activation: str, norm: str, dropout: float) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        _NORMS[norm](channels),
        _ACTIVATIONS[activation](),
        Dropout2d(dropout),
    ]


def _upsampling(in_channels: int, channels: int, activation: str) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, channels, 2, stride=2, bias=False),
        InstanceNorm(channels),
        _ACTIVATIONS[activation](),
    )


def _padded_to(features: Tensor, other: Tensor) -> Tensor:
    """Pad an image with its reflected last row and column if pooling has dropped one."""
    rows, columns = other.shape[-2] - features.shape[-2], other.shape[-1] - features.shape[-1]
    return F.pad(features, [0, columns, 0, rows], "reflect") if rows or columns else features
