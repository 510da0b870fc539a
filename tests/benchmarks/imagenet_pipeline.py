"""Images a second, from JPEG files to batches: our pipeline against torchvision's plain one, on the same files.

    python tests/benchmarks/imagenet_pipeline.py [--workers 0 1 2] [--images 256] [--image-size 500 375]

The plain one is what ImageNet is mostly trained with, in the benchmark's own code too: ``ImageFolder``, then
``RandomResizedCrop``, ``RandomHorizontalFlip``, ``ToTensor`` and ``Normalize``, collated by a ``DataLoader``. Ours
hands over bytes; what is left to the device is timed on its own, on the CPU. Both take turns, and medians count.

The files are noise with the spectrum of photographs, at the quality that gives the mean size of ImageNet's files.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from algoperf_lightning.data.streams import Loader, TrainingStream
from algoperf_lightning.workloads.imagenet.batches import TrainingImages
from algoperf_lightning.workloads.imagenet.index import index_images
from algoperf_lightning.workloads.imagenet.normalise import MEAN, STD, normalise


def photograph(random, width, height):
    """Noise of ten octaves, each of four fifths of the last one's contrast."""
    image = np.zeros((height, width, 3), np.float32)
    for octave in range(10):
        cells = 2**octave + 1
        noise = random.normal(0, 1, (max(2, cells * height // width + 1), cells, 3)).astype(np.float32)
        noise = noise.mean(2, keepdims=True) + 0.35 * noise
        for channel in range(3):
            grown = Image.fromarray(noise[..., channel]).resize((width, height), Image.Resampling.BICUBIC)
            image[..., channel] += 0.8**octave * np.asarray(grown)
    return Image.fromarray((128 + 40 * image).clip(0, 255).astype(np.uint8))


def write_images(folder, count, size, quality):
    random = np.random.RandomState(0)
    (folder / "n00000000").mkdir()
    for number in range(count):
        photograph(random, *size).save(folder / "n00000000" / f"{number}.JPEG", quality=quality)
    files = list((folder / "n00000000").iterdir())
    kilobytes = sum(file.stat().st_size for file in files) / count / 1e3
    print(f"{count} files of {size[0]} x {size[1]}, {kilobytes:.0f} kB on average")


def plain(folder, batch, workers):
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images = datasets.ImageFolder(folder, transform)
    while True:
        yield from (
            inputs for inputs, _ in DataLoader(images, batch, shuffle=True, drop_last=True, num_workers=workers)
        )


def ours(folder, batch, workers, augmentation=()):
    images = TrainingImages(index_images(folder, folder / ".index.npz"), 224, None, *augmentation)
    yield from (batch["inputs"] for batch in Loader(TrainingStream(images, batch, seed=0), workers).open())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--image-size", type=int, nargs=2, default=(500, 375))
    parser.add_argument("--quality", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=8, help="a multiple of the workers, timed in each round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, options.images, options.image_size, options.quality)
        for workers in options.workers:
            sides = {"plain": plain, "ours": ours}
            seconds = {side: [] for side in sides}
            for _ in range(options.rounds):
                for side, make in sides.items():
                    source = make(folder, options.batch, workers)
                    for _ in range(max(1, 2 * workers)):  # what the workers have read ahead
                        next(source)
                    begin = time.perf_counter()
                    for _ in range(options.batches):
                        next(source)
                    seconds[side].append(time.perf_counter() - begin)
                    source.close()
            count = options.batch * options.batches
            rates = {side: count / statistics.median(times) for side, times in seconds.items()}
            print(
                f"{workers} workers: plain {rates['plain']:7.0f} images/s, ours {rates['ours']:7.0f} images/s, "
                f"ratio {rates['ours'] / rates['plain']:.2f}"
            )
        images = next(ours(folder, options.batch, 0))
        times = []
        for _ in range(options.rounds):
            begin = time.perf_counter()
            normalise(images)
            times.append(time.perf_counter() - begin)
        milliseconds = statistics.median(times) / options.batch * 1e3
        print(f"normalising, left to the device: {milliseconds:.3f} ms an image on this CPU")


if __name__ == "__main__":
    main()
