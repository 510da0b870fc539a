"""Micro-batches of ogbg: a graph that combines several molecules is split between molecules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch

from algoperf_lightning.data import Batch
from algoperf_lightning.data.parts import split_sizes


def split_graphs(batch: Batch, parts: int) -> list[Batch]:
    """Return a batch as consecutive parts, with numbers of molecules that are as equal as possible.

    The parts have exactly the nodes and edges of their molecules, without padding, so a compiled model sees different
    shapes in each step. The device is synchronised once, because the numbers must be known.

    Args:
        batch: As described by :class:`~.workload.OGBG`, with nodes and edges in the order of their molecules.
        parts: Number of parts; with fewer molecules, the last ones are empty.
    """
    return cut_graphs(batch, split_sizes(len(batch["targets"]), parts))


def cut_graphs(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    """Return consecutive parts of a batch, given the number of molecules of each; remaining molecules are dropped."""
    graphs = [0, *accumulate(sizes)]
    bounds = torch.tensor(graphs, device=batch["node_graphs"].device)
    node_graphs = batch["node_graphs"]
    cuts = [torch.searchsorted(of, bounds) for of in (node_graphs, node_graphs[batch["senders"]])]
    nodes, edges = torch.stack(cuts).tolist()
    return [
        {
            "nodes": batch["nodes"][n:m],
            "edges": batch["edges"][e:f],
            "senders": batch["senders"][e:f] - n,
            "receivers": batch["receivers"][e:f] - n,
            "node_graphs": node_graphs[n:m] - g,
            "targets": batch["targets"][g:h],
            "weights": batch["weights"][g:h],
        }
        for (n, m), (e, f), (g, h) in zip(pairwise(nodes), pairwise(edges), pairwise(graphs), strict=True)
    ]
