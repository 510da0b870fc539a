"""Splits and orders of data with validation examples from the beginning of the training files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.rng import frozen_generator
from algoperf_lightning.spec import WorkloadSpec


def held_out_first(split: str, spec: WorkloadSpec, train: int, test: int, seed: int) -> slice | NDArray[np.int64]:
    """Return the rows of the training or test files that belong to a split.

    The first training examples are ``validation``, as many as there are test examples. The others are ``train``, and
    ``eval_train`` is a subset of ``train`` with the same size as ``validation``. If ``faithful`` is set in the ``data``
    of the spec, evaluation splits end with their last complete batch, as in DeepOBS.

    Args:
        split: The name of the split.
        spec: Spec of the workload.
        train: Number of rows in the training files.
        test: Number of rows in the test files.
        seed: Seed of the choice of ``eval_train``.
    """
    kept = evaluated(spec, test)
    if split == "eval_train":
        shuffled = frozen_generator(seed, "eval_train").permutation(train - test)
        return test + shuffled[:kept].astype(np.int64)
    return {"train": slice(test, train), "validation": slice(kept), "test": slice(kept)}[split]


def evaluated(spec: WorkloadSpec, count: int) -> int:
    """Return the number of evaluated examples: ``count``, or, if faithful, those in complete batches."""
    return count // spec.batch_size * spec.batch_size if spec.data.get("faithful") else count


class LeakyFiles:
    """Training rows of DeepOBS, which shuffles the order of its files in each pass and skips the first rows.

    The number of skipped rows is the size of the validation split. The validation split consists of the first rows in a
    separate order, so most passes train on validation examples.

    Args:
        sizes: Number of rows of each training file.
        held_out: Number of rows of the validation split.
        seed: Seed of the orders.
    """

    def __init__(self, sizes: list[int], held_out: int, seed: int) -> None:
        self.sizes = sizes
        self.held_out = held_out
        self.seed = seed
        self._last: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Return the number of rows in a pass."""
        return sum(self.sizes) - self.held_out

    def validation(self) -> NDArray[np.int64]:
        """Return the rows of the validation split. They are fixed, while DeepOBS redraws them in each evaluation."""
        return self._in_order("validation")[: self.held_out]

    def take(self, begin: int, count: int) -> NDArray[np.int64]:
        """Return the rows at ``count`` stream positions starting at ``begin``, shape ``(count,)``."""
        pieces = []
        while count:
            which, offset = divmod(begin, len(self))
            piece = self._pass(which)[offset : offset + count]
            pieces.append(piece)
            begin, count = begin + len(piece), count - len(piece)
        return np.concatenate(pieces)

    def _pass(self, which: int) -> NDArray[np.int64]:
        if self._last is None or self._last[0] != which:
            rows = self._in_order("files", which)[self.held_out :]
            self._last = which, frozen_generator(self.seed, "order", which).permutation(rows)
        return self._last[1]

    def _in_order(self, *purpose: str | int) -> NDArray[np.int64]:
        """Return all rows, with the files in random order."""
        ends = np.cumsum(self.sizes)
        files = [np.arange(end - size, end) for size, end in zip(self.sizes, ends, strict=True)]
        return np.concatenate([files[k] for k in frozen_generator(self.seed, *purpose).permutation(len(files))])
