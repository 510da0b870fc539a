"""Synthetic volumes in fastMRI's format: ellipsoids, measured by a model of a scanner."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.rng import frozen_generator


@dataclass(frozen=True)
class Scan:
    """Parameters of synthetic volumes."""

    side: int = 64
    """Rows and columns of the image; the k-space has twice as many rows, as in the real scans."""
    widths: tuple[int, int] = (74, 80)
    """Columns of the k-space, which differ between scans."""
    ellipsoids: int = 16
    """Number of ellipsoids inside the large one."""
    smallest: float = 0.06
    """Minimum radius of ellipsoids; the unit is half the side."""
    outline: tuple[float, float] = (0.75, 0.95)
    """Range of the radius of the large one."""
    variation: float = 1.0
    """Variation of ellipsoids and waves between volumes: 0 if all are equal, 1 if they are independent."""
    texture: float = 0.0
    """Amplitude of waves inside the large one, relative to its brightness."""
    noise: tuple[float, float] = (0.02, 0.02)
    """Range of the standard deviation of the noise; that of each volume is uniform in its logarithm."""


SLICES = 8
"""Slices of a volume."""

TINY = Scan()
SMALL = Scan(
    side=24,
    widths=(38, 40),
    ellipsoids=20,
    smallest=0.06,
    outline=(1.0, 1.4),
    variation=0.3,
    texture=0.25,
    noise=(0.005, 0.03),
)

BRIGHTNESS = 1e-3
"""Approximate largest value of a real volume."""


def volume_bytes(random: np.random.RandomState, name: str, scan: Scan = TINY) -> bytes:
    """Return a volume as a file with the keys and attributes of the official ones.

    Ellipsoids with soft edges, and waves of all lengths, are inside a large one. Each slice is an image of them with a
    smooth phase and noise; its k-space is the centred, orthonormal Fourier transform of this image, and its target is
    the magnitude of the fully sampled image.
    """
    import h5py  # type: ignore[import-untyped]

    images = _images(random, int(random.choice(scan.widths)), scan)
    side = scan.side
    kspace = _centred(np.fft.fft2, images).astype(np.complex64)
    left = (images.shape[2] - side) // 2
    full = np.abs(_centred(np.fft.ifft2, kspace))
    target = full[:, side // 2 :][:, :side, left : left + side].astype(np.float32)
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


def _images(random: np.random.RandomState, width: int, scan: Scan) -> NDArray[np.complex128]:
    """Return complex images ``(SLICES, 2 side, width)``; pixels are square, the unit is half the side of the crop."""
    y = ((np.arange(2 * scan.side) - scan.side) / (scan.side / 2))[:, None]
    x = ((np.arange(width) - width // 2) / (scan.side / 2))[None, :]
    magnitude = np.zeros((SLICES, 2 * scan.side, width))
    anatomy = _Anatomy(random, scan.variation)
    centres = [np.zeros(3), *anatomy.uniform(-0.6, 0.6, (scan.ellipsoids, 3))]
    radii = [anatomy.uniform(*scan.outline, 3), *anatomy.uniform(scan.smallest, 0.35, (scan.ellipsoids, 3))]
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        angle, brightness = anatomy.uniform(0, np.pi), anatomy.uniform(0.3, 1) if number else 0.5
        across = np.cos(angle) * (y - centre[0]) + np.sin(angle) * (x - centre[1])
        along = np.cos(angle) * (x - centre[1]) - np.sin(angle) * (y - centre[0])
        z = (np.linspace(-0.5, 0.5, SLICES) - centre[2] / 2)[:, None, None]
        distance = np.sqrt((across / radius[0]) ** 2 + (along / radius[1]) ** 2 + (z / radius[2]) ** 2)
        softness = 0.5 / (scan.side / 2) / radius.min()
        shape = brightness / (1 + np.exp(((distance - 1) / softness).clip(-30, 30)))
        if scan.texture and not number:
            shape *= 1 + scan.texture * _waves(random, anatomy, y, x)
        magnitude += shape
    tilt = random.uniform(-2, 2, 3)
    field = np.exp(1j * (tilt[0] * y + tilt[1] * x + tilt[2] * x * y))
    least, most = scan.noise
    level = least * (most / least) ** random.uniform() if least < most else least
    noise = random.normal(0, level, (2, *magnitude.shape))
    images: NDArray[np.complex128] = BRIGHTNESS / 2 * (magnitude * field + noise[0] + 1j * noise[1])
    return images


class _Anatomy:
    """Random numbers of a volume that are close to those of all other volumes.

    Args:
        random: Generator of the volume.
        variation: 1 for the generator's own numbers, 0 for those of all volumes.
    """

    def __init__(self, random: np.random.RandomState, variation: float) -> None:
        self._random, self._variation = random, variation
        self._common = frozen_generator(0, "fastmri", "anatomy")

    def uniform(self, low: float, high: float, size: Any = None) -> Any:
        """Return numbers between two bounds."""
        own, common = self._random.uniform(low, high, size), self._common.uniform(low, high, size)
        return self._variation * own + (1 - self._variation) * common


def _waves(
    random: np.random.RandomState, anatomy: _Anatomy, y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a sum of waves across all slices whose amplitude falls with their frequency, ``(rows, columns)``."""
    field = np.zeros(np.broadcast_shapes(y.shape, x.shape))
    for frequency in np.geomspace(2, 20, 8):
        angle, phase = anatomy.uniform(0, 2 * np.pi), random.uniform(0, 2 * np.pi)
        across = np.cos(angle) * y + np.sin(angle) * x
        field += np.sin(frequency * np.pi / 2 * across + phase) / np.sqrt(frequency)
    return field


def _centred(transform: Any, images: NDArray[Any]) -> NDArray[Any]:
    shifted = np.fft.ifftshift(images, axes=(1, 2))
    return np.fft.fftshift(transform(shifted, axes=(1, 2), norm="ortho"), axes=(1, 2))
