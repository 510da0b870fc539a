"""Convolutions and pooling with TensorFlow's "same" padding, for an output size of ceil(input / stride).

The total padding of an axis is ``max((ceil(n / stride) - 1) * stride + kernel - n, 0)``, with the smaller half before
the image and the larger half after it. PyTorch's ``padding="same"`` does not support strides, and its integer padding
is symmetric.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after an axis of ``size`` pixels.

    Example:
        >>> same_padding(28, 5, 1), same_padding(28, 4, 2), same_padding(7, 4, 1), same_padding(32, 3, 2)
        ((2, 2), (1, 1), (1, 2), (0, 1))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(images: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad ``(B, C, H, W)`` for a square kernel."""
    height, width = (same_padding(size, kernel, stride) for size in images.shape[-2:])
    return F.pad(images, (*width, *height), value=value)


class SameConv2d(nn.Conv2d):
    """Convolution with a square kernel and "same" padding: ``(B, in, H, W)`` to ``(B, out, ceil(H / stride), ...)``.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel: Side length of the kernel.
        stride: Stride of both axes.
        bias: Whether to add a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Pad and convolve."""
        return super().forward(pad_same(images, self.kernel_size[0], self.stride[0]))


class SameConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution as in TensorFlow: ``(B, in, H, W)`` to ``(B, out, stride * H, stride * W)``.

    It is the gradient of :class:`SameConv2d`, so the padding of that class is cropped here.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel: Side length of the kernel.
        stride: Stride of both axes.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)

    def forward(self, images: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve and crop. The size follows from the input, and ``output_size`` must be None."""
        if output_size is not None:
            raise ValueError(f"The output has stride times the size of the input; leave out output_size={output_size}.")
        kernel, stride = self.kernel_size[0], self.stride[0]
        whole = super().forward(images)
        for axis in (2, 3):
            size = stride * images.shape[axis]
            before, _ = same_padding(size, kernel, stride)
            whole = whole.narrow(axis, before, size)
        return whole


class SameMaxPool2d(nn.Module):
    """Max pooling with square windows and "same" padding by minus infinity.

    Args:
        kernel: Side length of the window.
        stride: Stride of both axes.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        padded = pad_same(images, self.kernel, self.stride, -torch.inf)
        return F.max_pool2d(padded, self.kernel, self.stride)
