"""Reading of images for the ImageNet workloads: from the bytes of a file to its pixels."""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_UNCHANGED = 0
"""As many channels as the file has; the value of torchvision's ``ImageReadMode.UNCHANGED``."""


def decode(data: NDArray[np.uint8]) -> Tensor:
    """Return an image as uint8 ``(3, H, W)`` in channels-last memory: the pixels that :func:`open_rgb` returns.

    torchvision and Pillow both decode with libjpeg-turbo to the same bytes, but torchvision makes fewer copies and
    takes two thirds of the time. Pillow decodes files that are not plain JPEGs (a PNG with another extension, CMYK) or
    may be truncated, and all files if torchvision has no decoder.

    Args:
        data: The whole file, shape ``(bytes,)``.

    Raises:
        OSError: If it is not an image, or truncated.
    """
    decode_jpeg = _decoder()
    if decode_jpeg is not None and is_whole_jpeg(data):
        try:
            image: Tensor = decode_jpeg(torch.from_numpy(data), _UNCHANGED, False)
        except RuntimeError:
            return _as_tensor(open_rgb(data))  # which has better error messages
        if len(image) == 3:
            return image
        if len(image) == 1:
            return image.expand(3, -1, -1)
    return _as_tensor(open_rgb(data))


def is_whole_jpeg(data: NDArray[np.uint8]) -> bool:
    """Return whether a file starts and ends like a JPEG; otherwise it may have another format, or be truncated."""
    return data[:2].tobytes() == _JPEG_START and data[-2:].tobytes() == _JPEG_END


@cache
def _decoder() -> Any:
    """Return torchvision's decoder; None if there is none.

    It is the operator of ``torchvision.io.decode_jpeg``, which warns on each call since torchvision 0.29, because a
    later release will remove the decoders.
    """
    import torchvision.io  # noqa: F401 # which registers the operator

    return getattr(torch.ops.image, "decode_jpeg", None)


def open_rgb(data: NDArray[np.uint8]) -> Image.Image:
    """Return an image that Pillow has decoded and converted to RGB, as the benchmark evaluates it.

    Args:
        data: The whole file, shape ``(bytes,)``.

    Raises:
        OSError: If it is not an image, or truncated.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which some of the official files have
            return Image.open(io.BytesIO(data.tobytes())).convert("RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # what Pillow raises for bad files
        raise OSError(str(error)) from error


def verify(data: NDArray[np.uint8]) -> None:
    """Decode an image file completely at the lowest resolution, which is the cheapest way to find damage.

    Pillow may warn about unusual files; callers silence it around all threads, because filters apply to the process.

    Raises:
        OSError: If it is not an image, or truncated.
    """
    try:
        image = Image.open(io.BytesIO(data.tobytes()))
        image.draft(None, (1, 1))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error


def _as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
