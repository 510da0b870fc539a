from __future__ import annotations

import io
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as T
from torchvision.transforms import transforms as official

from algoperf_lightning.workloads.imagenet.crops import (
    CROP_NUMBERS,
    bicubic_taps,
    evaluation_crop,
    imagenet_v2_crop,
    random_box,
    resized_crop,
)
from algoperf_lightning.workloads.imagenet.normalise import normalise
from algoperf_lightning.workloads.imagenet.reading import _decoder, decode, open_rgb, verify


def waves():
    """The image of the reference values: 300 x 400, ``v = floor(127.5 + 127.5 sin(0.05 i + 0.03 j (c + 1)))``."""
    i, j, c = np.meshgrid(np.arange(300), np.arange(400), np.arange(3), indexing="ij")
    return np.floor(127.5 + 127.5 * np.sin(0.05 * i + 0.03 * j * (c + 1))).astype(np.uint8)


def photograph(height, width, seed=0):
    """Noise that is smooth enough to survive JPEG."""
    coarse = np.random.RandomState(seed).randint(0, 256, (max(2, height // 6), max(2, width // 6), 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, form="JPEG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return np.frombuffer(file.getvalue(), np.uint8).copy()


# Preparing images for evaluation: the reference's own numbers


def test_test_images_have_the_values_of_the_reference():
    image = imagenet_v2_crop(waves(), 224)
    row = [141.571, 8.33432, 225.525, 137.709, 12.9097, 233.761, 132.990, 16.7656, 240.388, 128.345, 21.4747, 245.542]
    assert image.dtype == np.float32
    assert image[0, :4].ravel().tolist() == pytest.approx(row, rel=5e-6)
    assert (image.mean(), image.std()) == pytest.approx((126.857, 90.1710), rel=5e-6)
    assert (image.min(), image.max()) == pytest.approx((-0.188997, 254.192), rel=5e-6)
    normal = normalise(torch.from_numpy(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    row = [0.306471, -1.88981, 2.12628, 0.240334, -1.80970, 2.26982]
    assert normal[0, :2].flatten().tolist() == pytest.approx(row, rel=5e-6)
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0.215489, 1.57191), rel=1e-5)


def test_validation_images_have_the_values_of_the_reference():
    image = evaluation_crop(Image.fromarray(waves()), 224)
    assert image.dtype == np.uint8
    normal = normalise(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    row = [0.399435, -1.93067, 1.97769, 0.330936, -1.87815, 2.13455]
    assert normal[0, :2].flatten().tolist() == pytest.approx(row, rel=5e-6)
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0.215413, 1.57087), rel=1e-5)


@pytest.mark.parametrize(
    "size", [(375, 500), (500, 375), (333, 500), (257, 256), (100, 90), (600, 75), (256, 256), (1031, 777)], ids=str
)
def test_validation_images_equal_those_of_torchvision(size):
    image = photograph(*size)
    expected = T.center_crop(T.resize(image, 256), 224)
    assert np.array_equal(evaluation_crop(image, 224), np.asarray(expected))


def keys(x):
    """Keys' kernel with a = -0.5, of a distance in pixels."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


@pytest.mark.parametrize("size", [(13, 20), (9, 9), (40, 31)], ids=str)
def test_bicubic_interpolation_agrees_with_a_slow_one(size):
    height, width = size
    image = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    side = int(0.875 * min(size))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    got = imagenet_v2_crop(image, 16)
    for y, x in ((0, 0), (0, 15), (7, 3), (15, 15), (12, 0)):
        centres = [(place + 0.5) * side / 16 - 0.5 for place in (y, x)]
        weights = [np.array([keys(centre - place) for place in range(side)]) for centre in centres]
        rows, columns = (weight / weight.sum() for weight in weights)
        square = image[top : top + side, left : left + side].astype(float)
        expected = np.einsum("h,w,hwc->c", rows, columns, square)
        assert got[y, x] == pytest.approx(expected, abs=0.5)  # the kernel is read from a table


def test_a_single_pixel_is_an_image_too():
    assert (imagenet_v2_crop(np.full((1, 1, 3), 7, np.uint8), 4) == 7).all()
    assert bicubic_taps(1, 4)[0].max() == 0


# Random parts of images


class Scripted:
    """In place of torch within torchvision: its random numbers come from a list, those for the place from its end."""

    def __init__(self, numbers):
        self.shapes, self.places = iter(numbers[:-2]), iter(numbers[-2:])
        self.log, self.exp = torch.log, torch.exp

    def tensor(self, values):
        return torch.tensor(values, dtype=torch.float64)

    def empty(self, size):
        return SimpleNamespace(uniform_=lambda low, high: self.tensor([low + (high - low) * next(self.shapes)]))

    def randint(self, low, high, size):
        return torch.tensor(int(next(self.places) * high))


@pytest.mark.parametrize(
    ("size", "always_fits"),
    [
        pytest.param((375, 500), True, id="landscape"),
        pytest.param((500, 333), True, id="portrait"),
        pytest.param((64, 64), True, id="square"),
        pytest.param((40, 400), False, id="wide"),
        pytest.param((1500, 60), False, id="high"),
        pytest.param((2, 300), False, id="two-rows"),
        pytest.param((1, 1), True, id="one-pixel"),
    ],
)
def test_boxes_are_those_of_torchvision(size, always_fits, monkeypatch):
    image, fallbacks = Image.new("L", size[::-1]), 0
    for seed in range(100):
        numbers = np.random.RandomState(seed).uniform(size=CROP_NUMBERS)
        script = Scripted(numbers)
        monkeypatch.setattr(official, "torch", script)
        expected = official.RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
        assert random_box(*size, numbers) == expected
        fallbacks += len(list(script.places)) == 2
    assert fallbacks == 0 if always_fits else fallbacks > 0


def test_resized_crops_are_pillows_but_for_rounding():
    image = photograph(375, 500)
    whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    shares = []
    for seed in range(30):
        box = random_box(375, 500, np.random.RandomState(seed).uniform(size=CROP_NUMBERS))
        expected = np.asarray(T.resized_crop(image, *box, (224, 224))).astype(int)
        difference = resized_crop(whole, box, 224).permute(1, 2, 0).numpy() - expected
        assert np.abs(difference).max() <= 2
        assert abs(difference.mean()) < 0.02
        shares.append(np.abs(difference).mean())
    assert np.mean(shares) < 0.06


# Decoding


def with_orientation(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image, exif=exif)


COLOURS = photograph(90, 123)
UNUSUAL = {
    "usual": encoded(COLOURS, quality=90),
    "no-subsampling": encoded(COLOURS, subsampling=0),
    "4:2:2": encoded(COLOURS, subsampling=1),
    "progressive": encoded(COLOURS, progressive=True),
    "grey": encoded(COLOURS.convert("L")),
    "print-colours": encoded(COLOURS.convert("CMYK")),
    "png": encoded(COLOURS, "PNG"),
    "transparent-png": encoded(COLOURS.convert("RGBA"), "PNG"),
    "palette-png": encoded(COLOURS.quantize(16), "PNG"),
    "turned-by-exif": with_orientation(COLOURS),
    "broken-exif": encoded(COLOURS, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\xff garbage"),
    "bytes-after-the-end": np.concatenate([encoded(COLOURS), np.arange(100, dtype=np.uint8)]),
    "one-pixel": encoded(COLOURS.crop((0, 0, 1, 1))),
}


@pytest.mark.parametrize("decoder", ["torchvision", None])
@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL)
def test_images_are_decoded_as_pillow_does(data, decoder, monkeypatch):
    if decoder is None:
        monkeypatch.setattr("algoperf_lightning.workloads.imagenet.reading._decoder", lambda: None)
    else:
        assert _decoder() is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB"))
        verify(data)  # whose callers silence warnings
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(decode(data).permute(1, 2, 0).numpy(), expected)
        assert np.array_equal(np.asarray(open_rgb(data)), expected)


BAD = {
    "empty": np.zeros(0, np.uint8),
    "cut": UNUSUAL["usual"][:-1000],
    "cut-progressive": UNUSUAL["progressive"][:-1000],
    "header-only": np.concatenate([UNUSUAL["usual"][:40], UNUSUAL["usual"][-2:]]),
    "cut-png": UNUSUAL["png"][:-1000],
    "text": np.frombuffer(b"<html>no such file</html>", np.uint8),
    "zeros": np.zeros(5000, np.uint8),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
@pytest.mark.parametrize("reader", [decode, open_rgb, verify], ids=lambda reader: reader.__name__)
def test_what_is_no_image_is_an_error(reader, data):
    with pytest.raises(OSError, match=r"."):
        reader(data)
