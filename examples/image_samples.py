"""Draw training images of digits, mnist or cifar10, some of each class, as the model reads them.

    python examples/image_samples.py digits --output docs/pictures/digits_samples.png
    python examples/image_samples.py mnist --output docs/pictures/mnist_samples.png
    python examples/image_samples.py cifar10 --output docs/pictures/cifar10_samples.png

Where training varies the images, the first row is of images as they are evaluated, and the others are of the same ones
as they are trained on. The data are tiny unless ``--data-dir`` holds others; those of digits are in the package.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from algoperf_lightning import get_workload
from algoperf_lightning.data.examples import Draws, TensorExamples
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads.cifar10.batches import MEAN, STDDEV, NormalisedImages
from algoperf_lightning.workloads.cifar10.data import LABEL_NAMES

PLAIN = {"digits": TensorExamples, "cifar10": NormalisedImages}  # what reads a training split without varying it
CLASSES = 10
LOOKED_THROUGH = 500  # images, to find some of each class


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=("digits", "mnist", "cifar10"))
    parser.add_argument("--data-dir", type=Path, help="default: a tiny data set in a temporary folder")
    parser.add_argument("--output", type=Path, default=Path("image_samples.png"))
    parser.add_argument("--rows", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = get_workload(options.workload)(PlainSGD(), data_dir=options.data_dir or scratch).data
        if options.data_dir is None and data.spec.files:
            data.write_tiny()
        rows = rows_of(data.open("train"), PLAIN.get(options.workload), options.rows)
    draw(options.output, rows, is_varied=options.workload in PLAIN)


def rows_of(train, plain, count):
    """Rows of inputs, an image of each class in each."""
    looked_through = np.arange(min(LOOKED_THROUGH, len(train)))
    labels = train.read(looked_through, Draws(0, looked_through))["targets"].numpy()
    of_class = [np.flatnonzero(labels == number) for number in range(CLASSES)]
    if plain is None:
        return [read(train, [images[row] for images in of_class]) for row in range(count)]
    first = [images[0] for images in of_class]
    varied = [read(train, first, CLASSES * row) for row in range(1, count)]
    return [plain.read(train, np.array(first), None)["inputs"], *varied]


def read(train, indices, position=0):
    """Inputs as they are from a position of the stream of training images on, which decides how they are varied."""
    return train.read(np.array(indices), Draws(0, position + np.arange(len(indices))))["inputs"]


def draw(output, rows, is_varied):
    in_colour = rows[0].shape[1] == 3
    figure, axes = plt.subplots(len(rows), CLASSES, figsize=(10, 1.02 * len(rows)), squeeze=False, layout="constrained")
    unvaried = rows[:1] if is_varied else rows  # noise reaches further, and would make all else grey
    limits = {"vmin": min(row.min() for row in unvaried), "vmax": max(row.max() for row in unvaried)}
    for line, inputs in zip(axes, rows, strict=True):
        for axis, image in zip(line, inputs, strict=True):
            pixels = (image * STDDEV + MEAN).permute(1, 2, 0).clip(0, 1) if in_colour else image[0]
            shown = axis.imshow(pixels, cmap="gray", interpolation="nearest", **limits)
            axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[0], LABEL_NAMES if in_colour else range(CLASSES), strict=True):
        axis.set_title(name, fontsize=9)
    if is_varied:
        for row, line in enumerate(axes):
            line[0].set_ylabel("trained on" if row else "evaluated", fontsize=9)
    if not in_colour:
        extend = "both" if is_varied else "neither"
        figure.colorbar(shown, ax=axes, label="what the model reads", aspect=30, pad=0.01, extend=extend)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=90)
    quantized = Image.open(output).convert("RGB").quantize(192, dither=Image.Dither.NONE)
    quantized.save(output, optimize=True)  # a third of the size
    print(output)


if __name__ == "__main__":
    main()
