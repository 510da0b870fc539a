"""Normalisation, crops and flips of CIFAR-10's images."""

import itertools

import numpy as np
import pytest
import torch

from algoperf_lightning.data import Draws
from algoperf_lightning.workloads.cifar10 import batches as cifar10_batches
from algoperf_lightning.workloads.cifar10.batches import AugmentedImages, crop_and_flip, normalise


def random_images(count):
    return np.random.RandomState(0).randint(0, 256, (count, 3, 32, 32)).astype(np.uint8)


def test_normalisation_agrees_with_torchvision():
    from torchvision.transforms import v2

    images = random_images(4)
    slow = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)),
        ]
    )
    assert torch.allclose(normalise(images), slow(torch.from_numpy(images)), atol=1e-6)


def test_crops_and_flips_agree_with_torchvision_one_image_at_a_time():
    from torchvision.transforms.v2 import functional as T

    corners = np.array(list(itertools.product(range(9), range(9))))
    images, flips = random_images(81), np.arange(81) % 3 == 0
    cropped = crop_and_flip(images, corners, flips)
    for image, (top, left), flip, result in zip(images, corners.tolist(), flips, cropped, strict=True):
        expected = T.crop(T.pad(torch.from_numpy(image), [4, 4, 4, 4]), top, left, 32, 32)
        expected = T.horizontal_flip(expected) if flip else expected
        assert np.array_equal(result, expected.numpy())


def test_augmentation_depends_on_the_position_in_the_stream_only():
    images = AugmentedImages(random_images(8), np.arange(8))
    rows = np.arange(8)
    whole = images.read(rows, Draws(7, rows + 100))["inputs"]
    half = images.read(rows[4:], Draws(7, rows[4:] + 100))["inputs"]
    assert torch.equal(whole[4:], half)
    assert not torch.equal(whole, images.read(rows, Draws(8, rows + 100))["inputs"])


def test_every_crop_is_drawn_and_half_of_the_images_are_mirrored():
    image = np.arange(32 * 32).reshape(1, 1, 32, 32).repeat(3, axis=1)
    count = 4_000
    seen = []

    def spy(images, corners, flips):
        seen.append((corners, flips))
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10_batches, "crop_and_flip", spy)
        examples = AugmentedImages(image.astype(np.uint8), np.zeros(1, np.int64))
        examples.read(np.zeros(count, np.int64), Draws(0, np.arange(count)))
    corners, flips = seen[0]
    shares = np.bincount(corners[:, 0] * 9 + corners[:, 1], minlength=81) / count
    assert len(shares) == 81
    assert np.abs(shares - 1 / 81).max() < 0.01
    assert abs(flips.mean() - 0.5) < 0.03
