"""RandAugment against values of the official implementation, and against formulas written out slowly."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torchvision.transforms.v2 import functional as T

from algoperf_lightning.data.examples import Draws
from algoperf_lightning.workloads.imagenet.rand_augment import (
    NUMBERS,
    OPERATIONS,
    OPERATIONS_PER_IMAGE,
    _away_from,
    cutout,
    rand_augment,
)

SIGNED = {"shear_x", "shear_y", "translate_x", "translate_y", "rotate"}
PLUS, MINUS = 0.2, 0.7
"""Random numbers that stand for the two signs."""


def waves():
    """The image of the reference values, 224 x 224."""
    row, column, colour = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    wave = np.floor(127.5 + 127.5 * np.sin(0.05 * row + 0.03 * column * (colour + 1))).astype(np.int64)
    return (3 * wave // 5 + 20).astype(np.uint8)


def noise(size=224):
    return np.random.RandomState(0).randint(0, 256, (size, size, 3)).astype(np.uint8)


def apply(name, image, first=PLUS, second=0.5):
    return OPERATIONS[name](image, first, second)


def test_the_reference_image_is_made_right():
    image = waves()
    assert image.mean() == pytest.approx(95.9732, rel=1e-6)
    assert image.std() == pytest.approx(54.1584, rel=1e-6)
    assert image[100, 100].tolist() == [171, 20, 171]
    assert image[5, 200].tolist() == [93, 72, 53]


@pytest.mark.parametrize(
    ("name", "first", "mean", "std", "inner", "outer"),
    [
        pytest.param("shear_x", PLUS, 101.561, 51.0814, [134, 114, 32], [98, 81, 65], id="shear_x+"),
        pytest.param("shear_x", MINUS, 100.419, 51.3094, [152, 113, 23], [89, 63, 42], id="shear_x-"),
        pytest.param("shear_y", PLUS, 100.089, 51.3077, [90, 91, 111], [109, 129, 147], id="shear_y+"),
        pytest.param("shear_y", MINUS, 99.1768, 51.3672, [112, 90, 91], [128, 128, 128], id="shear_y-"),
        pytest.param("translate_x", PLUS, 109.293, 43.7342, [23, 23, 23], [87, 93, 109], id="translate_x+"),
        pytest.param("translate_x", MINUS, 111.146, 43.0682, [20, 22, 31], [128, 128, 128], id="translate_x-"),
        pytest.param("translate_y", PLUS, 110.170, 43.3015, [107, 74, 128], [128, 128, 128], id="translate_y+"),
        pytest.param("translate_y", MINUS, 110.210, 43.2723, [128, 74, 107], [22, 20, 23], id="translate_y-"),
        pytest.param("rotate", PLUS, 100.588, 51.2747, [171, 21, 169], [128, 128, 128], id="rotate+"),
        pytest.param("rotate", MINUS, 100.203, 51.1073, [167, 20, 171], [128, 128, 128], id="rotate-"),
        ("brightness", 0.5, 166.215, 84.5617, [255, 38, 255], [176, 136, 100]),
        ("color", 0.5, 100.981, 81.2737, [251, 0, 251], [108, 68, 32]),
        ("contrast", 0.5, 104.496, 91.8033, [238, 0, 238], [90, 50, 14]),
        ("sharpness", 0.5, 95.9629, 54.1700, [171, 20, 171], [93, 72, 53]),
        ("posterize", 0.5, 88.3902, 53.7042, [160, 16, 160], [80, 64, 48]),
        ("solarize", 0.5, 95.9732, 54.1584, [171, 20, 171], [93, 72, 53]),
        ("solarize_add", 0.5, 165.576, 29.0800, [171, 130, 171], [203, 182, 163]),
        ("autocontrast", 0.5, 126.979, 90.7835, [253, 0, 253], [122, 87, 55]),
        ("equalize", 0.5, 131.734, 77.2103, [248, 0, 248], [129, 106, 82]),
        ("invert", 0.5, 159.027, 54.1584, [84, 235, 84], [162, 183, 202]),
    ],
)
def test_operations_are_those_of_the_reference(name, first, mean, std, inner, outer):
    result = apply(name, waves(), first)
    assert result.dtype == np.uint8
    assert result.mean() == pytest.approx(mean, rel=1e-5)
    assert result.std() == pytest.approx(std, rel=5e-6)
    assert result[100, 100].tolist() == inner
    assert result[5, 200].tolist() == outer


def test_there_are_sixteen_and_one_does_nothing():
    assert len(OPERATIONS) == 16
    image = noise()
    assert np.array_equal(apply("solarize", image), image)
    idle = [name for name in OPERATIONS if np.array_equal(apply(name, image), image)]
    assert set(idle) == {"solarize", "autocontrast"}  # noise has the whole range of values already


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", sorted(SIGNED))
def test_geometry_takes_the_pixel_that_the_formula_names(name, sign):
    image = noise()
    x, y = np.meshgrid(np.arange(224) + 0.5, np.arange(224) + 0.5)
    cos, sin = math.cos(math.radians(30 * sign)), math.sin(math.radians(30 * sign))
    column, row = {
        "shear_x": (x + sign * 0.3 * y, y),
        "shear_y": (x, y + sign * 0.3 * x),
        "translate_x": (x - sign * 100, y),
        "translate_y": (x, y - sign * 100),
        "rotate": (cos * (x - 112) - sin * (y - 112) + 112, sin * (x - 112) + cos * (y - 112) + 112),
    }[name]
    column, row = np.floor(column).astype(int), np.floor(row).astype(int)
    inside = (column >= 0) & (column < 224) & (row >= 0) & (row < 224)
    expected = np.where(inside[..., None], image[row % 224, column % 224], 128)
    assert np.array_equal(apply(name, image, PLUS if sign == 1 else MINUS), expected)


def smoothed(image):
    """The image under the kernel [1 1 1; 1 5 1; 1 1 1] / 13, rounded; the border as it is."""
    wide = image.astype(np.int64)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    boxes = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    result = wide.copy()
    result[1:-1, 1:-1] = (2 * (boxes + 4 * wide[1:-1, 1:-1]) + 13) // 26
    return result


def luma(image):
    return (image.astype(np.int64) @ [19_595, 38_470, 7_471] + 0x8000) >> 16


@pytest.mark.parametrize(
    ("name", "away_from"),
    [
        ("brightness", lambda image: np.zeros_like(image)),
        ("color", lambda image: luma(image)[..., None]),
        ("contrast", lambda image: np.floor(luma(image).mean() + 0.5)),
        ("sharpness", smoothed),
    ],
)
def test_blends_follow_their_formula(name, away_from):
    image = noise()
    base = np.broadcast_to(np.asarray(away_from(image)), image.shape).astype(np.float32)
    moved = base + np.float32(1.9) * (image.astype(np.float32) - base)
    assert np.array_equal(apply(name, image), moved.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", ["brightness", "color", "contrast", "sharpness"])
def test_blends_are_those_of_pillow(name):
    for image in (noise(), waves(), waves()[:7, :5], np.full((9, 9, 3), 255, np.uint8)):
        picture = Image.fromarray(image)
        assert np.array_equal(apply(name, image), getattr(ImageEnhance, name.capitalize())(picture).enhance(1.9))


def test_every_pair_of_values_blends_as_in_pillow():
    values, base = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    expected = Image.blend(Image.fromarray(base), Image.fromarray(values), 1.9)
    assert np.array_equal(_away_from(base, values), expected)


@pytest.mark.parametrize(("name", "other"), [("autocontrast", T.autocontrast), ("equalize", T.equalize)])
def test_histogram_operations_agree_with_torchvision(name, other):
    image = (noise(64) // 3 + 40).astype(np.uint8)
    image[..., 2] = 77  # one colour without any contrast
    expected = other(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    result = apply(name, image).astype(int)
    assert np.abs(result - expected).max() <= 1  # torchvision rounds where Pillow cuts
    assert (result[..., 2] == 77).all()


@pytest.mark.parametrize(
    ("first", "second", "columns", "rows"),
    [
        pytest.param(0.5, 0.5, (72, 152), (72, 152), id="inside: 81 x 81 pixels, as both corners are filled"),
        pytest.param(0.0, 0.5, (184, 223), (72, 152), id="right edge: cut off"),
        pytest.param(1 - 1e-9, 0.5, (0, 80), (72, 152), id="left edge: moved inside"),
        pytest.param(0.5, 1 - 1e-9, (72, 152), (0, 80), id="upper edge: moved inside"),
        pytest.param(0.5, 0.0, (72, 152), (184, 223), id="lower edge: cut off"),
    ],
)
def test_cutout(first, second, columns, rows):
    image = np.zeros((224, 224, 3), np.uint8)
    filled = np.argwhere((cutout(image, first, second) == 128).all(2))
    assert (filled[:, 1].min(), filled[:, 1].max()) == columns
    assert (filled[:, 0].min(), filled[:, 0].max()) == rows
    assert len(filled) == (columns[1] - columns[0] + 1) * (rows[1] - rows[0] + 1)


def test_at_other_sizes_pixels_are_in_proportion():
    image = noise(112)
    assert np.array_equal(apply("translate_x", image)[:, 50:], image[:, :62])
    assert (cutout(np.zeros_like(image), 0.5, 0.5) == 128).all(2).sum() == 41 * 41


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_the_image_that_is_given_stays_as_it_is(name):
    image = noise(64)
    image.flags.writeable = False
    assert apply(name, image).shape == image.shape


def test_two_operations_are_drawn_uniformly_with_even_signs(monkeypatch):
    from algoperf_lightning.workloads.imagenet import rand_augment as module

    drawn = []

    def spy(number):
        def note(image, first, second):
            drawn.append((number, first))
            return image

        return note

    monkeypatch.setattr(module, "_BY_NUMBER", tuple(spy(number) for number in range(16)))
    count = 8_000
    for numbers in Draws(3, np.arange(count)).uniform(NUMBERS):
        rand_augment(noise(2), numbers)
    which, first = np.array(drawn).T
    pairs = which.reshape(count, OPERATIONS_PER_IMAGE).astype(int)
    shares = np.bincount(pairs[:, 0] * 16 + pairs[:, 1], minlength=256) / count
    assert len(shares) == 256
    assert np.abs(shares - 1 / 256).max() < 5 * math.sqrt(1 / 256 / count)  # independent, repetition allowed
    for number in range(16):
        signs = first[which == number] < 0.5
        assert abs(signs.mean() - 0.5) < 5 * 0.5 / math.sqrt(len(signs))


def test_operations_follow_one_another_in_the_order_drawn():
    image = noise(64)
    names = list(OPERATIONS)
    numbers = np.array([(names.index("invert") + 0.5) / 16, 0.1, 0.1, (names.index("shear_x") + 0.5) / 16, 0.9, 0.1])
    assert np.array_equal(rand_augment(image, numbers), apply("shear_x", apply("invert", image), MINUS))
