"""Draw slices of fastmri's test split: what the model sees, what it makes of it, and what it should make.

    python examples/fastmri_samples.py --output docs/pictures/fastmri_samples.png

The small model of ``algoperf fit --config tiny/fastmri`` is trained for 600 steps (half a minute on a laptop), on the
tiny data set unless ``--data-dir`` holds another. Under each picture is its structural similarity with the last row.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from algoperf_lightning.baselines import NadamW
from algoperf_lightning.data.examples import Draws
from algoperf_lightning.testing import train
from algoperf_lightning.workloads import FastMRI
from algoperf_lightning.workloads.fastmri.metric import ssim


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="default: a tiny data set in a temporary folder")
    parser.add_argument("--output", type=Path, default=Path("fastmri_samples.png"))
    parser.add_argument("--slices", type=int, nargs="+", default=[3, 12, 20])
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        submission = NadamW(learning_rate=0.003, one_minus_beta1=0.1, beta2=0.99, weight_decay=0.0)
        workload = FastMRI(submission, tiny=True, data_dir=options.data_dir or scratch)
        if options.data_dir is None:
            workload.data.write_tiny()
        train(workload, options.steps, Path(scratch), limit_val_batches=0)
        indices = np.array(options.slices)
        batch = workload.data.open("test").read(indices, Draws(0, indices))
        with torch.no_grad():
            made = workload.network.eval()(batch["inputs"])
    draw(options.output, batch, made)


def draw(output, batch, made):
    scale, offset = batch["std"].view(-1, 1, 1), batch["mean"].view(-1, 1, 1)
    true = batch["targets"] * scale + offset
    rows = {
        "from a quarter of k-space": batch["inputs"],
        "reconstruction": made,
        "from all of k-space": batch["targets"],
    }
    count = len(made)
    figure, axes = plt.subplots(len(rows), count, figsize=(2.4 * count, 2.7 * len(rows)), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        pixels = images * scale + offset
        values = ssim(pixels, true, batch["volume_max"])
        for axis, image, value, brightest in zip(line, pixels, values.tolist(), true.amax((1, 2)), strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=brightest)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel("target" if images is batch["targets"] else f"SSIM {value:.3f}")
        line[0].set_ylabel(name)
    figure.tight_layout()
    figure.savefig(output, dpi=90)


if __name__ == "__main__":
    main()
