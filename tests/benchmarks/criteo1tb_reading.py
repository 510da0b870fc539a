"""Rows a second of one core: converting Criteo's text, other parsers reading it, and reading what was converted.

    python tests/benchmarks/criteo1tb_reading.py [--rows 400000] [--folder /tmp/criteo1tb_reading]

The text is made up, in Criteo's format and of its typical length. Pandas and PyArrow, each if it is installed, read the
same file into columns and do no more: no check of the categories, no hash, no logarithm, no file. The converted files
are read through the training stream in batches of 262,144, from the page cache; on two ranks each reads its half. CPU
seconds say more than seconds where other work shares the machine.
"""

import argparse
import importlib.util
import os
import time
from pathlib import Path

import numpy as np

from algoperf_lightning.data.streams import EvaluationBatches, Loader, TrainingStream
from algoperf_lightning.workloads.criteo1tb.batches import RowFiles
from algoperf_lightning.workloads.criteo1tb.conversion import convert
from algoperf_lightning.workloads.criteo1tb.parsing import BUCKETS, ROW
from algoperf_lightning.workloads.criteo1tb.reading import map_rows

BATCH = 262_144


def write_text(path, rows):
    """Counts of a few digits, some missing; categories of a few thousand different values a column."""
    random = np.random.RandomState(0)
    with path.open("w") as file:
        for begin in range(0, rows, 20_000):
            count = min(20_000, rows - begin)
            numbers = np.floor(np.exp(random.normal(2, 2.2, (count, 13)))).astype(np.int64) - 1
            choices = random.zipf(1.3, (count, 26)) % np.array(BUCKETS) * 2654435761 + np.arange(26) * 7919
            fields = [random.randint(0, 2, count).astype(str).tolist()]
            for column in numbers.T:
                missing = random.uniform(size=count) < 0.15
                fields.append(["" if gone else str(v) for gone, v in zip(missing, column.tolist(), strict=True)])
            for column in (choices % 2**32).T:
                missing = random.uniform(size=count) < 0.08
                fields.append(["" if gone else f"{v:08x}" for gone, v in zip(missing, column.tolist(), strict=True)])
            file.writelines("\t".join(row) + "\n" for row in zip(*fields, strict=True))


def rate(name, rows, run, rounds=5):
    """Print the best of some rounds: other work on the machine only ever makes it slower."""
    seconds, cpu = [], []
    for _ in range(rounds):
        begin, busy = time.perf_counter(), time.process_time()
        run()
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - busy)
    print(
        f"  {name:34} {rows / min(seconds) / 1e6:7.2f} million rows/s   {rows / min(cpu) / 1e6:7.2f} per CPU second",
        flush=True,
    )


def with_pandas(path):
    import pandas as pd

    names = [f"f{i}" for i in range(40)]
    pd.read_csv(path, sep="\t", header=None, names=names, dtype=dict.fromkeys(names[14:], str))


def with_pyarrow(path):
    import pyarrow as pa
    from pyarrow import csv

    names = [f"f{i}" for i in range(40)]
    types = {name: pa.int64() if number < 14 else pa.binary() for number, name in enumerate(names)}
    csv.read_csv(
        path,
        csv.ReadOptions(column_names=names, use_threads=False, block_size=1 << 23),
        csv.ParseOptions(delimiter="\t", quote_char=False),
        csv.ConvertOptions(column_types=types),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/criteo1tb_reading"))
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, whatever a library thinks
    options.folder.mkdir(parents=True, exist_ok=True)
    text, out = options.folder / "day_0", options.folder / "converted"
    if not text.exists():
        write_text(text, options.rows)
    rows = text.read_bytes().count(b"\n")
    print(f"{rows:,} rows, {text.stat().st_size / rows:.0f} bytes of text each, {ROW.itemsize} converted; one core")

    def once():
        for old in out.glob("*"):
            old.unlink()
        convert({0: [text]}, out, 5_000_000, "converting")

    rate("converted (parse, hash, write)", rows, once)
    for name, read in (("pandas", with_pandas), ("pyarrow", with_pyarrow)):
        if importlib.util.find_spec(name):
            rate(f"{name}, reading alone", rows, lambda read=read: read(text))

    path = out / "day_0_00.npy"
    examples = RowFiles([(path, len(map_rows(path)))] * 8)
    batches = 8
    for ranks in (1, 2, 8):
        stream = TrainingStream(examples, BATCH, seed=0, ranks=ranks)
        first = iter(stream)
        next(first)
        rate(
            f"training stream, 1 of {ranks} ranks",
            batches * BATCH // ranks,
            lambda it=first: [next(it) for _ in range(batches)],
        )
    evaluation = EvaluationBatches(examples, 131_072)
    rate("evaluation, in this process", len(examples), lambda: [None for _ in evaluation])
    rate("evaluation, by a worker process", len(examples), lambda: [None for _ in Loader(evaluation, workers=1)])


if __name__ == "__main__":
    main()
