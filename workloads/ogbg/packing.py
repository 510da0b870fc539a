"""Packing of ogbg: combines molecules into one graph, without a Python loop over molecules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .reading import Molecules


def pack(molecules: Molecules, rows: NDArray[np.int64], node_room: int, edge_room: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a batch, as :class:`~.workload.OGBG` describes them.

    Args:
        molecules: All molecules.
        rows: Indices of those in the batch, shape ``(B,)``.
        node_room: Nodes of the padded batch; more than the molecules have.
        edge_room: Directed edges of the padded batch; at least as many as the molecules have.
    """
    atoms, bonds = molecules.atom_counts[rows], molecules.bond_counts[rows]
    node_count, edge_count = int(atoms.sum()), 2 * int(bonds.sum())

    nodes = np.zeros((node_room, molecules.atoms.shape[1]), np.float32)
    nodes[:node_count] = molecules.atoms.take(_ranges(molecules.first_atoms[rows], atoms), axis=0)
    node_graphs = np.full(node_room, len(rows), np.int64)
    node_graphs[:node_count] = np.repeat(np.arange(len(rows)), atoms)

    # Each molecule has first all bonds forward, then all backward. Padding edges are loops on the first padding node.
    blocks = bonds.repeat(2)
    of_bonds = _ranges(molecules.first_bonds[rows].repeat(2), blocks)
    backward = np.tile([0, 1], len(rows)).repeat(blocks)
    first_nodes = (np.cumsum(atoms) - atoms).repeat(2 * bonds)
    edges = np.zeros((edge_room, molecules.bond_features.shape[1]), np.float32)
    edges[:edge_count] = molecules.bond_features.take(of_bonds, axis=0)
    senders = np.full(edge_room, node_count, np.int64)
    senders[:edge_count] = molecules.bonds.take(2 * of_bonds + backward) + first_nodes
    receivers = np.full(edge_room, node_count, np.int64)
    receivers[:edge_count] = molecules.bonds.take(2 * of_bonds + 1 - backward) + first_nodes

    labels = molecules.labels[rows]
    return {
        "nodes": nodes,
        "edges": edges,
        "senders": senders,
        "receivers": receivers,
        "node_graphs": node_graphs,
        "targets": (labels == 1).astype(np.float32),
        "weights": (labels >= 0).astype(np.float32),
    }


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return concatenated ranges, each given by its start and its count."""
    ranges: NDArray[np.int64] = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    ranges += np.arange(len(ranges))
    return ranges
