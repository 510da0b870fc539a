"""Draw what a speech model reads: log-mel features of some recordings, as SpecAugment leaves them, and what it writes.

    python examples/librispeech_samples.py --output docs/pictures/librispeech_samples.png
    python examples/librispeech_samples.py librispeech_deepspeech --output docs/pictures/deepspeech_samples.png

The small model of ``algoperf fit --config tiny/librispeech_conformer``, or of ``tiny/librispeech_deepspeech``, is
trained for 250 steps (half a minute on a laptop), on the tiny data set unless ``--data-dir`` holds another. Over each
recording is its transcript, and below that what the model writes, where it writes it (of the recording as it is, not of
the masked one).
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from algoperf_lightning import get_workload
from algoperf_lightning.baselines import AdamW
from algoperf_lightning.data.examples import Draws
from algoperf_lightning.testing import train

HOP = 0.01  # seconds from one frame to the next


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("librispeech_conformer", "librispeech_deepspeech")
    parser.add_argument("workload", choices=names, nargs="?", default=names[0])
    parser.add_argument("--data-dir", type=Path, help="default: a tiny data set in a temporary folder")
    parser.add_argument("--output", type=Path, default=Path("librispeech_samples.png"))
    parser.add_argument("--utterances", type=int, nargs="+", default=[3, 15, 21])
    parser.add_argument("--steps", type=int, default=250)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        submission = AdamW(learning_rate=0.003, beta2=0.98, warmup_factor=0.1, weight_decay=0.01)
        workload = get_workload(options.workload)(submission, tiny=True, data_dir=options.data_dir or scratch)
        if options.data_dir is None:
            workload.data.write_tiny()
        train(workload, options.steps, Path(scratch), limit_val_batches=0)
        examples = workload.data.open("test")
        indices = np.array(options.utterances)
        batch = examples.read(indices, Draws(0, indices))
        transcripts = [examples.index.transcript(row) for row in examples.rows[indices]]
        model = workload.network.eval()
        with torch.no_grad():
            features, frames = model.log_mel(batch["inputs"], batch["input_lengths"])
            torch.manual_seed(1)
            masked = model.spec_augment.train()(features, frames)
            model.eval()
            logits, lengths = model.from_features(features, frames)
        draw(options.output, features, masked, frames, transcripts, written(logits, lengths, workload.data.tokenizer))


def written(logits, lengths, tokenizer):
    """For each recording, the pieces that are written and at which frame of the features."""
    found = []
    for row, length in zip(logits.argmax(-1).tolist(), lengths.tolist(), strict=True):
        ids = row[:length]
        starts = [t for t, piece in enumerate(ids) if piece > 2 and (t == 0 or piece != ids[t - 1])]
        texts = [tokenizer.decode([[ids[t]]])[0] or "_" for t in starts]
        found.append([(4 * t, text) for t, text in zip(starts, texts, strict=True)])
    return found


def draw(path, features, masked, frames, transcripts, pieces):
    figure, axes = plt.subplots(2, len(features), figsize=(4.2 * len(features), 5), sharey=True, layout="constrained")
    for column, (text, count) in enumerate(zip(transcripts, frames.tolist(), strict=True)):
        for row, values in enumerate((features, masked)):
            axis = axes[row, column]
            picture = values[column, :count].T
            extent = (0, count * HOP, 0, len(picture))
            axis.imshow(picture, origin="lower", aspect="auto", extent=extent, vmin=-1.5, vmax=2.5, cmap="magma")
        axes[0, column].set_title(text, fontsize=11, pad=18)
        axes[1, column].set_xlabel("seconds")
        for frame, piece in pieces[column]:
            place = (frame * HOP, 81)
            axes[0, column].annotate(piece, place, fontsize=9, family="monospace", annotation_clip=False)
    axes[0, 0].set_ylabel("mel band")
    axes[1, 0].set_ylabel("with SpecAugment")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    Image.open(path).quantize(96).save(path, optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
