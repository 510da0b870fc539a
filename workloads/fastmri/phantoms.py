"""Synthetic volumes in fastMRI's format: ellipsoids, measured by a model of a scanner."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, SIDE, SLICES = 128, 64, 8
"""Rows of the k-space, twice the side of the image as in the real scans; side; slices of a volume."""

WIDTHS = (74, 80)
"""Columns of the k-space, not the same in all scans."""

ELLIPSOIDS = 16
"""Inside the large one."""

BRIGHTNESS = 1e-3
"""About the largest value of a real volume."""


def volume_bytes(random: np.random.RandomState, name: str) -> bytes:
    """Return a volume as a file with the keys and attributes of the official ones.

    Sixteen ellipsoids with soft edges lie in a large one. Each slice is an image of them with a smooth phase and noise;
    its k-space is the centred, orthonormal Fourier transform of this image, and its target is the magnitude of the
    fully sampled image.
    """
    import h5py  # type: ignore[import-untyped]

    images = _images(random, int(random.choice(WIDTHS)))
    kspace = _centred(np.fft.fft2, images).astype(np.complex64)
    left = (images.shape[2] - SIDE) // 2
    full = np.abs(_centred(np.fft.ifft2, kspace))
    target = full[:, (ROWS - SIDE) // 2 :][:, :SIDE, left : left + SIDE].astype(np.float32)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["ismrmrd_header"] = f"<ismrmrdHeader><!-- made up: {name} --></ismrmrdHeader>"
        file["kspace"] = kspace
        file["reconstruction_esc"] = target
        file["reconstruction_rss"] = target  # the same with one coil
        file.attrs["acquisition"] = "CORPD_FBK"
        file.attrs["max"] = float(target.max())
        file.attrs["norm"] = float(np.linalg.norm(target))
        file.attrs["patient_id"] = name
    return content.getvalue()


def _images(random: np.random.RandomState, width: int) -> NDArray[np.complex128]:
    """Return complex images ``(SLICES, ROWS, width)``; the pixels are square, the unit is half the side of the crop."""
    y = ((np.arange(ROWS) - ROWS // 2) / (SIDE / 2))[:, None]
    x = ((np.arange(width) - width // 2) / (SIDE / 2))[None, :]
    magnitude = np.zeros((SLICES, ROWS, width))
    centres = [np.zeros(3), *random.uniform(-0.6, 0.6, (ELLIPSOIDS, 3))]
    radii = [random.uniform(0.75, 0.95, 3), *random.uniform(0.06, 0.35, (ELLIPSOIDS, 3))]
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        angle, brightness = random.uniform(0, np.pi), random.uniform(0.3, 1) if number else 0.5
        across = np.cos(angle) * (y - centre[0]) + np.sin(angle) * (x - centre[1])
        along = np.cos(angle) * (x - centre[1]) - np.sin(angle) * (y - centre[0])
        z = (np.linspace(-0.5, 0.5, SLICES) - centre[2] / 2)[:, None, None]
        distance = np.sqrt((across / radius[0]) ** 2 + (along / radius[1]) ** 2 + (z / radius[2]) ** 2)
        softness = 0.5 / (SIDE / 2) / radius.min()
        magnitude += brightness / (1 + np.exp(((distance - 1) / softness).clip(-30, 30)))
    tilt = random.uniform(-2, 2, 3)
    field = np.exp(1j * (tilt[0] * y + tilt[1] * x + tilt[2] * x * y))
    noise = random.normal(0, 0.02, (2, *magnitude.shape))
    images: NDArray[np.complex128] = BRIGHTNESS / 2 * (magnitude * field + noise[0] + 1j * noise[1])
    return images


def _centred(transform: Any, images: NDArray[Any]) -> NDArray[Any]:
    shifted = np.fft.ifftshift(images, axes=(1, 2))
    return np.fft.fftshift(transform(shifted, axes=(1, 2), norm="ortho"), axes=(1, 2))
