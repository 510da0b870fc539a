"""Reading of ogbg: the converted tables of molecules, memory-mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError

from .spec import RAW_FILES, SPLIT_FILES

MISSING = -1
"""Value in ``labels`` of a property that was not measured."""


@dataclass(frozen=True)
class Format:
    """The format of a table."""

    columns: int
    dtype: type[np.integer]
    what: str
    rows: str
    """Unit that each line describes."""
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
    """The tables of a folder, as converted.

    Args:
        folder: The folder that contains ``raw``, ``split`` and ``packed``.
        graphs: Required number of graphs; None for any number.
        splits: Required number of graphs of each split, by the name of its file; empty for any number.
    """

    def __init__(self, folder: Path, graphs: int | None = None, splits: Mapping[str, int] | None = None) -> None:
        self.folder = folder
        self.graphs = graphs
        self.splits = splits or {}
        self._packed: dict[str, NDArray[Any]] = {}

    def raw_path(self, name: str) -> Path:
        """Return the path of the official table."""
        return self.folder / RAW_FILES[name]

    def packed_path(self, name: str) -> Path:
        """Return the path of the converted table."""
        return self.folder / "packed" / f"{name}.npy"

    def keep(self, name: str, table: NDArray[Any]) -> None:
        """Use a table in memory instead of its file."""
        self._packed[name] = table

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
            self.check_rows(name, path, len(array))
            self._packed[name] = np.asarray(array)
        return self._packed[name]

    def check_rows(self, name: str, path: Path, found: int) -> None:
        """Raise unless a table has one line for each atom, bond, graph, or graph of its split.

        Args:
            name: The table, raw or converted.
            path: Its file.
            found: Number of its lines.

        Raises:
            DamagedError: If the number is wrong.
        """
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
            raise DamagedError(path, f"{expected:,} lines, one for each {unit}, as in {source}", f"it has {found:,}")


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
