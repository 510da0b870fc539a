"""Distortions of images against slow code, one pixel at a time."""

import colorsys
import itertools

import numpy as np
import pytest
import torch

from algoperf_lightning.data import Draws
from algoperf_lightning.images.distortions import adjust_contrast, adjust_saturation, crop, standardise
from algoperf_lightning.images.examples import DistortedImages, MirroredImages, NoisyImages, StandardisedImages


def random_images(count, side=32):
    return np.random.RandomState(0).randint(0, 256, (count, 3, side, side)).astype(np.uint8)


def test_crops_are_windows_of_the_padded_image():
    images = random_images(25, 8).astype(np.float32)
    corners = np.array(list(itertools.product(range(5), range(5))))
    for image, (top, left), made in zip(images, corners, crop(images, corners, 2), strict=True):
        for row, column in itertools.product(range(8), range(8)):
            y, x = row + top - 2, column + left - 2
            inside = 0 <= y < 8 and 0 <= x < 8
            assert np.array_equal(made[:, row, column], image[:, y, x] if inside else np.zeros(3))


def test_saturation_is_that_of_the_hsv_model():
    images = random_images(4, 6).astype(np.float32)
    images[0, :, 0, 0], images[0, :, 0, 1], images[0, :, 0, 2] = 0, 77, (9, 200, 9)
    factors = np.array([0.5, 0.9, 1.2, 1.49], np.float32)
    made = adjust_saturation(images, factors)
    for image, factor, result in zip(images, factors, made, strict=True):
        for row, column in itertools.product(range(6), range(6)):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[:, row, column].tolist())
            expected = colorsys.hsv_to_rgb(hue, min(saturation * float(factor), 1.0), value)
            assert result[:, row, column] == pytest.approx(expected, abs=1e-3)


def test_contrast_is_around_the_mean_of_each_colour_and_nothing_is_cut():
    images = random_images(3).astype(np.float32)
    factors = np.array([0.2, 1.0, 1.8], np.float32)
    made = adjust_contrast(images, factors)
    for image, factor, result in zip(images, factors, made, strict=True):
        for colour in range(3):
            mean = image[colour].astype(np.float64).mean()
            np.testing.assert_allclose(result[colour], (image[colour] - mean) * factor + mean, atol=1e-3)
    assert made.min() < 0
    assert made.max() > 255


def test_each_image_is_standardised_and_a_flat_one_is_not_blown_up():
    images = random_images(2).astype(np.float32)
    images[1] = 7
    images[1, 0, 0, 0] = 7.001
    made = standardise(images)
    values = images[0].astype(np.float64)
    deviation = np.sqrt(((values - values.mean()) ** 2).sum() / 3072)
    np.testing.assert_allclose(made[0], (values - values.mean()) / deviation, atol=1e-5)
    assert np.abs(made[1]).max() < 0.001 * 3072**0.5 * 1.01


def read(examples, count, seed=0):
    return examples.read(np.zeros(count, np.int64), Draws(seed, np.arange(count)))["inputs"].numpy()


def test_draws_of_the_distortions_have_the_ranges_of_the_reference(monkeypatch):
    seen = {}
    images = random_images(1).repeat(1, 0)
    for name in ("adjust_saturation", "adjust_contrast", "crop"):

        def spy(given, numbers, *rest, name=name):
            seen[name] = numbers, given.copy()
            return given

        monkeypatch.setattr(f"algoperf_lightning.images.examples.{name}", spy)
    read(DistortedImages(images, np.zeros(1, np.int64)), 3_000)
    for name, low, high in (("adjust_saturation", 0.5, 1.5), ("adjust_contrast", 0.2, 1.8)):
        factors, _ = seen[name]
        assert low <= factors.min() < low + 0.01 < high - 0.01 < factors.max() < high
    corners, _ = seen["crop"]
    assert set(map(tuple, corners.tolist())) == set(itertools.product(range(5), range(5)))
    brightness = seen["adjust_saturation"][1] - images
    assert np.ptp(brightness, (1, 2, 3)).max() < 1e-4  # one number for an image
    assert 0.24 < np.abs(brightness).max() <= 63 / 255 + 1e-4  # of 255


def test_half_of_the_images_are_mirrored_and_those_of_svhn_never(monkeypatch):
    monkeypatch.setattr("algoperf_lightning.images.examples.crop", lambda images, corners, padding: images)
    ramp = np.broadcast_to(np.arange(0, 256, 8), (1, 3, 32, 32)).astype(np.uint8)
    share = []
    for examples in (DistortedImages, MirroredImages):
        made = read(examples(ramp, np.zeros(1, np.int64)), 2_000)
        share.append((made[:, 0, 0, 0] > made[:, 0, 0, -1]).mean())
    assert share[0] == 0
    assert share[1] == pytest.approx(0.5, abs=0.04)


def test_distortions_depend_on_the_position_in_the_stream_only():
    images, rows = MirroredImages(random_images(8), np.arange(8)), np.arange(8)
    whole = images.read(rows, Draws(7, rows + 100))["inputs"]
    assert torch.equal(whole[4:], images.read(rows[4:], Draws(7, rows[4:] + 100))["inputs"])
    assert not torch.equal(whole, images.read(rows, Draws(8, rows + 100))["inputs"])
    plain = StandardisedImages(random_images(8), np.arange(8)).read(rows, Draws(7, rows))["inputs"]
    assert np.array_equal(plain.numpy(), standardise(random_images(8).astype(np.float32)))


def test_noise_is_standard_normal_and_the_same_for_an_example_each_time():
    examples, rows = NoisyImages(torch.zeros(5_000, 28, 28, dtype=torch.uint8)), np.arange(5_000)
    noise = examples.read(rows, Draws(0, rows))["noise"]
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert noise.abs().max() > 3.5
    assert torch.equal(examples.read(rows[7:9], Draws(0, rows[7:9]))["noise"], noise[7:9])
