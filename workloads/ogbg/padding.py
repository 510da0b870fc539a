"""Padding of ogbg: padded numbers of nodes and edges, so that a compiled model sees few shapes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_DEVIATIONS = 1
"""The usual padded size of a training batch, in standard deviations above the mean."""

_STEPS = 16
"""If a batch does not fit, its padded size grows in steps of a sixteenth of the usual size."""

_MULTIPLE = 32
"""The usual padded size is a multiple of this."""


class Padding:
    """Padded sizes of training batches, whose molecules are drawn at random.

    Five of six batches fit into the usual size, the mean plus one standard deviation; larger ones are padded in steps
    of a sixteenth. No molecule is dropped, padding is small, and a compiled model sees few shapes.

    Args:
        sizes: Nodes and directed edges of each molecule of the split, in order, shape ``(2, N)``.
    """

    def __init__(self, sizes: NDArray[np.int64]) -> None:
        self._sizes = sizes
        self._rooms: dict[int, tuple[int, int]] = {}

    def room(self, graphs: int, nodes: int, edges: int) -> tuple[int, int]:
        """Return the padded numbers of nodes and edges of a batch, with at least one padding node.

        Args:
            graphs: Number of molecules of the batch.
            nodes: Number of their nodes.
            edges: Number of their directed edges.
        """
        if graphs not in self._rooms:
            usual_nodes, usual_edges = self._usual(graphs, self._sizes)
            self._rooms[graphs] = _rounded_up(usual_nodes + 1), _rounded_up(max(usual_edges, 1))
        node_room, edge_room = self._rooms[graphs]
        excess = max((nodes + 1) / node_room, edges / edge_room) - 1
        steps = max(0, math.ceil(excess * _STEPS))
        return -(-node_room * (_STEPS + steps) // _STEPS), -(-edge_room * (_STEPS + steps) // _STEPS)

    def _usual(self, graphs: int, sizes: NDArray[np.int64]) -> tuple[float, float]:
        """Return the usual padded numbers of nodes and edges for ``graphs`` molecules, into which most batches fit."""
        nodes, edges = graphs * sizes.mean(1) + _DEVIATIONS * math.sqrt(graphs) * sizes.std(1)
        return nodes, edges


class PaddingInOrder(Padding):
    """The padded size of batches whose molecules are read in order: that of the largest one."""

    def _usual(self, graphs: int, sizes: NDArray[np.int64]) -> tuple[float, float]:
        """Return the maximum numbers of nodes and of edges of ``graphs`` consecutive molecules."""
        sums = np.cumsum(np.pad(sizes, ((0, 0), (0, graphs - 1)), mode="edge"), axis=1)
        sums[:, graphs:] -= sums[:, :-graphs].copy()
        nodes, edges = sums[:, graphs - 1 :].max(1)
        return nodes, edges


def _rounded_up(count: float) -> int:
    return math.ceil(count / _MULTIPLE) * _MULTIPLE
