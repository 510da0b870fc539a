"""Reading of the ImageNet workloads: from the bytes of an image file to its pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"


def decode(data: NDArray[np.uint8]) -> Tensor:
    """Return an image as uint8 ``(3, H, W)``, in memory pixel by pixel: the pixels that :func:`open_rgb` returns.

    torchvision and Pillow both decode with libjpeg-turbo, and to the same bytes, but torchvision makes fewer copies.
    What is no plain JPEG (a PNG by another name, CMYK) or may be cut short is left to Pillow.

    Args:
        data: The whole file, shape ``(bytes,)``.

    Raises:
        OSError: If it is no image, or not all of one.
    """
    if is_whole_jpeg(data):
        from torchvision.io import ImageReadMode, decode_jpeg

        try:
            image: Tensor = decode_jpeg(torch.from_numpy(data), mode=ImageReadMode.UNCHANGED)
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
