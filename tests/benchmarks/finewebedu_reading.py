"""Speed and memory of the data of finewebedu_lm: writing token files, tokenising text, reading batches.

    python tests/benchmarks/finewebedu_reading.py FOLDER [--tokens 50000000]

FOLDER is for made-up tokens; 2 bytes each, twice. Times are of this process's CPU.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from algoperf_lightning.data.streams import TrainingStream
from algoperf_lightning.workloads.finewebedu.batches import Windows
from algoperf_lightning.workloads.finewebedu.conversion import write_token_file
from algoperf_lightning.workloads.finewebedu.reading import TokenFile
from algoperf_lightning.workloads.finewebedu.sources import FlatFiles
from algoperf_lightning.workloads.finewebedu.tokenizer import Tokenizer

WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "it",
    "for",
    "as",
    "with",
    "on",
    "be",
    "at",
    "this",
    "from",
    "which",
)


def timed(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=50_000_000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    flat, path = options.folder / "train.bin", options.folder / "train.tokens"
    np.random.RandomState(0).randint(0, 50_257, options.tokens).astype("<u2").tofile(flat)
    path.unlink(missing_ok=True)

    seconds = timed(lambda: write_token_file(path, FlatFiles([flat]), 50_257, "writing"))
    print(f"writing   {options.tokens / seconds / 1e6:8.0f} million tokens/s")
    seconds = timed(lambda: TokenFile(path).check("checking"))
    print(f"checking  {options.tokens / seconds / 1e6:8.0f} million tokens/s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    windows = Windows(TokenFile(path).windows(1_025))
    stream = iter(TrainingStream(windows, 64, seed=0))
    next(stream)
    batches = 300
    seconds = timed(lambda: [next(stream) for _ in range(batches)])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    print(f"reading   {batches * 64 / seconds:8.0f} windows/s, {seconds / batches * 1e3:.2f} ms a batch of 64")
    print(f"          {grown:8.0f} MiB more at the peak, of a file of {path.stat().st_size / 2**20:.0f} MiB")

    merges = options.folder / "vocab.bpe"
    pairs = dict.fromkeys(f"{word[:cut]} {word[cut]}" for word in WORDS for cut in range(1, len(word)))
    merges.write_text("#version: 0.2\n" + "\n".join(pairs) + "\n")
    tokenizer = Tokenizer(merges, 257 + len(pairs))
    random = np.random.RandomState(0)
    texts = [" ".join(random.choice(WORDS, 800)) for _ in range(300)]
    size = sum(map(len, texts))
    seconds = timed(lambda: tokenizer.encode(texts))
    print(f"tokenising {size / seconds / 1e6:7.1f} MB of text/s and thread (few merges, common words)")


if __name__ == "__main__":
    main()
