"""Seconds that converting ogbg's official tables takes, against NumPy's own reader of text.

    python tests/benchmarks/ogbg_conversion.py FOLDER [--molecules 20000]

Writes made-up tables of that many molecules of 26 atoms and 28 bonds into FOLDER, which must not exist yet.
"""

import argparse
import gzip
import resource
import time
from pathlib import Path

import numpy as np

from algoperf_lightning.workloads.ogbg.conversion import convert
from algoperf_lightning.workloads.ogbg.parsing import read_table
from algoperf_lightning.workloads.ogbg.reading import FORMATS, MISSING, Tables
from algoperf_lightning.workloads.ogbg.spec import RAW_FILES

ALL = 437_929


def write_tables(folder, molecules):
    random = np.random.RandomState(0)
    atoms, bonds = molecules * 26, molecules * 28
    labels = random.choice(np.array(["", "0.0", "1.0"]), (molecules, 128), p=(0.39, 0.6, 0.01))
    order = random.permutation(molecules)
    tables = {
        "num-node-list": np.full((molecules, 1), 26),
        "num-edge-list": np.full((molecules, 1), 28),
        "node-feat": random.randint(0, 12, (atoms, 9)),
        "edge": random.randint(0, 26, (bonds, 2)),
        "edge-feat": random.randint(0, 4, (bonds, 3)),
        "graph-label": labels,
        "train": order[: molecules * 8 // 10, None],
        "valid": order[molecules * 8 // 10 : molecules * 9 // 10, None],
        "test": order[molecules * 9 // 10 :, None],
    }
    for name, table in tables.items():
        path = folder / RAW_FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", compresslevel=6) as file:
            file.writelines(",".join(row) + "\n" for row in table.astype(str).tolist())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--molecules", type=int, default=20_000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    write_tables(options.folder, options.molecules)
    tables = Tables(options.folder)
    begin = time.process_time()
    convert(tables)
    seconds = time.process_time() - begin
    size = sum(path.stat().st_size for path in options.folder.glob("packed/*"))
    share = ALL / options.molecules
    print(
        f"{options.molecules:,} molecules converted in {seconds:.2f} s of CPU: {seconds * share:.0f} s for all {ALL:,}"
    )
    print(f"packed {size / 1e6:.1f} MB: {size * share / 1e6:.0f} MB for all")
    for name in ("node-feat", "graph-label"):
        path, format_ = tables.raw_path(name), FORMATS[name]
        begin = time.process_time()
        ours = read_table(path, format_.columns, format_.dtype, empty=format_.empty)
        middle = time.process_time()
        converters = (lambda text: float(text) if text else MISSING) if name == "graph-label" else None
        theirs = np.loadtxt(path, np.float32, delimiter=",", converters=converters, encoding="utf-8")
        end = time.process_time()
        assert np.array_equal(ours, theirs)
        numbers = ours.size / 1e6
        print(
            f"  {name}: {numbers / (middle - begin):.1f} million numbers/s, np.loadtxt {numbers / (end - middle):.1f}, "
            f"ratio {(end - middle) / (middle - begin):.1f}"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
