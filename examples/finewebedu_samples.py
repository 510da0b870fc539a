"""Draw text of finewebedu_lm, each token in a shade that says how well a small model foresees it.

    python examples/finewebedu_samples.py --output docs/pictures/finewebedu_samples.png

The small model of ``algoperf fit --config tiny/finewebedu_lm`` is trained on its tiny data set for 500 steps, the step
hint (half a minute on a laptop). The text is that of validation windows. Tiny tokens are ids without text: the words
for them are made up here.
"""

import argparse
import math
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from algoperf_lightning.baselines import NadamW
from algoperf_lightning.data.examples import Draws
from algoperf_lightning.testing import train
from algoperf_lightning.workloads import FineWebEduLM
from algoperf_lightning.workloads.finewebedu import tiny

NAMES = (
    "Ada", "Bo", "Cy", "Dan", "Eve", "Flo", "Gus", "Hal", "Ida", "Jan", "Kim", "Leo",
    "Mia", "Ned", "Ole", "Pia", "Quin", "Rob", "Sue", "Tom", "Una", "Vic", "Wim", "Zoe",
)  # fmt: skip
HABITS = (
    "bake", "climb", "dance", "dive", "draw", "hum", "jump", "knit", "laugh",
    "paint", "read", "ride", "run", "sail", "sing", "skate", "sleep", "swim",
)  # fmt: skip
WORDS = ["one", "many", ".", *NAMES, *(habit + end for habit in HABITS for end in ("s", "")), "¶"]
LINE = 96  # characters
GAP = 0.6  # lines between windows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("finewebedu_samples.png"))
    parser.add_argument("--windows", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    assert len(WORDS) == tiny.END + 1
    with tempfile.TemporaryDirectory() as scratch:
        submission = NadamW(0.003, 0.1, 0.99, 0.05, weight_decay=0.05, label_smoothing=0.0, dropout_rate=None)
        workload = FineWebEduLM(submission, tiny=True, data_dir=scratch)
        workload.data.write_tiny()
        train(workload, options.steps, Path(scratch), limit_val_batches=0)
        indices = np.array(options.windows)
        batch = workload.data.open("validation").read(indices, Draws(0, indices))
        with torch.no_grad():
            losses = workload.network.eval()(batch["inputs"], batch["targets"])
    draw(options.output, batch, losses)


def draw(output, batch, losses):
    windows = [
        laid_out([WORDS[id_] for id_ in (*inputs[:1], *targets)])
        for inputs, targets in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True)
    ]
    lines = sum(1 + window[-1][0] for window in windows) + GAP * (len(windows) - 1)
    figure, axis = plt.subplots(figsize=(11, 0.29 * lines + 0.2), layout="constrained")
    axis.set(xlim=(-0.5, LINE + 0.5), ylim=(lines - 0.4, -0.6))
    axis.set_axis_off()
    shades = plt.cm.ScalarMappable(plt.Normalize(0, math.log(tiny.CHARACTERS)), "YlOrRd")  # to that of a guessed name
    top = 0
    for window, of_window in zip(windows, losses.tolist(), strict=True):
        colours = ["white", *map(shades.to_rgba, of_window)]  # the first token is read only
        on_dark = [False, *(loss > 2 for loss in of_window)]
        for (line, place, word), colour, dark in zip(window, colours, on_dark, strict=True):
            axis.add_patch(plt.Rectangle((place - 0.4, top + line - 0.42), len(word) + 0.8, 0.84, color=colour))
            style = {"family": "monospace", "color": "white" if dark else "black"}
            axis.text(place + len(word) / 2, top + line, word, ha="center", va="center", **style)
        top += 1 + line + GAP
    figure.colorbar(shades, ax=axis, label="loss in nats", extend="max", pad=0.01, aspect=25)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=90)
    print(output)


def laid_out(words):
    """Line, place in the line and text of each word."""
    line, place, found = 0, 0, []
    for word in words:
        if place + len(word) > LINE:
            line, place = line + 1, 0
        found.append((line, place, word))
        place += len(word) + 1
    return found


if __name__ == "__main__":
    main()
