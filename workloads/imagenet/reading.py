"""Reading of the ImageNet workloads: from the bytes of an image file to its pixels."""

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
    """Return an image as uint8 ``(3, H, W)``, in memory pixel by pixel: the pixels that :func:`open_rgb` returns.

    torchvision and Pillow both decode with libjpeg-turbo, and to the same bytes, but torchvision makes fewer copies and
    takes two thirds of the time. What is no plain JPEG (a PNG by another name, CMYK) or may be cut short is left to
    Pillow, and so is everything where torchvision has no decoder.

    Args:
        data: The whole file, shape ``(bytes,)``.

    Raises:
        OSError: If it is no image, or not all of one.
    """
    decode_jpeg = _decoder()
    if decode_jpeg is not None and is_whole_jpeg(data):
        try:
            image: Tensor = decode_jpeg(torch.from_numpy(data), _UNCHANGED, False)
        except RuntimeError:
            return _as_tensor(open_rgb(data))  # whose errors say more
        if len(image) == 3:
            return image
        if len(image) == 1:
            return image.expand(3, -1, -1)
    return _as_tensor(open_rgb(data))


def is_whole_jpeg(data: NDArray[np.uint8]) -> bool:
    """Return whether a file begins and ends as a JPEG: one that does not may be of another format, or cut short."""
    return data[:2].tobytes() == _JPEG_START and data[-2:].tobytes() == _JPEG_END


@cache
def _decoder() -> Any:
    """Return torchvision's decoder; None if there is none.

    It is the operator behind ``torchvision.io.decode_jpeg``, which warns on each call since torchvision 0.29: a later
    release will have no decoders.
    """
    import torchvision.io  # noqa: F401 # which registers the operator

    return getattr(torch.ops.image, "decode_jpeg", None)


def open_rgb(data: NDArray[np.uint8]) -> Image.Image:
    """Return an image as Pillow decodes and converts it to red, green and blue: what the benchmark evaluates.

    Args:
        data: The whole file, shape ``(bytes,)``.

    Raises:
        OSError: If it is no image, or not all of one.
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
    """Go through all of an image file, at the lowest resolution, which is the cheapest way to find damage.

    Pillow may warn of odd files; silence it around all threads that call this, as filters are the whole process's.

    Raises:
        OSError: If it is no image, or not all of one.
    """
    try:
        image = Image.open(io.BytesIO(data.tobytes()))
        image.draft(None, (1, 1))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error


def _as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
