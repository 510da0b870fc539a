"""Draw what the ImageNet workloads see: photographs as they are evaluated, and how training varies them.

    python examples/imagenet_augmentation.py imagenet_resnet --output augmentation.png
    python examples/imagenet_augmentation.py imagenet_vit --image a.jpg b.jpg
    python examples/imagenet_augmentation.py imagenet_resnet --tiny --image D/imagenet/train/*/*_1.JPEG

Without --image, it is the portrait that comes with matplotlib (Grace Hopper, photographed for the U.S. Navy).
"""

import argparse
import io
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.cbook import get_sample_data
from PIL import Image

from algoperf_lightning import get_workload
from algoperf_lightning.data.examples import Draws
from algoperf_lightning.workloads.imagenet.batches import EvaluationImages, TrainingImages
from algoperf_lightning.workloads.imagenet.index import Index


def splits(spec, paths):
    """Training and evaluation images of these files: one class each, the folder it lies in."""
    folder, names = Path("/"), np.array([path.name.encode() for path in paths])
    classes = tuple(str(path.parent) for path in paths)
    index = Index(folder, classes, np.ones(len(paths), np.int64), names)
    augmentation = ()
    if spec.data["rand_augment"]:
        from algoperf_lightning.workloads.imagenet.rand_augment import NUMBERS, rand_augment

        augmentation = (rand_augment, NUMBERS)
    size = spec.data["image_size"]
    return TrainingImages(index, size, None, *augmentation), EvaluationImages(index, size, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=("imagenet_resnet", "imagenet_vit"))
    parser.add_argument("--image", type=Path, nargs="+")
    parser.add_argument("--tiny", action="store_true", help="at the resolution of the tiny form")
    parser.add_argument("--output", type=Path, default=Path("augmentation.png"))
    parser.add_argument("--variations", type=int, default=7)
    parser.add_argument("--rows", type=int, default=2, help="rows of variations for each photograph")
    options = parser.parse_args()
    portrait = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
    paths = [path.resolve() for path in options.image or [portrait]]
    train, plain = splits(get_workload(options.workload).spec.of(tiny=options.tiny), paths)
    shape = (len(paths) * options.rows, 1 + options.variations)
    figure, axes = plt.subplots(*shape, figsize=(1.2 * shape[1], 1.2 * shape[0]), squeeze=False)
    figure.subplots_adjust(wspace=0.05, hspace=0.05)
    for axis in axes.flat:
        axis.set_axis_off()
    for number in range(len(paths)):
        lines = axes[number * options.rows : (number + 1) * options.rows]
        lines[0, 0].imshow(pixels(plain, number, 0))
        for place, axis in enumerate(lines[:, 1:].flat):
            axis.imshow(pixels(train, number, 1_000 * number + place))
    axes[0, 0].set_title("evaluated", fontsize=8)
    axes[0, 1].set_title("trained on", fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, dpi=120, bbox_inches="tight")
    Image.open(content).convert("RGB").quantize(192).save(options.output, optimize=True)
    print(f"written to {options.output}")


def pixels(split, number, position):
    """One image ``(size, size, 3)``, as it is at a position of the stream of training images."""
    batch = split.read(np.array([number]), Draws(0, np.array([position])))
    return batch["inputs"][0].permute(1, 2, 0).numpy()


if __name__ == "__main__":
    main()
