"""Draw what wmt trains on and what a model makes of it: packed rows, and which German words each English one looks at.

    python examples/wmt_attention.py --output docs/pictures/wmt_attention.png

The small model of ``algoperf fit --config tiny/wmt`` is trained on its tiny data set for 800 steps (a minute on a
laptop). The attention is that of the decoder's last layer, the mean of its heads. The rows are those of 256 places that
the full-size workload would train on.
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
from algoperf_lightning.workloads import WMT


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("wmt_attention.png"))
    parser.add_argument("--sentence", type=int, default=33, help="of the test split, by length")
    parser.add_argument("--steps", type=int, default=800)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        submission = NadamW(0.003, 0.1, 0.99, weight_decay=0.01, label_smoothing=0.0, dropout_rate=None)
        workload = WMT(submission, tiny=True, data_dir=scratch)
        workload.data.write_tiny()
        rows = WMT(submission, data_dir=scratch).data.open("train").read(np.arange(12), Draws(0, np.arange(12)))
        train(workload, options.steps, Path(scratch), limit_val_batches=0)
        workload.eval()
        index = np.array([options.sentence])
        batch = workload.data.open("test").read(index, Draws(0, index))
        inputs, targets = (batch[side][:, : int((batch[side] > 0).sum())] for side in ("inputs", "targets"))
        weights = attention_of(workload.network, inputs, targets)
        tokenizer = workload.data.tokenizer
        said = workload.translate(inputs)[0]
        title = f"{tokenizer.decode(inputs.tolist())[0]}\n{said}"
        source, target = words_of(tokenizer, inputs[0]), words_of(tokenizer, targets[0])
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=(1, 1.15), layout="constrained")
    segments = rows["inputs_segmentation"].numpy().astype(float)
    left.imshow(
        np.where(segments > 0, segments, np.nan), cmap="tab20", vmin=1, vmax=20, aspect="auto", interpolation="nearest"
    )
    left.set(title="sources of twelve packed rows, a colour a sentence", xlabel="place in the row", ylabel="row")
    joined = np.array([[weights[np.ix_(t, s)].sum(1).mean() for s in source.values()] for t in target.values()])
    right.imshow(joined, cmap="Greys", aspect="auto", interpolation="nearest")
    right.set_xticks(range(len(source)), [word for _, word in source], rotation=60, ha="right")
    right.set_yticks(range(len(target)), [word for _, word in target])
    right.set_title(title, fontsize=9)
    figure.savefig(options.output, dpi=80)


@torch.no_grad()
def attention_of(model, inputs, targets):
    """How much the last layer looks at each source token when it makes each target token, ``(T, S)``."""
    seen = {}
    attention = model.decoder.layers[-1].multihead_attn
    handle = attention.register_forward_hook(lambda module, given, out: seen.update(x=given[0], memory=given[1]))
    model(inputs, targets)
    handle.remove()
    query = attention.split(attention.q_proj(seen["x"]))
    key, _ = attention.project_memory(seen["memory"])
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1).mean(1)[0].numpy()


def words_of(tokenizer, ids):
    """Return the places of each word's tokens, by the word's number and the word."""
    words = []
    for place, piece in enumerate(tokenizer.pieces(ids.tolist())):
        if piece.startswith("▁") or piece in (".", ",", "</s>") or not words:
            words.append(("", []))
        word, places = words.pop()
        words.append((word + piece.lstrip("▁"), [*places, place]))
    return {(number, word): places for number, (word, places) in enumerate(words)}


if __name__ == "__main__":
    main()
