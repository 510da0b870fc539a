"""Images a second and core through RandAugment, at 224 x 224 pixels, and the time of each operation.

    OMP_NUM_THREADS=1 python tests/benchmarks/rand_augment_speed.py

Beside it torchvision's RandAugment, which calls Pillow throughout, though not for the same operations. They take turns,
and medians count; time is that of the processor. Both start from an array of bytes and end with one.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import RandAugment

from algoperf_lightning.workloads.imagenet.rand_augment import NUMBERS, OPERATIONS, rand_augment

IMAGES = 200


def photographs():
    """Smooth colours under a little noise."""
    random = np.random.RandomState(0)
    for _ in range(IMAGES):
        small = Image.fromarray(random.randint(0, 256, (12, 12, 3)).astype(np.uint8))
        smooth = np.asarray(small.resize((224, 224), Image.Resampling.BICUBIC), dtype=np.int16)
        yield (smooth + random.randint(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8)


def seconds(function, count):
    begin = time.process_time()
    for number in range(count):
        function(number)
    return (time.process_time() - begin) / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = list(photographs())
    numbers = np.random.RandomState(1).uniform(size=(IMAGES, NUMBERS))
    theirs = RandAugment(num_ops=2, fill=[128] * 3)
    contestants = {
        "rand_augment": lambda k: rand_augment(images[k], numbers[k]),
        "torchvision's RandAugment": lambda k: np.asarray(theirs(Image.fromarray(images[k]))),
    }
    taken = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, function in contestants.items():
            taken[name].append(seconds(function, IMAGES))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, median in medians.items():
        print(f"{name:26} {median * 1e6:7.0f} us an image   {1 / median:7.0f} images/s")
    ours, other = medians.values()
    print(f"ratio {other / ours:.2f}")
    for name, operation in OPERATIONS.items():
        median = statistics.median(seconds(lambda k, op=operation: op(images[k], 0.3, 0.6), 50) for _ in range(5))
        print(f"  {name:14} {median * 1e6:7.1f} us")


if __name__ == "__main__":
    main()
