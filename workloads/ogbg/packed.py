"""The official tables of molecules, converted once to arrays that are memory-mapped."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.files import write_atomic

from .csv_numbers import BadTableError, read_table
from .spec import RAW_FILES, SPLIT_FILES

MISSING = -1
"""Stands in ``labels`` for a property that was not measured."""


@dataclass(frozen=True)
class Format:
    """What a table holds."""

    columns: int
    dtype: type[np.integer]
    what: str
    rows: str
    """One line for each of these."""
    empty: int | None = None
    largest: int | None = None


_GRAPH_NUMBERS = Format(1, np.int32, "the number of a graph, from 0", "graph of the split")
FORMATS: Mapping[str, Format] = {
    "num-node-list": Format(1, np.int32, "a number of atoms", "graph"),
    "num-edge-list": Format(1, np.int32, "a number of bonds", "graph"),
    "node-feat": Format(9, np.uint8, "9 features, whole numbers up to 255", "atom"),
    "edge": Format(2, np.uint16, "2 atoms of the same graph, counted from 0", "bond"),
    "edge-feat": Format(3, np.uint8, "3 features, whole numbers up to 255", "bond"),
    "graph-label": Format(128, np.int8, "128 labels, each 0, 1 or empty", "graph", empty=MISSING, largest=1),
    **dict.fromkeys(SPLIT_FILES.values(), _GRAPH_NUMBERS),
}


class Tables:
    """The tables of a folder, raw and packed.

    Args:
        folder: Holds ``raw``, ``split`` and ``packed``.
        graphs: How many graphs there must be; None for any number.
        splits: How many graphs each split must have, by the name of its file; empty for any number.
    """

    def __init__(self, folder: Path, graphs: int | None = None, splits: Mapping[str, int] | None = None) -> None:
        self.folder = folder
        self.graphs = graphs
        self.splits = splits or {}
        self._packed: dict[str, NDArray[Any]] = {}

    def raw_path(self, name: str) -> Path:
        """Return where the official table lies."""
        return self.folder / RAW_FILES[name]

    def packed_path(self, name: str) -> Path:
        """Return where the converted table lies."""
        return self.folder / "packed" / f"{name}.npy"

    def convert(self) -> None:
        """Convert the tables that are not converted yet.

        Raises:
            DamagedError: For the first table that is not what it should be.
            OSError: If a table cannot be written.
        """
        (self.folder / "packed").mkdir(exist_ok=True)
        for name in RAW_FILES:
            path = self.packed_path(name)
            if not path.exists():
                content = io.BytesIO()
                np.save(content, self.read_raw(name))
                write_atomic(path, content.getvalue())

    def verify(self) -> None:
        """Read all official tables again, check them against each other, and compare the converted ones with them.

        Raises:
            DamagedError: For the first table that is not what it should be.
        """
        fresh = Tables(self.folder, self.graphs, self.splits)
        for name in RAW_FILES:
            fresh._packed[name] = fresh.read_raw(name)
        for name in RAW_FILES:
            if not np.array_equal(fresh.packed(name), self.packed(name)):
                expected = f"the numbers of {self.raw_path(name)}"
                raise DamagedError(self.packed_path(name), expected, "it holds others")

    def packed(self, name: str) -> NDArray[Any]:
        """Return a converted table ``(rows, columns)`` of the type in :data:`FORMATS`, memory-mapped."""
        if name not in self._packed:
            format_, path = FORMATS[name], self.packed_path(name)
            expected = f"{np.dtype(format_.dtype)} of shape (rows, {format_.columns})"
            try:
                array = np.load(path, mmap_mode="r")
            except (OSError, ValueError, EOFError) as error:
                raise DamagedError(path, expected, f"reading failed ({error})") from error
            if array.dtype != format_.dtype or array.shape[1:] != (format_.columns,):
                raise DamagedError(path, expected, f"it is {array.dtype} {array.shape}")
            self._check_rows(name, path, len(array))
            self._packed[name] = np.asarray(array)
        return self._packed[name]

    def read_raw(self, name: str) -> NDArray[np.integer]:
        """Return an official table ``(rows, columns)``, of its type in :data:`FORMATS`, checked against others."""
        format_, path = FORMATS[name], self.raw_path(name)
        try:
            table = read_table(path, format_.columns, format_.dtype, empty=format_.empty, largest=format_.largest)
        except BadTableError as error:
            raise DamagedError(path, f"gzip-compressed lines of {format_.what}", str(error)) from error
        self._check_rows(name, path, len(table))
        if name == "edge":
            self._check_bonds(path, table)
        elif name in SPLIT_FILES.values():
            self._check_split(name, path, table)
        return table

    def _check_rows(self, name: str, path: Path, found: int) -> None:
        """Raise unless a table has one line for each atom, bond, graph, or graph of its split."""
        unit = FORMATS[name].rows
        if name == "num-node-list":
            expected, source = self.graphs, "the official data"
        elif name in SPLIT_FILES.values():
            expected, source = self.splits.get(name), "the official data"
        elif unit == "graph":
            expected, source = len(self.packed("num-node-list")), "num-node-list"
        else:
            source = "num-node-list" if unit == "atom" else "num-edge-list"
            expected = int(self.packed(source).sum(dtype=np.int64))
        if expected is not None and found != expected:
            raise DamagedError(path, f"{expected:,} lines, one for each {unit}, as {source} says", f"it has {found:,}")

    def _check_bonds(self, path: Path, bonds: NDArray[np.integer]) -> None:
        counts, atoms = self.packed("num-edge-list")[:, 0], self.packed("num-node-list")[:, 0]
        wrong = (bonds >= np.repeat(atoms, counts)[:, None]).any(1)
        if wrong.any():
            line = int(wrong.argmax())
            graph = int(np.searchsorted(np.cumsum(counts), line, side="right"))
            found = f"line {line + 1} is {','.join(map(str, bonds[line]))}, a bond of graph {graph}"
            raise DamagedError(path, f"atoms 0 to {atoms[graph] - 1} in that graph", found)

    def _check_split(self, name: str, path: Path, numbers: NDArray[np.integer]) -> None:
        graphs = len(self.packed("num-node-list"))
        names = list(SPLIT_FILES.values())
        seen = np.zeros(graphs, bool)
        for before in names[: names.index(name)]:
            seen[self.packed(before)] = True
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


class Molecules:
    """All molecules, as converted.

    Args:
        tables: The packed tables of a folder.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.atom_counts: NDArray[np.int64] = tables.packed("num-node-list")[:, 0].astype(np.int64)
        """Atoms of each molecule, shape ``(G,)``."""
        self.bond_counts: NDArray[np.int64] = tables.packed("num-edge-list")[:, 0].astype(np.int64)
        """Bonds of each molecule, shape ``(G,)``."""
        self.first_atoms = _starts(self.atom_counts)
        self.first_bonds = _starts(self.bond_counts)
        self.atoms: NDArray[np.uint8] = tables.packed("node-feat")
        """Features of the atoms of all molecules, shape ``(atoms, 9)``."""
        self.bonds: NDArray[np.uint16] = tables.packed("edge")
        """The two atoms of each bond, counted within the molecule, shape ``(bonds, 2)``."""
        self.bond_features: NDArray[np.uint8] = tables.packed("edge-feat")
        """Features of each bond, shape ``(bonds, 3)``."""
        self.labels: NDArray[np.int8] = tables.packed("graph-label")
        """0, 1 or :data:`MISSING`, shape ``(G, 128)``."""

    def __len__(self) -> int:
        """Return the number of molecules."""
        return len(self.atom_counts)

    @cached_property
    def splits(self) -> dict[str, NDArray[np.int64]]:
        """The molecules of ``train``, ``validation`` and ``test``: their numbers, int64 ``(N,)`` each."""
        return {split: self._split(name) for split, name in SPLIT_FILES.items()}

    def _split(self, name: str) -> NDArray[np.int64]:
        numbers = self._tables.packed(name)[:, 0].astype(np.int64)
        wrong = (numbers < 0) | (numbers >= len(self))
        if wrong.any():
            path, found = self._tables.packed_path(name), numbers[wrong.argmax()]
            raise DamagedError(path, f"numbers of graphs, 0 to {len(self) - 1:,}", f"one is {found:,}")
        return numbers


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    starts: NDArray[np.int64] = np.cumsum(counts) - counts
    return starts
