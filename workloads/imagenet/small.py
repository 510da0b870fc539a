"""The images of the small size: real handwritten digits on synthetic fabrics, in class folders of JPEGs.

A class is a fabric and a digit on it. A fabric is woven of two colours, with a distance and a direction of its threads.
Each image shows it in another scale, direction and light. Colours distinguish most classes from most others; texture
and the form of the digit distinguish the rest.

Training classes are long-tailed (frequencies by rank to the power of -0.5) and a twentieth of the training images has
the label of another class. Validation and test have classes of equal size, correct labels, and digits that are not in
the training data.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from algoperf_lightning.packaged_data import read_digits

from .spec import SMALL_CLASSES, SMALL_IMAGES, TEST_FOLDER, TRAIN_FOLDER, VALIDATION_FOLDER

_TAIL = 0.5
_WRONG_LABELS = 0.05
_HELD_OUT = 250
"""Number of samples of digits for validation, and for test."""
_QUALITY = 85


def write_small_images(folder: Path, random: np.random.RandomState) -> None:
    """Write the class folders of all splits.

    Args:
        folder: The data directory.
        random: Generator for everything.
    """
    images, labels = read_digits()
    order = random.permutation(len(images))
    parts = {
        TEST_FOLDER: order[:_HELD_OUT],
        VALIDATION_FOLDER: order[_HELD_OUT : 2 * _HELD_OUT],
        TRAIN_FOLDER: order[2 * _HELD_OUT :],
    }
    shares = (1.0 + random.permutation(SMALL_CLASSES)) ** -_TAIL
    fabrics = _Fabrics(random)
    for name, count in SMALL_IMAGES.items():
        painter = _Painter(images[parts[name]], labels[parts[name]], fabrics, random)
        shown = np.arange(count) % SMALL_CLASSES
        called = shown
        if name == TRAIN_FOLDER:
            rest = random.choice(SMALL_CLASSES, count - SMALL_CLASSES, p=shares / shares.sum())
            shown = np.concatenate([shown[:SMALL_CLASSES], rest])
            wrong = random.uniform(size=count) < _WRONG_LABELS
            called = np.where(wrong, random.randint(SMALL_CLASSES, size=count), shown)
            called[:SMALL_CLASSES] = shown[:SMALL_CLASSES]  # no folder is empty
        _write_split(folder / name, name, painter, shown, called)


def _write_split(
    split: Path, name: str, painter: _Painter, shown: NDArray[np.int64], called: NDArray[np.int64]
) -> None:
    part = split.with_name(split.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(split, ignore_errors=True)
    for label in range(SMALL_CLASSES):
        (part / _folder_of(name, label)).mkdir(parents=True)
    for number, (content, label) in enumerate(zip(shown.tolist(), called.tolist(), strict=True)):
        file_name = {
            TRAIN_FOLDER: f"n{label:08}_{number}.JPEG",
            VALIDATION_FOLDER: f"ILSVRC2012_val_{number + 1:08}.JPEG",
            TEST_FOLDER: f"{number:08}.jpeg",
        }[name]
        file = io.BytesIO()
        Image.fromarray(painter.paint(content)).save(file, "JPEG", quality=_QUALITY)
        (part / _folder_of(name, label) / file_name).write_bytes(file.getvalue())
    part.replace(split)


def _folder_of(name: str, label: int) -> str:
    return str(label) if name == TEST_FOLDER else f"n{label:08}"


class _Fabrics:
    """The fabrics of all classes."""

    def __init__(self, random: np.random.RandomState) -> None:
        self.colours = random.normal(128, 45, (SMALL_CLASSES, 2, 3))
        self.periods = np.exp(random.uniform(np.log(4), np.log(14), SMALL_CLASSES))
        self.angles = random.uniform(0, np.pi / 2, SMALL_CLASSES)


class _Painter:
    """Paints images of classes from some samples of digits.

    Args:
        images: Ink in 0..16, uint8 ``(N, 8, 8)``.
        labels: Shape ``(N,)``.
        fabrics: Fabrics of the classes.
        random: Generator for everything else.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        fabrics: _Fabrics,
        random: np.random.RandomState,
    ) -> None:
        self._fabrics, self._random = fabrics, random
        self._samples = [
            [Image.fromarray(15 * sample.clip(max=16)) for sample in images[labels == digit]] for digit in range(10)
        ]

    def paint(self, label: int) -> NDArray[np.uint8]:
        """Return an image of a class, uint8 ``(H, W, 3)``; its sides are between 36 and 48 pixels."""
        random = self._random
        height, width = random.randint(36, 49, 2)
        canvas = self._fabric(label, height, width)
        self._write(canvas, label % 10)
        canvas += random.normal(0, 8, canvas.shape)
        painted: NDArray[np.uint8] = canvas.clip(0, 255).astype(np.uint8)
        return painted

    def _fabric(self, label: int, height: int, width: int) -> NDArray[np.float64]:
        """Return a piece of the fabric of a class with random lighting, ``(height, width, 3)``."""
        random, fabrics = self._random, self._fabrics
        angle = fabrics.angles[label] + random.uniform(-0.15, 0.15)
        turn = 2 * np.pi / (fabrics.periods[label] * random.uniform(0.85, 1.15))
        y, x = np.arange(height)[:, None], np.arange(width)
        along = np.sin(turn * (x * np.cos(angle) + y * np.sin(angle)) + random.uniform(0, 2 * np.pi))
        across = np.sin(turn * (y * np.cos(angle) - x * np.sin(angle)) + random.uniform(0, 2 * np.pi))
        share = (0.5 + 2 * along * across).clip(0, 1)[..., None]
        first, second = fabrics.colours[label] * random.uniform(0.75, 1.2) * random.uniform(0.9, 1.1, 3)
        piece: NDArray[np.float64] = share * first + (1 - share) * second
        return piece

    def _write(self, canvas: NDArray[np.float64], digit: int) -> None:
        """Draw a sample of a digit near the middle of a canvas, in bright or dark ink."""
        random = self._random
        samples = self._samples[digit]
        sample = samples[random.randint(len(samples))]
        height, width = canvas.shape[:2]
        scale = 8 / random.uniform(24, 34)
        x, y = width / 2 + random.uniform(-3, 3), height / 2 + random.uniform(-3, 3)
        angle, slant = random.uniform(-0.2, 0.2), random.uniform(-0.2, 0.2)
        a, b = scale * np.cos(angle), scale * (np.sin(angle) + slant)
        d, e = -scale * np.sin(angle), scale * np.cos(angle)
        # From positions on the canvas to positions in the sample, whose centre is at (x, y).
        matrix = (a, b, 4 - a * x - b * y, d, e, 4 - d * x - e * y)
        placed = sample.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        coverage = np.asarray(placed, np.float64)[..., None] * (random.uniform(0.7, 1.0) / 240)
        colour = random.uniform(200, 255, 3) if random.uniform() < 0.5 else random.uniform(0, 55, 3)
        canvas += coverage * (colour - canvas)
