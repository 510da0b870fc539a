"""Packing and reading at the scale of the benchmark: 5.9 million sentence pairs of made-up lengths.

    python tests/benchmarks/wmt_packing.py [--pairs 5906184]

Prints how long it takes to pack all pairs of a run, against a loop over them; and to read a training batch.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from algoperf_lightning.workloads.wmt.batches import PackedRows
from algoperf_lightning.workloads.wmt.conversion import write_token_file
from algoperf_lightning.workloads.wmt.packing import pack
from algoperf_lightning.workloads.wmt.reading import TokenFile

LENGTH = 256


class MadeUp:
    """Gives each sentence random ids, as many as it has letters."""

    size = 32_000
    fingerprint = bytes(32)

    def __init__(self):
        self.random = np.random.RandomState(0)

    def encode(self, sentences):
        return [[*self.random.randint(3, self.size, len(sentence) - 1).tolist(), 2] for sentence in sentences]


def lengths_of(pairs):
    """Lengths as of European parliament and web pages: log-normal, around 30, both sides alike."""
    random = np.random.RandomState(0)
    source = random.lognormal(3.2, 0.65, pairs)
    return np.stack([source, source * random.lognormal(0, 0.15, pairs)], 1).clip(2, LENGTH).astype(np.uint32)


def loop(lengths, length):
    """Return the rows' first pairs, one pair after the other."""
    begins, filled = [], None
    for number, pair in enumerate(lengths.tolist()):
        if number % length and filled[0] + pair[0] <= length and filled[1] + pair[1] <= length:
            filled = [filled[0] + pair[0], filled[1] + pair[1]]
        else:
            begins.append(number)
            filled = pair
    return [*begins, len(lengths)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5_906_184)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lengths = lengths_of(options.pairs)
    seconds = {"vectorised": [], "loop": []}
    for _ in range(options.rounds):
        for name, function in (("vectorised", pack), ("loop", loop)):
            begin = time.perf_counter()
            begins = function(lengths, LENGTH)
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    tokens = lengths.sum() / (2 * LENGTH * (len(begins) - 1))
    print(f"{options.pairs:,} pairs in {len(begins) - 1:,} rows, {tokens:.0%} of their places used")
    print(f"  vectorised {medians['vectorised']:.2f} s, loop {medians['loop']:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        path, few = Path(folder, "some.tokens"), lengths[:200_000].tolist()
        write_token_file(path, lambda: (("x" * a, "x" * b) for a, b in few), len(few), 0, MadeUp(), "making tokens")
        rows = PackedRows(TokenFile(path), np.arange(len(few)), LENGTH)
        for size in (16, 128):
            times = []
            for _ in range(50):
                indices = np.random.randint(0, len(rows), size)
                begin = time.perf_counter()
                rows.read(indices, None)
                times.append(time.perf_counter() - begin)
            print(f"  reading a batch of {size}: {statistics.median(times) * 1e3:.2f} ms")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
