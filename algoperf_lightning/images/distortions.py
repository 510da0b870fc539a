"""Distortions of colour photographs as in TensorFlow. Images are float32 ``(B, 3, H, W)`` in 0..255."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Images = NDArray[np.float32]


def crop(images: Images, corners: NDArray[np.int64], padding: int) -> Images:
    """Pad images with zeros and crop a window of the original size from each.

    Args:
        images: ``(B, C, H, W)``.
        corners: Upper left corner (row, column) of each window in the padded image, in [0, 2 padding], ``(B, 2)``.
        padding: Padding on each side in pixels.
    """
    around = (padding, padding)
    padded = np.pad(images, ((0, 0), (0, 0), around, around))
    windows = sliding_window_view(padded, images.shape[2:], axis=(2, 3))
    cropped: Images = windows[np.arange(len(images)), :, corners[:, 0], corners[:, 1]]
    return cropped


def adjust_saturation(images: Images, factors: NDArray[np.float32]) -> Images:
    """Multiply the HSV saturation and clip it at 1. Hue and value are unchanged.

    Args:
        images: ``(B, 3, H, W)``. Pixels without a positive value become grey.
        factors: ``(B,)``.
    """
    value, smallest = images.max(1, keepdims=True), images.min(1, keepdims=True)
    saturation = np.divide(value - smallest, value, out=np.zeros_like(value), where=value > 0)
    changed = (saturation * factors[:, None, None, None]).clip(0, 1)
    ratio = np.divide(changed, saturation, out=np.zeros_like(value), where=saturation > 0)
    adjusted: Images = value - (value - images) * ratio
    return adjusted


def adjust_contrast(images: Images, factors: NDArray[np.float32]) -> Images:
    """Multiply the difference of each pixel to the mean of its channel in the image, without clipping.

    Args:
        images: ``(B, 3, H, W)``.
        factors: ``(B,)``.
    """
    mean = images.mean((2, 3), keepdims=True)
    adjusted: Images = (images - mean) * factors[:, None, None, None] + mean
    return adjusted


def standardise(images: Images) -> Images:
    """Standardise each image to mean 0 and standard deviation 1, with a lower bound for flat images."""
    flat = images.reshape(len(images), -1)
    mean, std = flat.mean(1), flat.std(1)
    std = np.maximum(std, np.float32(flat.shape[1] ** -0.5))
    standardised: Images = (images - mean[:, None, None, None]) / std[:, None, None, None]
    return standardised
