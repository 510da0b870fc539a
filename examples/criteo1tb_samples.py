"""Draw rows of criteo1tb as the model reads them: 13 counts, 26 categories, and which rows are clicks.

    python examples/criteo1tb_samples.py --output docs/pictures/criteo1tb_samples.png

They are of the tiny data set's first day unless ``--data-dir`` holds another. Counts are shaded by the logarithm that
the model reads. In a column, equal ids have equal colours; grey is the id that missing categories have.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from algoperf_lightning.data.examples import Draws
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Criteo1TB
from algoperf_lightning.workloads.criteo1tb.parsing import BUCKETS, COUNTS, category_ids

MISSING = np.frombuffer(b"00000000", "<u8")  # the official value of a missing category


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="default: a tiny data set in a temporary folder")
    parser.add_argument("--output", type=Path, default=Path("criteo1tb_samples.png"))
    parser.add_argument("--rows", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = Criteo1TB(PlainSGD(), data_dir=options.data_dir or scratch).data
        if options.data_dir is None:
            data.write_tiny()
        indices = np.arange(options.rows)
        batch = data.open("train").read(indices, Draws(0, indices))
    draw(options.output, *(batch[name].numpy() for name in ("inputs", "ids", "targets")))


def draw(output, logarithms, ids, clicks):
    """Three tables of as many columns, one below the other: one of 39 would be too wide to read."""
    figure, axes = plt.subplots(3, figsize=(11, 1.5 + 0.6 * len(clicks)), layout="constrained")
    figure.get_layout_engine().set(hspace=0.08)
    shown = axes[0].imshow(logarithms, cmap="Blues", vmin=0, vmax=8, aspect="auto")
    texts = [[f"{count:.0f}" for count in row] for row in np.expm1(logarithms)]
    write(axes[0], texts, logarithms > 5)
    finish(axes[0], clicks, "13 counts", [f"{column}" for column in range(1, COUNTS + 1)])
    figure.colorbar(shown, ax=axes[0], label="ln(count + 1)", pad=0.01, aspect=12)
    middle = len(BUCKETS) // 2
    for axis, first in zip(axes[1:], (0, middle), strict=True):
        columns = range(first, first + middle)
        axis.imshow(np.stack([colours(ids[:, column], column) for column in columns], 1), aspect="auto")
        write(axis, ids[:, columns], np.zeros((len(ids), middle), bool))
        names = [f"{column + 1}\nof {BUCKETS[column]:,}" for column in columns]
        finish(axis, clicks, f"categories {first + 1} to {first + middle}: ids, of how many", names)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=90)
    print(output)


def colours(ids, column):
    """A colour for each id of a column, by when it is first seen; grey for that of missing categories."""
    seen = {id_: place for place, id_ in enumerate(dict.fromkeys(ids.tolist()))}
    palette = [*plt.get_cmap("Pastel1").colors[:-1], *plt.get_cmap("Pastel2").colors[:-1]]
    missing = category_ids(MISSING, column)[0]
    return [(0.82, 0.82, 0.82) if id_ == missing else palette[seen[id_] % len(palette)] for id_ in ids.tolist()]


def write(axis, texts, on_dark):
    for (row, column), dark in np.ndenumerate(on_dark):
        colour = "white" if dark else "black"
        axis.text(column, row, texts[row][column], fontsize=7.5, color=colour, ha="center", va="center")


def finish(axis, clicks, title, names):
    axis.set_title(title, fontsize=10)
    axis.set_xticks(range(len(names)), names, fontsize=7)
    axis.set_yticks(range(len(clicks)), ["click" if click else "–" for click in clicks], fontsize=8)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(clicks) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="minor", length=0)
    axis.spines[:].set_visible(False)


if __name__ == "__main__":
    main()
