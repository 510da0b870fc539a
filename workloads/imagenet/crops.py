"""Crops of images, and their resolution."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Box: TypeAlias = tuple[int, int, int, int]
"""Row and column of the upper left corner, height, width."""

ATTEMPTS = 10
CROP_NUMBERS = 2 * ATTEMPTS + 2
"""Random numbers that :func:`random_box` uses."""

_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)

# The evaluated share of an image's shorter side: 224 of 256 pixels.
_EVALUATED = 0.875


def random_box(height: int, width: int, numbers: NDArray[np.float64]) -> Box:
    """Return the box of a random resized crop.

    An area of 8 to 100 % of the image and an aspect ratio between 3/4 and 4/3 (uniform in its logarithm) are drawn up
    to ten times, until such a box fits; otherwise the box is the largest centred one within these ratios. Equal to
    torchvision's ``RandomResizedCrop``, except for the source of the random numbers.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        numbers: Random numbers in [0, 1), shape ``(CROP_NUMBERS,)``.

    Reference: C. Szegedy et al., Going Deeper with Convolutions, 2015, https://arxiv.org/abs/1409.4842.
    """
    drawn = numbers.tolist()
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    for attempt in range(ATTEMPTS):
        area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * drawn[2 * attempt])
        ratio = math.exp(low + (high - low) * drawn[2 * attempt + 1])
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(drawn[-2] * (height - h + 1)), int(drawn[-1] * (width - w + 1)), h, w
    h, w = height, width
    if width / height < _RATIO[0]:
        h = round(width / _RATIO[0])
    elif width / height > _RATIO[1]:
        w = round(height * _RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w


def resized_crop(image: Tensor, box: Box, size: int) -> Tensor:
    """Crop a box out of an image and resize it to ``size`` by bilinear interpolation with antialiasing.

    torch rounds the weights to fewer bits than Pillow and takes a third of the time: about 3 % of the values differ,
    nearly all of them by 1 of 255, without bias.

    Args:
        image: uint8 ``(3, H, W)``.
        box: The box to crop.
        size: Side of the result in pixels.

    Returns:
        uint8 ``(3, size, size)``.
    """
    top, left, height, width = box
    window = image[None, :, top : top + height, left : left + width]
    return F.interpolate(window, (size, size), mode="bilinear", antialias=True)[0]


def evaluation_crop(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize the shorter side of an image to ``size * 8 / 7`` pixels and crop the centre.

    Args:
        image: An RGB image.
        size: Side of the result in pixels.

    Returns:
        uint8 ``(size, size, 3)``, bit-equal to the result of torchvision's ``Resize`` and ``CenterCrop``.
    """
    side = size * 8 // 7
    width, height = image.size
    if width <= height:
        width, height = side, int(side * height / width)
    else:
        width, height = int(side * width / height), side
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def imagenet_v2_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Crop the central square of 7/8 of the shorter side and resize it to ``size`` by bicubic interpolation.

    The benchmark prepares ImageNet-v2 like this, for JAX and PyTorch: with TensorFlow's interpolation, without
    antialiasing, and without clipping values that overshoot 0 and 255.

    Args:
        image: Shape ``(H, W, 3)``.
        size: Side of the result in pixels.

    Returns:
        Values from about 0 to 255, shape ``(size, size, 3)``.
    """
    height, width, _ = image.shape
    side = max(1, int(np.float32(_EVALUATED) * np.float32(min(height, width))))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    square = image[top : top + side, left : left + side].astype(np.float32)
    places, weights = bicubic_taps(side, size)
    rows = np.einsum("ok,okwc->owc", weights, square[places])
    columns: NDArray[np.float32] = np.einsum("ok,hokc->hoc", weights, rows[:, places])
    return columns


@lru_cache(maxsize=1024)
def bicubic_taps(inputs: int, outputs: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the input pixels of each output pixel of an axis, and their weights.

    Keys' kernel with a = -0.5, from a table of 1,024 steps per pixel as in TensorFlow; pixels beyond the border have
    weight 0, and the other weights are normalised to a sum of 1.

    Args:
        inputs: Input pixels along the axis.
        outputs: Output pixels along the axis.

    Returns:
        Indices int64 and weights float32, each ``(outputs, 4)``.

    Reference: R. Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981,
    https://doi.org/10.1109/TASSP.1981.1163711.
    """
    centre = (np.arange(outputs, dtype=np.float32) + np.float32(0.5)) * np.float32(inputs / outputs) - np.float32(0.5)
    first = np.floor(centre)
    step = np.rint((centre - first) * 1024) / 1024
    places = first.astype(np.int64)[:, None] + np.arange(-1, 3)
    distance = np.stack([1 + step, step, 1 - step, 2 - step], axis=1)
    weights = np.where(distance <= 1, _near(distance), _far(distance))
    weights[(places < 0) | (places >= inputs)] = 0
    weights /= weights.sum(1, keepdims=True)
    return places.clip(0, inputs - 1), weights.astype(np.float32)


def _near(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return (1.5 * x - 2.5) * x * x + 1


def _far(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((-0.5 * x + 2.5) * x - 4) * x + 2
