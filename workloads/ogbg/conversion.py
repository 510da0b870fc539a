"""Conversion for ogbg: reads the official tables once, checks their consistency, and saves them as arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.files import write_atomic

from .parsing import BadTableError, read_table
from .reading import FORMATS, Tables
from .spec import RAW_FILES, SPLIT_FILES


def convert(tables: Tables) -> None:
    """Convert the tables that are not converted yet.

    Raises:
        DamagedError: For the first damaged table.
        OSError: If a table cannot be written.
    """
    (tables.folder / "packed").mkdir(exist_ok=True)
    for name in RAW_FILES:
        path = tables.packed_path(name)
        if not path.exists():
            content = io.BytesIO()
            np.save(content, read_raw(tables, name))
            write_atomic(path, content.getvalue())


def verify(tables: Tables) -> None:
    """Read all official tables again, check their consistency, and compare the converted ones with them.

    Raises:
        DamagedError: For the first damaged table.
    """
    fresh = Tables(tables.folder, tables.graphs, tables.splits)
    for name in RAW_FILES:
        fresh.keep(name, read_raw(fresh, name))
    for name in RAW_FILES:
        if not np.array_equal(fresh.packed(name), tables.packed(name)):
            expected = f"the numbers of {tables.raw_path(name)}"
            raise DamagedError(tables.packed_path(name), expected, "it contains others")


def read_raw(tables: Tables, name: str) -> NDArray[np.integer]:
    """Return an official table ``(rows, columns)``, with its type in :data:`FORMATS`, after consistency checks."""
    format_, path = FORMATS[name], tables.raw_path(name)
    try:
        table = read_table(path, format_.columns, format_.dtype, empty=format_.empty, largest=format_.largest)
    except BadTableError as error:
        raise DamagedError(path, f"gzip-compressed lines of {format_.what}", str(error)) from error
    tables.check_rows(name, path, len(table))
    if name == "edge":
        _check_bonds(tables, path, table)
    elif name in SPLIT_FILES.values():
        _check_split(tables, name, path, table)
    return table


def _check_bonds(tables: Tables, path: Path, bonds: NDArray[np.integer]) -> None:
    counts, atoms = tables.packed("num-edge-list")[:, 0], tables.packed("num-node-list")[:, 0]
    wrong = (bonds >= np.repeat(atoms, counts)[:, None]).any(1)
    if wrong.any():
        line = int(wrong.argmax())
        graph = int(np.searchsorted(np.cumsum(counts), line, side="right"))
        found = f"line {line + 1} is {','.join(map(str, bonds[line]))}, a bond of graph {graph}"
        raise DamagedError(path, f"atoms 0 to {atoms[graph] - 1} in that graph", found)


def _check_split(tables: Tables, name: str, path: Path, numbers: NDArray[np.integer]) -> None:
    graphs = len(tables.packed("num-node-list"))
    names = list(SPLIT_FILES.values())
    seen = np.zeros(graphs, bool)
    for before in names[: names.index(name)]:
        seen[tables.packed(before)] = True
    inside = numbers[:, 0] < graphs
    again = np.ones(len(numbers), bool)
    again[np.unique(numbers, return_index=True)[1]] = False
    again[inside] |= seen[numbers[inside, 0]]
    expected = "each graph once in one of the splits"
    for wrong, problem in ((~inside, f"there are {graphs:,} graphs"), (again, "that graph was in a split before")):
        if wrong.any():
            line = int(wrong.argmax())
            raise DamagedError(path, expected, f"line {line + 1} is {numbers[line, 0]}, but {problem}")
    seen[numbers] = True
    if name == names[-1] and not seen.all():
        raise DamagedError(path, expected, f"graph {seen.argmin()} is in none")
