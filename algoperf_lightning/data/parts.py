"""Batches in parts: how a batch is divided into micro-batches, and how many valid units its examples have."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.errors import BadInputError


class BatchParts:
    """The part of a workload that divides batches and counts what is in them, without the model.

    The defaults hold for batches whose tensors all have one row per example, and whose ``weights`` are the only thing
    that makes one example count more than another. Other workloads override one or both methods.
    """

    def count_units(self, batch: Batch) -> Tensor | None:
        """Return the valid units (examples, tokens) of each example, ``(B,)``, as ``loss(batch).weight`` has them.

        None if each example is one valid example. The default is the sum of each example's ``weights``, if there are
        any.
        """
        weights: Tensor | None = batch.get("weights")
        return None if weights is None else weights.flatten(1).sum(1) if weights.ndim > 1 else weights

    def split_batch(self, batch: Batch, parts: int) -> list[Batch]:
        """Return a batch as consecutive parts, which have as equal numbers of examples as possible.

        Args:
            batch: On any device.
            parts: How many; with fewer examples, the last ones are empty.

        Raises:
            BadInputError: If some of its entries do not have one row per example.
        """
        if not _has_rows(batch):
            raise BadInputError(
                f"{type(self).__name__}: a batch is divided into micro-batches along the first axis of its tensors, "
                f"which must all be equally long, but got {_described(batch)}. Define split_batch(self, batch, parts) "
                "in the workload, or set micro_batches = 1 in the submission."
            )
        leaves, structure = tree_flatten(batch)
        columns = [leaf.tensor_split(parts) for leaf in leaves]
        return [tree_unflatten(list(rows), structure) for rows in zip(*columns, strict=True)]

    def first_examples(self, batch: Batch, number: int) -> Batch:
        """Return the first examples of a batch.

        Args:
            batch: On any device.
            number: How many; at most as many as it has.

        Raises:
            BadInputError: If some of its entries do not have one row per example.
        """
        if not _has_rows(batch):
            raise BadInputError(
                f"{type(self).__name__}: examples are taken along the first axis of a batch's tensors, which must all "
                f"be equally long, but got {_described(batch)}. Define first_examples(self, batch, number) in the "
                "workload."
            )
        first: Batch = tree_map(lambda rows: rows[:number], batch)
        return first


def _has_rows(batch: Batch) -> bool:
    """Return whether all entries of a batch are tensors of equally many rows."""
    sizes = {len(leaf) if isinstance(leaf, Tensor) and leaf.ndim else None for leaf in tree_flatten(batch)[0]}
    return len(sizes) == 1 and None not in sizes


def count_examples(batch: Batch, units: Tensor | None) -> int:
    """Return the number of examples of a batch, given the units of each, or None for one each."""
    return len(units) if units is not None else len(batch.get("targets", tree_flatten(batch)[0][0]))


def split_sizes(examples: int, parts: int) -> list[int]:
    """Return the sizes of consecutive parts as :meth:`torch.Tensor.tensor_split` makes them.

    Example:
        >>> split_sizes(7, 3)
        [3, 2, 2]
    """
    return [math.ceil((examples - part) / parts) for part in range(parts)]


def _described(batch: Batch) -> str:
    entries: dict[str, Any] = {
        name: tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__ for name, value in batch.items()
    }
    return ", ".join(f"{name}: {entry}" for name, entry in entries.items())
