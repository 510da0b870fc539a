"""Examples of a data set with random access, and the random numbers for their augmentation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.rng import frozen_generator

Batch: TypeAlias = dict[str, Any]
"""Usually ``inputs`` and ``targets``, and ``weights`` if examples (or tokens) have different weights."""


@dataclass(frozen=True)
class Draws:
    """Random numbers for augmentation, determined by the seed of the trial and the stream position of each example."""

    seed: int
    positions: NDArray[np.int64]
    """Position of each example in the infinite stream, shape ``(B,)``."""

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return ``count`` numbers in [0, 1) for each example, shape ``(B, count)``."""
        example = _mix(_mix(np.uint64(self.seed)) ^ self.positions.astype(np.uint64))
        columns = np.arange(1, count + 1, dtype=np.uint64)
        numbers: NDArray[np.uint64] = _mix(example[:, None] + columns * _GOLDEN) >> np.uint64(11)
        return numbers.astype(np.float64) * 2.0**-53

    def integers(self, high: int, count: int = 1) -> NDArray[np.int64]:
        """Return ``count`` integers in [0, high) for each example, shape ``(B, count)``."""
        return (self.uniform(count) * high).astype(np.int64)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(value: Any) -> Any:
    """Scramble 64-bit integers (the finaliser of SplitMix64, Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    with np.errstate(over="ignore"):
        value = (value + _GOLDEN).astype(np.uint64)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


class Order(Protocol):
    """Infinite order of the training examples."""

    def take(self, begin: int, count: int) -> NDArray[np.int64]:
        """Return the examples at ``count`` stream positions starting at ``begin``, shape ``(count,)``."""
        ...


class Permutations:
    """A sequence of full permutations."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._passes: dict[int, NDArray[np.int64]] = {}

    def take(self, begin: int, count: int) -> NDArray[np.int64]:
        """Return the examples at ``count`` stream positions starting at ``begin``, shape ``(count,)``."""
        pieces = []
        while count:
            which, offset = divmod(begin, self.size)
            piece = self._permutation(which)[offset : offset + count]
            pieces.append(piece)
            begin, count = begin + len(piece), count - len(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _permutation(self, which: int) -> NDArray[np.int64]:
        if which not in self._passes:
            generator = frozen_generator(self.seed, "order", which)
            self._passes = {k: v for k, v in self._passes.items() if k == which - 1}
            self._passes[which] = generator.permutation(self.size).astype(np.int64)
        return self._passes[which]


class WholeBatches:
    """An order in which every pass ends with its last complete batch. The remaining examples of a pass are dropped.

    Args:
        order: Order of consecutive passes, each over all examples.
        size: Number of examples in a pass.
        batch_size: Global batch size, at most ``size``.
    """

    def __init__(self, order: Order, size: int, batch_size: int) -> None:
        self._order, self._size = order, size
        self._kept = size // batch_size * batch_size
        if not self._kept:
            raise BadInputError(f"{size} examples are fewer than one batch of {batch_size}. Use a smaller batch size.")

    def take(self, begin: int, count: int) -> NDArray[np.int64]:
        """Return the examples at ``count`` stream positions starting at ``begin``, shape ``(count,)``."""
        pieces = []
        while count:
            which, offset = divmod(begin, self._kept)
            piece = self._order.take(which * self._size + offset, min(count, self._kept - offset))
            pieces.append(piece)
            begin, count = begin + len(piece), count - len(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class Examples(ABC):
    """One split of a data set with random access."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of examples."""

    @abstractmethod
    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return the examples at ``indices``, shape ``(B,)``, as one batch of tensors on the CPU.

        Args:
            indices: Indices of the examples, each in [0, len).
            draws: The only source of randomness. Evaluation splits get the same draws in every evaluation.
        """

    def order(self, seed: int) -> Order:
        """Return the training order, which depends only on the seed. Exceptions to full permutations are documented."""
        return Permutations(len(self), seed)


class TensorExamples(Examples):
    """A split stored in memory as tensors of equal length."""

    def __init__(self, **columns: Tensor) -> None:
        sizes = {name: len(column) for name, column in columns.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"Columns of one split must have equal lengths, but got {sizes}.")
        self.columns = columns
        self._size = next(iter(sizes.values()))

    def __len__(self) -> int:
        """Return the number of examples."""
        return self._size

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return copies of the rows."""
        rows = torch.from_numpy(indices)
        return {name: column[rows] for name, column in self.columns.items()}
