"""Draw every operation of RandAugment, as imagenet_vit trains with it, on one image.

    python examples/rand_augment.py --output docs/pictures/rand_augment.png [--image PHOTOGRAPH]

Without a photograph the picture is of a drawn scene.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

from algoperf_lightning.workloads.imagenet.rand_augment import NUMBERS, OPERATIONS, rand_augment

SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
COLUMNS, ROWS = 6, 4


def scene(side=224):
    """A house on a hill, with a sun."""
    height = np.linspace(0, 1, side)[:, None, None]
    sky = (1 - height) * [96, 150, 214] + height * [226, 226, 232]
    image = Image.fromarray(np.broadcast_to(sky, (side, side, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((158, 18, 202, 62), fill=(246, 206, 92))
    draw.ellipse((-90, 128, 180, 380), fill=(92, 140, 84))
    draw.ellipse((70, 148, 330, 420), fill=(66, 112, 70))
    draw.rectangle((62, 100, 128, 160), fill=(196, 164, 132))
    draw.polygon([(52, 102), (95, 62), (138, 102)], fill=(150, 66, 56))
    draw.rectangle((72, 114, 90, 132), fill=(60, 70, 96))
    draw.rectangle((102, 122, 120, 160), fill=(98, 66, 46))
    for x in range(12, 224, 24):
        draw.line((x, 190, x, 216), fill=(120, 92, 64), width=4)
    draw.line((0, 200, 224, 200), fill=(120, 92, 64), width=3)
    grain = np.random.RandomState(0).randint(-5, 6, (side, side, 1))
    return (np.asarray(image).astype(np.int16) + grain).clip(0, 255).astype(np.uint8)


def pictures(image):
    """Titles and images: the original, every operation with both signs, and two random draws of two operations."""
    yield "original", image
    for name, operation in OPERATIONS.items():
        if name in SIGNED:
            yield f"{name} +", operation(image, 0.0, 0.5)
            yield f"{name} -", operation(image, 0.9, 0.5)
        else:
            yield name, operation(image, 0.4, 0.6)
    for number, numbers in enumerate(np.random.RandomState(5).uniform(size=(2, NUMBERS)), start=1):
        yield f"two drawn, {number}", rand_augment(image, numbers)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--output", type=Path, default=Path("rand_augment.png"))
    options = parser.parse_args()
    image = scene()
    if options.image:
        image = np.asarray(Image.open(options.image).convert("RGB").resize((224, 224)))
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(COLUMNS * 1.5, ROWS * 1.72), layout="constrained")
    for axis, (title, picture) in zip(axes.flat, pictures(image), strict=True):
        axis.imshow(picture, interpolation="lanczos")
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    target = options.output
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=80)
    Image.open(target).convert("RGB").quantize(192, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
