"""Ways from a JPEG to a training image of 224 pixels: milliseconds of a core, and how far the pixels are off.

    python tests/benchmarks/imagenet_decoding.py [--images 24] [--quality 90]

Pixels are compared with those of the benchmark's code: Pillow decodes, torchvision resizes Pillow's image. Images of
500 x 375 have the size of most of ImageNet; those of 1000 x 750 show what decoding at a lower resolution would do: only
of them a crop may have twice the pixels that are wanted. Times are processor time, of the fastest tenth.
"""

import argparse
import io
import time

import numpy as np
import torch
from imagenet_pipeline import photograph
from PIL import Image
from torchvision.transforms import functional as T

from algoperf_lightning.workloads.imagenet.crops import CROP_NUMBERS, random_box, resized_crop
from algoperf_lightning.workloads.imagenet.encoded import baseline_size, rounded_resize
from algoperf_lightning.workloads.imagenet.reading import decode, open_rgb

SIDE = 224


def benchmark(data, box):
    return np.asarray(T.resized_crop(open_rgb(data), *box, [SIDE, SIDE]))


def ours(data, box):
    return resized_crop(decode(data), box, SIDE).permute(1, 2, 0).numpy()


def on_device(data, box):
    top, left, height, width = box
    return rounded_resize(decode(data)[:, top : top + height, left : left + width], SIDE).permute(1, 2, 0).numpy()


def reduced(data, box):
    """Decode at 1/2, 1/4 or 1/8, as far as the crop keeps the pixels that are wanted; then as the benchmark."""
    image = Image.open(io.BytesIO(data.tobytes()))
    scale = max(s for s in (1, 2, 4, 8) if s == 1 or min(box[2:]) >= s * SIDE)
    if scale > 1:
        image.draft("RGB", (image.width // scale, image.height // scale))
    return np.asarray(T.resized_crop(image.convert("RGB"), *(round(side / scale) for side in box), [SIDE, SIDE]))


def files_only(data, box):
    baseline_size(data)


def measured(way, files, boxes):
    times, pixels = [], []
    for _ in range(10):
        for data, box in zip(files, boxes, strict=True):
            begin = time.process_time_ns()
            image = way(data, box)
            times.append((time.process_time_ns() - begin) / 1e6)
            pixels.append(image)
    return sorted(times)[len(times) // 10], pixels[: len(files)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--quality", type=int, default=90)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for width, height in ((500, 375), (1000, 750)):
        random, files, boxes = np.random.RandomState(0), [], []
        for _ in range(options.images):
            file = io.BytesIO()
            photograph(random, width, height).save(file, "JPEG", quality=options.quality)
            files.append(np.frombuffer(file.getvalue(), np.uint8).copy())
            boxes.append(random_box(height, width, random.uniform(size=CROP_NUMBERS)))
        halved = np.mean([min(box[2:]) >= 2 * SIDE for box in boxes])
        print(
            f"{width} x {height}, {np.mean([len(file) for file in files]) / 1e3:.0f} kB, {halved:.0%} of crops halved"
        )
        _, expected = measured(benchmark, files, boxes)
        for way in (benchmark, ours, on_device, reduced, files_only):
            milliseconds, pixels = measured(way, files, boxes)
            line = f"  {way.__name__:10} {milliseconds:6.2f} ms"
            if pixels[0] is not None:
                off = np.abs(np.stack(pixels).astype(int) - np.stack(expected))
                line += (
                    f"   off by {off.mean():.4f} of 255 on average, {off.max()} at most, {(off > 0).mean():.1%} differ"
                )
            print(line)


if __name__ == "__main__":
    main()
