"""Padding of ogbg: how many nodes and edges a batch is padded to, so that a compiled model sees few shapes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_DEVIATIONS = 1
"""The usual room of a training batch, in standard deviations above the mean."""

_STEPS = 16
"""A batch that does not fit gets a sixteenth of the usual room more, or two, until it does."""

_MULTIPLE = 32
"""The usual room is a multiple of it."""


class Padding:
    """The room of training batches, whose molecules are drawn at random.

    Five batches in six have room in the usual one, the mean plus one standard deviation; the others get more, in steps
    of a sixteenth. So no molecule is ever left out, little room is wasted, and a compiled model sees few shapes.

    Args:
        sizes: Nodes and directed edges of each molecule of the split, in order, shape ``(2, N)``.
    """

    def __init__(self, sizes: NDArray[np.int64]) -> None:
        self._sizes = sizes
        self._rooms: dict[int, tuple[int, int]] = {}

    def room(self, graphs: int, nodes: int, edges: int) -> tuple[int, int]:
        """Return the nodes and edges that a batch is padded to; at least one node is left.

        Args:
            graphs: Molecules of the batch.
            nodes: Their nodes.
            edges: Their directed edges.
        """
        if graphs not in self._rooms:
            usual_nodes, usual_edges = self._usual(graphs, self._sizes)
            self._rooms[graphs] = _rounded_up(usual_nodes + 1), _rounded_up(max(usual_edges, 1))
        node_room, edge_room = self._rooms[graphs]
        excess = max((nodes + 1) / node_room, edges / edge_room) - 1
        steps = max(0, math.ceil(excess * _STEPS))
        return -(-node_room * (_STEPS + steps) // _STEPS), -(-edge_room * (_STEPS + steps) // _STEPS)

    def _usual(self, graphs: int, sizes: NDArray[np.int64]) -> tuple[float, float]:
        """Return the nodes and edges that most batches of ``graphs`` molecules have at most."""
        nodes, edges = graphs * sizes.mean(1) + _DEVIATIONS * math.sqrt(graphs) * sizes.std(1)
        return nodes, edges


class PaddingInOrder(Padding):
    """The room of batches whose molecules are read one after the other: that of the largest of them."""

    def _usual(self, graphs: int, sizes: NDArray[np.int64]) -> tuple[float, float]:
        """Return the most nodes and the most edges of ``graphs`` molecules in a row."""
        sums = np.cumsum(np.pad(sizes, ((0, 0), (0, graphs - 1)), mode="edge"), axis=1)
        sums[:, graphs:] -= sums[:, :-graphs].copy()
        nodes, edges = sums[:, graphs - 1 :].max(1)
        return nodes, edges


def _rounded_up(count: float) -> int:
    return math.ceil(count / _MULTIPLE) * _MULTIPLE
