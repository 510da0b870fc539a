"""From k-space to the input of the model: an undersampled image and its target, normalised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CLIP = 6.0
"""Inputs and targets are clipped at this many standard deviations from the mean."""


def undersampled_image(
    kspace: NDArray[np.complex64], kept: NDArray[np.bool_], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the cropped magnitude of the centred, orthonormal inverse Fourier transform of the kept columns.

    Equal to masking, ``ifftshift``, ``ifft2``, ``fftshift``, cropping and taking the magnitude, with less work. Columns
    of zeros are not transformed. Rows outside the crop are dropped before the second transform. The shift of the input
    only changes the phases of the output, so it is omitted, and the shift of the output is part of the crop.

    Args:
        kspace: complex64 ``(H, W)``, zero frequency in the centre.
        kept: Which columns are measured, bool ``(W,)``.
        shape: Rows and columns of the image.

    Returns:
        float32 of shape ``shape``, in the scanner's unit.
    """
    import scipy.fft  # type: ignore[import-untyped]

    rows, columns = (_centre(size, crop) for size, crop in zip(kspace.shape, shape, strict=True))
    along_rows = scipy.fft.ifft(kspace[:, kept], axis=0, norm="ortho", overwrite_x=True)
    image = np.zeros((len(rows), len(kept)), dtype=np.complex64)
    image[:, kept] = along_rows[rows]
    image = scipy.fft.ifft(image, axis=1, norm="ortho", overwrite_x=True)
    magnitude: NDArray[np.float32] = np.abs(image)[:, columns]
    return magnitude


def _centre(size: int, crop: int) -> NDArray[np.int64]:
    """Return the indices of the ``crop`` central values in the output of an inverse transform that is not shifted."""
    first = (size - crop) // 2
    return (np.arange(first, first + crop) - size // 2) % size


def normalise(
    image: NDArray[np.float32],
    target: NDArray[np.float32],
    inputs: NDArray[np.float32],
    targets: NDArray[np.float32],
) -> tuple[float, float]:
    """Write image and target, minus the mean of the image, divided by its standard deviation, clipped to +-6.

    Args:
        image: The undersampled image, any shape; it is overwritten.
        target: The true image, of the same shape.
        inputs: Output for the normalised image.
        targets: Output for the normalised target, which uses the statistics of the undersampled image.

    Returns:
        Mean and (population) standard deviation of the image.
    """
    mean = image.mean(dtype=np.float32)
    image -= mean
    flat = image.reshape(-1)
    std = np.sqrt(np.dot(flat, flat) / np.float32(flat.size))
    with np.errstate(divide="ignore", invalid="ignore"):  # an image of one value, which the caller refuses
        np.clip(image / std, -CLIP, CLIP, out=inputs)
        np.clip((target - mean) / std, -CLIP, CLIP, out=targets)
    return float(mean), float(std)
