"""Division of batches into micro-batches, and the number of valid units per example."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.errors import BadInputError


class BatchParts:
    """Mixin of workloads that divides batches and counts their units, without using the model.

    The defaults assume that all tensors of a batch have one row per example and that examples differ only in their
    ``weights``. Other workloads override one or both methods.
    """

    def count_units(self, batch: Batch) -> Tensor | None:
        """Return the number of valid units (examples, tokens) per example, ``(B,)``, as in ``loss(batch).weight``.

        None means one valid unit per example. The default is the sum of the ``weights`` of each example, if present.
        """
        weights: Tensor | None = batch.get("weights")
        return None if weights is None else weights.flatten(1).sum(1) if weights.ndim > 1 else weights

    def split_batch(self, batch: Batch, parts: int) -> list[Batch]:
        """Split a batch into consecutive parts with sizes as equal as possible.

        Args:
            batch: Batch on any device.
            parts: Number of parts. With fewer examples, the last parts are empty.

        Raises:
            BadInputError: If an entry of the batch does not have one row per example.
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
            batch: Batch on any device.
            number: Number of examples, at most the size of the batch.

        Raises:
            BadInputError: If an entry of the batch does not have one row per example.
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
    """Return whether all entries of a batch are tensors with the same number of rows."""
    sizes = {len(leaf) if isinstance(leaf, Tensor) and leaf.ndim else None for leaf in tree_flatten(batch)[0]}
    return len(sizes) == 1 and None not in sizes


def count_examples(batch: Batch, units: Tensor | None) -> int:
    """Return the number of examples of a batch; ``units`` are the units per example, None for one each."""
    return len(units) if units is not None else len(batch.get("targets", tree_flatten(batch)[0][0]))


def split_sizes(examples: int, parts: int) -> list[int]:
    """Return the sizes of consecutive parts as in :meth:`torch.Tensor.tensor_split`.

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
