"""A small data set in ImageNet's format: class folders of JPEGs, with the same irregular files."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .spec import TEST_FOLDER, TRAIN_FOLDER, VALIDATION_FOLDER

TINY_CLASSES = 10
TINY_IMAGES = {TRAIN_FOLDER: 400, VALIDATION_FOLDER: 100, TEST_FOLDER: 50}
"""Images in each folder, in equal shares for the classes."""


def write_tiny_images(folder: Path, random: np.random.RandomState) -> None:
    """Write photographs of ten synthetic fabrics, which can be recognised from any part.

    As in ImageNet, sizes differ, one image is a PNG with another extension, and one is CMYK.

    Args:
        folder: The data directory.
        random: Generator for the fabrics and their photographs.
    """
    fabrics = [_Fabric(random) for _ in range(TINY_CLASSES)]
    for name, images in TINY_IMAGES.items():
        split = folder / name
        part = split.with_name(split.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(split, ignore_errors=True)
        for label, fabric in enumerate(fabrics):
            class_folder = part / (str(label) if name == TEST_FOLDER else f"n{label:08}")
            class_folder.mkdir(parents=True)
            for number in range(images // TINY_CLASSES):
                file_name = {
                    TRAIN_FOLDER: f"n{label:08}_{number}.JPEG",
                    VALIDATION_FOLDER: f"ILSVRC2012_val_{number * TINY_CLASSES + label + 1:08}.JPEG",
                    TEST_FOLDER: f"{label:04}{number:04}.jpeg",
                }[name]
                image = Image.fromarray(fabric.photograph(random))
                form = "JPEG"
                if name == TRAIN_FOLDER and number == 0:
                    form = "PNG" if label == 0 else form
                    image = image.convert("CMYK") if label == 1 else image
                (class_folder / file_name).write_bytes(_encode(image, form))
        part.replace(split)


class _Fabric:
    """A woven pattern of two colours; distance and direction of its threads are random."""

    def __init__(self, random: np.random.RandomState) -> None:
        self.colours = random.uniform(40, 215, (2, 3)).astype(np.float32)
        self.period = random.uniform(5, 25)
        self.angle = random.uniform(0, np.pi / 2)

    def photograph(self, random: np.random.RandomState) -> NDArray[np.uint8]:
        """Return a photograph ``(H, W, 3)`` of a part of it, with random brightness and noise."""
        height, width = random.randint(80, 121, 2)
        y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
        angle = self.angle + random.uniform(-0.2, 0.2)
        turn = 2 * np.pi / (self.period * random.uniform(0.85, 1.15))
        along = np.sin(turn * (x * np.cos(angle) + y * np.sin(angle)) + random.uniform(0, 2 * np.pi))
        across = np.sin(turn * (y * np.cos(angle) - x * np.sin(angle)) + random.uniform(0, 2 * np.pi))
        share = (0.5 + 2 * along * across).clip(0, 1)[..., None].astype(np.float32)
        light = (random.uniform(0.6, 1.2) * random.uniform(0.85, 1.15, 3)).astype(np.float32)
        image = share * (light * self.colours[0]) + (1 - share) * (light * self.colours[1])
        noise = np.frombuffer(random.bytes(image.size), np.int8).reshape(image.shape) * np.float32(0.3)
        noisy: NDArray[np.uint8] = (image + noise).clip(0, 255).astype(np.uint8)
        return noisy


def _encode(image: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form, quality=90)
    return file.getvalue()
