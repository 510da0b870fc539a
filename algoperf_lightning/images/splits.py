"""Splits and orders of data whose validation examples are taken from the front of the training files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.rng import frozen_generator
from algoperf_lightning.spec import WorkloadSpec


def held_out_first(split: str, spec: WorkloadSpec, train: int, test: int, seed: int) -> slice | NDArray[np.int64]:
    """Return the rows of the training files, or of the test files, that make up a split.

    As many training examples as there are test examples, the first ones, are ``validation``; the others are ``train``,
    of which ``eval_train`` is a subset of that size. Where the spec's ``data`` say ``faithful``, splits that are
    evaluated end with their last whole batch, as in DeepOBS.

    Args:
        split: The name of the split.
        spec: Of the workload.
        train: Rows in the training files.
        test: Rows in the test files.
        seed: Chooses ``eval_train``.
    """
    kept = evaluated(spec, test)
    if split == "eval_train":
        shuffled = frozen_generator(seed, "eval_train").permutation(train - test)
        return test + shuffled[:kept].astype(np.int64)
    return {"train": slice(test, train), "validation": slice(kept), "test": slice(kept)}[split]


def evaluated(spec: WorkloadSpec, count: int) -> int:
    """Return how many of ``count`` examples are evaluated: all, or, where faithful, those in whole batches."""
    return count // spec.batch_size * spec.batch_size if spec.data.get("faithful") else count


class LeakyFiles:
    """The rows that DeepOBS trains on: its files come in another order in each pass, and it leaves out the first rows.

    What is left out is as long as the validation split. That split is the first rows in an order of its own, so most
    passes train on validation examples.

    Args:
        sizes: Rows of each training file.
        held_out: Rows of the validation split.
        seed: Decides the orders.
    """

    def __init__(self, sizes: list[int], held_out: int, seed: int) -> None:
        self.sizes = sizes
        self.held_out = held_out
        self.seed = seed
        self._last: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Return the rows of a pass."""
        return sum(self.sizes) - self.held_out

    def validation(self) -> NDArray[np.int64]:
        """Return the rows of the validation split. DeepOBS redraws them in each evaluation; here they are fixed."""
        return self._in_order("validation")[: self.held_out]

    def take(self, begin: int, count: int) -> NDArray[np.int64]:
        """Return the rows at ``count`` positions of the stream from ``begin`` on, shape ``(count,)``."""
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
        """Return all rows, the files in a random order."""
        ends = np.cumsum(self.sizes)
        files = [np.arange(end - size, end) for size, end in zip(self.sizes, ends, strict=True)]
        return np.concatenate([files[k] for k in frozen_generator(self.seed, *purpose).permutation(len(files))])
