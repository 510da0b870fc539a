"""RandAugment as in AlgoPerf: two of sixteen operations per image, at fixed magnitudes.

Operations that Pillow has give the same pixels as Pillow. This is not torchvision's ``RandAugment``, which has an
identity, weakens as often as it strengthens, and has no cutout, no inversion and no ``solarize_add``.

Reference: Cubuk et al., RandAugment: Practical automated data augmentation with a reduced search space, 2020,
https://arxiv.org/abs/1909.13719; DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with
Cutout, 2017, https://arxiv.org/abs/1708.04552.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels: TypeAlias = NDArray[np.uint8]
"""An image in red, green and blue, shape ``(H, W, 3)``."""

OPERATIONS_PER_IMAGE = 2

NUMBERS = 3 * OPERATIONS_PER_IMAGE
"""Random numbers per image: for each operation its index, and two that it may use."""

GREY = 128
"""Fills empty pixels."""

SHEAR = 0.3
"""Pixels that a row (or column) moves against the one before it."""

ROTATION = 30.0
"""Degrees."""

# Pixels for the benchmark's image size of 224; scaled proportionally for others.
REFERENCE_SIDE = 224
TRANSLATION = 100
CUTOUT_SIDE = 80


def rand_augment(image: Pixels, numbers: NDArray[np.float64]) -> Pixels:
    """Return the image after two operations, each drawn from all sixteen.

    Args:
        image: uint8 ``(H, W, 3)``; it is not changed.
        numbers: Random numbers in [0, 1), shape ``(NUMBERS,)``; the only source of randomness.

    Returns:
        uint8 ``(H, W, 3)``, possibly read-only, possibly the given image itself.
    """
    for which, first, second in numbers.reshape(OPERATIONS_PER_IMAGE, 3).tolist():
        image = _BY_NUMBER[int(which * len(_BY_NUMBER))](image, first, second)
    return image


# Geometry: the nearest pixel, on a canvas of the old size


def shear_x(image: Pixels, sign: int) -> Pixels:
    """Move each row to the left (sign +1) or right by a share of its height; the first row does not move."""
    return _transform(image, (1, sign * SHEAR, 0, 0, 1, 0))


def shear_y(image: Pixels, sign: int) -> Pixels:
    """Move each column up (sign +1) or down by a share of its distance from the left; the first column stays."""
    return _transform(image, (1, 0, 0, sign * SHEAR, 1, 0))


def translate_x(image: Pixels, sign: int) -> Pixels:
    """Move the image right (sign +1) or left."""
    moved = np.full_like(image, GREY)
    to, come_from = _shifted(image.shape[1], sign)
    moved[:, to] = image[:, come_from]
    return moved


def translate_y(image: Pixels, sign: int) -> Pixels:
    """Move the image down (sign +1) or up."""
    moved = np.full_like(image, GREY)
    to, come_from = _shifted(image.shape[0], sign)
    moved[to] = image[come_from]
    return moved


def rotate(image: Pixels, sign: int) -> Pixels:
    """Rotate the image about its centre, counter-clockwise for sign +1."""
    turned = Image.fromarray(image).rotate(sign * ROTATION, Image.Resampling.NEAREST, fillcolor=(GREY,) * 3)
    return np.asarray(turned)


def _transform(image: Pixels, matrix: tuple[float, ...]) -> Pixels:
    """Return the image whose pixel at (x, y) is the old one's at (a x + b y + c, d x + e y + f)."""
    height, width, _ = image.shape
    moved = Image.fromarray(image).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(GREY,) * 3
    )
    return np.asarray(moved)


def _shifted(side: int, sign: int) -> tuple[slice, slice]:
    """Return the rows (or columns) that a translation fills, and their source rows."""
    shift = round(TRANSLATION * side / REFERENCE_SIDE)
    later, earlier = slice(shift, None), slice(None, side - shift)
    return (later, earlier) if sign > 0 else (earlier, later)


# Colour


def brightness(image: Pixels) -> Pixels:
    """Move away from black."""
    return _look_up(image, _away_from(np.uint8(0), _ALL_VALUES))


def color(image: Pixels) -> Pixels:
    """Move away from the image in grey."""
    grey = Image.fromarray(image).convert("L").convert("RGB")
    return _away_from(np.asarray(grey), image)


def contrast(image: Pixels) -> Pixels:
    """Move away from the mean luma."""
    luma = np.asarray(Image.fromarray(image).convert("L"))
    return _look_up(image, _away_from(np.uint8(luma.mean() + 0.5), _ALL_VALUES))


def sharpness(image: Pixels) -> Pixels:
    """Move away from the image smoothed over 3 x 3 pixels; the outermost pixels do not change.

    The centre pixel has weight five. Pillow's own filter takes four times as long, for the same values.
    """
    height, width, colours = image.shape
    rows = image.reshape(height, width * colours).astype(np.uint16)
    smooth = rows.copy()
    sums = rows[:-2] + rows[1:-1] + rows[2:]
    sums = sums[:, : -2 * colours] + sums[:, colours:-colours] + sums[:, 2 * colours :]
    inside = (slice(1, -1), slice(colours, -colours))
    smooth[inside] = (sums + 4 * rows[inside] + 6) // 13  # rounded: there are no ties with the divisor 13
    return _away_from(smooth, rows).reshape(image.shape)


def _away_from(base: NDArray[Any] | np.uint8, values: NDArray[Any]) -> Pixels:
    """Return values at 1.9 times their distance from a base, clipped to [0, 255]; for all pairs as in Pillow."""
    moved = 19 * values.astype(np.int16)
    moved -= 9 * base.astype(np.int16)
    moved //= 10
    return moved.clip(0, 255).astype(np.uint8)


def _look_up(image: Pixels, table: Pixels) -> Pixels:
    changed = np.frombuffer(image.tobytes().translate(table.tobytes()), np.uint8)
    return changed.reshape(image.shape)


_ALL_VALUES = np.arange(256, dtype=np.uint8)


def posterize(image: Pixels) -> Pixels:
    """Keep the top four bits."""
    return image & np.uint8(0xF0)


def solarize(image: Pixels) -> Pixels:
    """Invert the values from 256 on: there are none, so this operation has no effect, as in the benchmark."""
    return image


def solarize_add(image: Pixels) -> Pixels:
    """Add 110 to values below 128."""
    return image + np.uint8(110) * (image < 128)


def autocontrast(image: Pixels) -> Pixels:
    """Stretch each colour to 0..255."""
    return np.asarray(ImageOps.autocontrast(Image.fromarray(image)))


def equalize(image: Pixels) -> Pixels:
    """Equalise the histogram of each colour."""
    return np.asarray(ImageOps.equalize(Image.fromarray(image)))


def invert(image: Pixels) -> Pixels:
    """Replace v by 255 - v."""
    return ~image


def cutout(image: Pixels, first: float, second: float) -> Pixels:
    """Fill a box about a random place with grey: at the top and on the left it is moved inside, elsewhere cut off."""
    cut = image.copy()
    cut[_box(image.shape[0], second), _box(image.shape[1], first)] = GREY
    return cut


def _box(side: int, number: float) -> slice:
    # A box is one pixel larger than intended, because both of its corners are filled.
    nominal = round(CUTOUT_SIDE * side / REFERENCE_SIDE)
    centre = side - (side - 1) * number  # in (1, side]
    corner = int(max(0.0, centre - nominal / 2))
    return slice(corner, min(side, corner + nominal) + 1)


# The sixteen


Operation: TypeAlias = Callable[[Pixels, float, float], Pixels]
"""An operation, with two random numbers in [0, 1) that most operations ignore."""


def _signed(operation: Callable[[Pixels, int], Pixels]) -> Operation:
    return lambda image, first, second: operation(image, 1 if first < 0.5 else -1)


def _plain(operation: Callable[[Pixels], Pixels]) -> Operation:
    return lambda image, first, second: operation(image)


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "shear_x": _signed(shear_x),
        "shear_y": _signed(shear_y),
        "translate_x": _signed(translate_x),
        "translate_y": _signed(translate_y),
        "rotate": _signed(rotate),
        "brightness": _plain(brightness),
        "color": _plain(color),
        "contrast": _plain(contrast),
        "sharpness": _plain(sharpness),
        "posterize": _plain(posterize),
        "solarize": _plain(solarize),
        "solarize_add": _plain(solarize_add),
        "autocontrast": _plain(autocontrast),
        "equalize": _plain(equalize),
        "invert": _plain(invert),
        "cutout": cutout,
    }
)

_BY_NUMBER = tuple(OPERATIONS.values())
