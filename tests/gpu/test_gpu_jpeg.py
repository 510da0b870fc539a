"""Training images of ImageNet, decoded on the device: their pixels beside those of the CPU, and how many a second."""

import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from algoperf_lightning.data import Draws
from algoperf_lightning.workloads.imagenet.batches import TrainingImages
from algoperf_lightning.workloads.imagenet.encoded import Decoder, EncodedImages, decoded_ahead
from algoperf_lightning.workloads.imagenet.index import index_images

pytestmark = pytest.mark.gpu

IMAGES = 48
SIZE = (500, 375)


def photograph(random):
    """Noise of ten octaves, each of four fifths of the last one's contrast, as in photographs."""
    width, height = SIZE
    image = np.zeros((height, width, 3), np.float32)
    for octave in range(10):
        cells = 2**octave + 1
        noise = random.normal(0, 1, (max(2, cells * height // width + 1), cells, 3)).astype(np.float32)
        noise = noise.mean(2, keepdims=True) + 0.35 * noise
        for channel in range(3):
            grown = Image.fromarray(noise[..., channel]).resize(SIZE, Image.Resampling.BICUBIC)
            image[..., channel] += 0.8**octave * np.asarray(grown)
    return Image.fromarray((128 + 40 * image).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "n00000000").mkdir()
    random = np.random.RandomState(0)
    for number in range(IMAGES):
        image, options = photograph(random), {"quality": 90, "subsampling": number % 3}
        image = image.convert("L") if number == 3 else image
        image.save(folder / "n00000000" / f"{number:02}.JPEG", progressive=number == 5, **options)
    return index_images(folder, folder / ".index.npz")


def damaged(path, expected, found):
    return ValueError(f"{path.name}: expected {expected}, but {found}")


def rows(begin=0, count=IMAGES):
    return np.arange(begin, begin + count) % IMAGES, Draws(0, np.arange(begin, begin + count))


@pytest.fixture
def decoder(index, device):
    return Decoder(index, 224, torch.device(device), damaged)


def test_pixels_are_near_those_of_the_cpu(index, decoder, device, record_property):
    expected = TrainingImages(index, 224, damaged).read(*rows())
    got = decoder.hand_over(decoder(EncodedImages(index, 224, damaged).read(*rows())))
    assert got["inputs"].device.type == torch.device(device).type
    assert got["inputs"].dtype == torch.uint8
    assert torch.equal(got["targets"].cpu(), expected["targets"])
    difference = (got["inputs"].cpu().int() - expected["inputs"].int()).flatten(1).abs()
    by_subsampling = {
        name: difference[number::3].float().mean().item() for number, name in enumerate(("4:4:4", "4:2:2", "4:2:0"))
    }
    figures = {
        "mean": difference.float().mean().item(),
        "max": difference.max().item(),
        "share above 2": (difference > 2).float().mean().item(),
        "mean by chroma subsampling": by_subsampling,
    }
    record_property("pixel_difference", figures)
    print(json.dumps({"device": str(device), "absolute difference of 255": figures}))
    assert difference[[3, 5]].max() == 0, "grey and progressive ones are prepared on the CPU"
    assert figures["mean"] < 2
    assert figures["share above 2"] < 0.2


def test_pixels_are_the_same_while_the_device_is_busy(index, decoder, device):
    encoded = EncodedImages(index, 224, damaged)
    batches = [encoded.read(*rows(begin, 12)) for begin in range(0, IMAGES, 12)]
    alone = [decoder(batch)["inputs"].clone() for batch in batches]
    side = 1024 if torch.device(device).type == "cuda" else 32
    weight = torch.randn(side, side, device=device)
    for number, batch in enumerate(decoded_ahead(iter(batches * 3), decoder)):
        before = batch["inputs"].clone()
        for _ in range(20):  # memory that is freed while kernels that read it are still queued
            weight = (weight @ torch.randn(side, side, device=device)).tanh()
        assert torch.equal(batch["inputs"], before)
        assert torch.equal(before, alone[number % 4])
    assert number == 11
    assert weight.isfinite().all()


def test_images_a_second(index, decoder, device, record_property):
    encoded, host = EncodedImages(index, 224, damaged), TrainingImages(index, 224, damaged)
    batch, rates = encoded.read(*rows()), {}
    decoder(batch)  # nvJPEG is set up
    for name, work in {
        "reading files, one core": lambda: encoded.read(*rows()),
        f"decoding on {torch.device(device).type}": lambda: decoder(batch),
        "reading and decoding on one core": lambda: host.read(*rows()),
    }.items():
        seconds = []
        for _ in range(3):
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
        rates[name] = IMAGES / min(seconds)
    record_property("images_a_second", rates)
    print(json.dumps({"images a second": {name: round(rate) for name, rate in rates.items()}}))
    assert min(rates.values()) > 0
