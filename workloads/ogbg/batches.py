"""Batches of molecules: packed side by side into arrays of few different lengths, without Python per molecule."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data.examples import Batch, Draws, Examples

from .packed import Molecules

_DEVIATIONS = 1
"""The usual room of a training batch, in standard deviations above the mean."""

_STEPS = 16
"""A batch that does not fit gets a sixteenth of the usual room more, or two, until it does."""

_MULTIPLE = 32
"""The usual room is a multiple of it."""


class Graphs(Examples):
    """Molecules to train on.

    A batch of B molecules has B rows of ``targets`` and ``weights``, and as many nodes and edges as happen to fall on
    it. They are padded to one of a few shapes: five batches in six have room in the usual one, the mean plus one
    standard deviation; the others get more, in steps of a sixteenth. So no molecule is ever left out, little room is
    wasted, and a compiled model sees few shapes.

    Args:
        molecules: All of them.
        rows: The molecules of the split, shape ``(N,)``.
    """

    def __init__(self, molecules: Molecules, rows: NDArray[np.int64]) -> None:
        self.molecules = molecules
        self.rows = rows
        self._rooms: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Return the number of molecules."""
        return len(self.rows)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return a batch; its entries are those of :class:`~.workload.OGBG`."""
        data, rows = self.molecules, self.rows[indices]
        atoms, bonds = data.atom_counts[rows], data.bond_counts[rows]
        node_count, edge_count = int(atoms.sum()), 2 * int(bonds.sum())
        node_room, edge_room = self.room(len(rows), node_count, edge_count)

        nodes = np.zeros((node_room, data.atoms.shape[1]), np.float32)
        nodes[:node_count] = data.atoms.take(_ranges(data.first_atoms[rows], atoms), axis=0)
        node_graphs = np.full(node_room, len(rows), np.int64)
        node_graphs[:node_count] = np.repeat(np.arange(len(rows)), atoms)

        # Of each molecule, first all bonds forward, then all backward. What is left are loops on the first node left.
        blocks = bonds.repeat(2)
        of_bonds = _ranges(data.first_bonds[rows].repeat(2), blocks)
        backward = np.tile([0, 1], len(rows)).repeat(blocks)
        first_nodes = (np.cumsum(atoms) - atoms).repeat(2 * bonds)
        edges = np.zeros((edge_room, data.bond_features.shape[1]), np.float32)
        edges[:edge_count] = data.bond_features.take(of_bonds, axis=0)
        senders = np.full(edge_room, node_count, np.int64)
        senders[:edge_count] = data.bonds.take(2 * of_bonds + backward) + first_nodes
        receivers = np.full(edge_room, node_count, np.int64)
        receivers[:edge_count] = data.bonds.take(2 * of_bonds + 1 - backward) + first_nodes

        labels = data.labels[rows]
        arrays = {
            "nodes": nodes,
            "edges": edges,
            "senders": senders,
            "receivers": receivers,
            "node_graphs": node_graphs,
            "targets": (labels == 1).astype(np.float32),
            "weights": (labels >= 0).astype(np.float32),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def room(self, graphs: int, nodes: int, edges: int) -> tuple[int, int]:
        """Return the nodes and edges that a batch is padded to; at least one node is left.

        Args:
            graphs: Molecules of the batch.
            nodes: Their nodes.
            edges: Their directed edges.
        """
        if graphs not in self._rooms:
            nodes_wanted, edges_wanted = (math.ceil(count / _MULTIPLE) * _MULTIPLE for count in self._usual(graphs))
            self._rooms[graphs] = nodes_wanted, edges_wanted
        node_room, edge_room = self._rooms[graphs]
        excess = max((nodes + 1) / node_room, edges / edge_room) - 1
        steps = max(0, math.ceil(excess * _STEPS))
        return -(-node_room * (_STEPS + steps) // _STEPS), -(-edge_room * (_STEPS + steps) // _STEPS)

    def _usual(self, graphs: int) -> tuple[float, float]:
        """Return the nodes, one of them left, and edges that nearly every batch of ``graphs`` molecules has room in."""
        sizes = self._sizes()
        nodes, edges = graphs * sizes.mean(1) + _DEVIATIONS * math.sqrt(graphs) * sizes.std(1)
        return nodes + 1, max(edges, 1)

    def _sizes(self) -> NDArray[np.int64]:
        """Return the nodes and directed edges of each molecule of the split, shape ``(2, N)``."""
        return np.stack([self.molecules.atom_counts[self.rows], 2 * self.molecules.bond_counts[self.rows]])


class GraphsInOrder(Graphs):
    """Molecules to evaluate. They are read one after the other, so all batches are padded to the largest of them.

    The smallest molecule comes last, because the last batch is filled up with the last molecule.
    """

    def __init__(self, molecules: Molecules, rows: NDArray[np.int64]) -> None:
        smallest = molecules.atom_counts[rows].argmin()
        super().__init__(molecules, np.append(np.delete(rows, smallest), rows[smallest]))

    def _usual(self, graphs: int) -> tuple[float, float]:
        """Return the most nodes, and one, and the most edges of ``graphs`` molecules in a row."""
        sums = np.cumsum(np.pad(self._sizes(), ((0, 0), (0, graphs - 1)), mode="edge"), axis=1)
        sums[:, graphs:] -= sums[:, :-graphs].copy()
        nodes, edges = sums[:, graphs - 1 :].max(1)
        return nodes + 1, max(edges, 1)


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers from each start on, as many as its count, one range after the other."""
    ranges: NDArray[np.int64] = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    ranges += np.arange(len(ranges))
    return ranges
