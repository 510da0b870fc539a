"""Batches of ogbg: molecules, packed into one graph and padded to one of a few sizes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data.examples import Batch, Draws, Examples

from .packing import pack
from .padding import Padding, PaddingInOrder
from .reading import Molecules


class Graphs(Examples):
    """Molecules for training.

    A batch of B molecules has B rows of ``targets`` and ``weights``, and the nodes and edges of its molecules, padded
    according to :class:`~.padding.Padding`.

    Args:
        molecules: All molecules.
        rows: Indices of the molecules of the split, shape ``(N,)``.
    """

    padding_class: ClassVar[type[Padding]] = Padding

    def __init__(self, molecules: Molecules, rows: NDArray[np.int64]) -> None:
        self.molecules = molecules
        self.rows = rows
        self.padding = self.padding_class(np.stack([molecules.atom_counts[rows], 2 * molecules.bond_counts[rows]]))

    def __len__(self) -> int:
        """Return the number of molecules."""
        return len(self.rows)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return a batch; its entries are those of :class:`~.workload.OGBG`."""
        rows = self.rows[indices]
        nodes, edges = self.molecules.atom_counts[rows].sum(), 2 * self.molecules.bond_counts[rows].sum()
        arrays = pack(self.molecules, rows, *self.padding.room(len(rows), int(nodes), int(edges)))
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


class GraphsInOrder(Graphs):
    """Molecules for evaluation. They are read in order, so all batches are padded to the size of the largest one.

    The smallest molecule is last, because the last batch is filled with copies of the last molecule.
    """

    padding_class: ClassVar[type[Padding]] = PaddingInOrder

    def __init__(self, molecules: Molecules, rows: NDArray[np.int64]) -> None:
        smallest = molecules.atom_counts[rows].argmin()
        super().__init__(molecules, np.append(np.delete(rows, smallest), rows[smallest]))
