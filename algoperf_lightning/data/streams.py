"""Batches of examples: an infinite stream for training and padded batches for evaluation.

The order of the training examples depends only on the seed of the trial and the position in the stream, not on the
number of ranks or worker processes. A run can therefore be resumed at any position, and eight ranks together read the
same examples as one rank.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from algoperf_lightning.data.examples import Batch, Draws, Examples, WholeBatches
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.rng import derive_seed

# Without a length, Lightning prefetches one batch, on the clock and without the knowledge of the submission. This
# length is never reached, and its sum over thousands of ranks fits an int64.
ENDLESS = 2**40

READING_PROCESSES: set[int] = set()
"""Process IDs of the workers that read data for the loaders of this process."""


class TrainingStream(IterableDataset[Batch]):
    """The share of this rank in the infinite training batches, starting at a given position."""

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        whole_batches: bool = False,
    ) -> None:
        if batch_size % ranks:
            raise BadInputError(
                f"The global batch size {batch_size} cannot be split evenly over {ranks} ranks. "
                f"Use a number of devices that divides it, or another batch_sizes entry of the submission."
            )
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.share = batch_size // ranks
        self.offset = rank * self.share
        self.start = 0
        self._whole_batches = whole_batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from ``start``. Worker w of n yields every n-th batch, and the loader interleaves them."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        order = self.examples.order(self.seed)
        if self._whole_batches:
            order = WholeBatches(order, len(self.examples), self.batch_size)
        seed = derive_seed(self.seed, "augmentation")
        for number in itertools.count(self.start + first, step):
            begin = number * self.batch_size + self.offset
            positions = np.arange(begin, begin + self.share, dtype=np.int64)
            yield self.examples.read(order.take(begin, self.share), Draws(seed, positions))


class EvaluationBatches(IterableDataset[Batch]):
    """All examples of a split once over all ranks, in batches of the same shape. Padding has weight 0."""

    def __init__(self, examples: Examples, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.examples = examples
        # All batches have the same size, because a short last batch would be mostly padding.
        self.share = max(1, -(-len(examples) // (-(-len(examples) // batch_size) * ranks)))
        self.rank = rank
        self.ranks = ranks

    def __len__(self) -> int:
        """Return the number of batches, which is the same on every rank."""
        return -(-len(self.examples) // (self.share * self.ranks))

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of this rank."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        size = len(self.examples)
        for number in range(first, len(self), step):
            begin = (number * self.ranks + self.rank) * self.share
            positions = np.arange(begin, begin + self.share, dtype=np.int64)
            indices = np.minimum(positions, size - 1)
            yield weighted(self.examples.read(indices, Draws(0, indices)), positions < size)


def weighted(batch: Batch, valid: NDArray[np.bool_]) -> Batch:
    """Return the batch with float32 ``weights``: 0 for invalid examples, and the existing weights or 1 for others.

    Args:
        batch: Batch with optional ``weights`` of shape ``(B, ...)``.
        valid: Mask of valid examples, shape ``(B,)``.
    """
    mask = torch.from_numpy(valid).float()
    weights = batch.get("weights")
    if weights is not None:
        mask = weights.float() * mask.view(-1, *[1] * (weights.ndim - 1))
    return {**batch, "weights": mask}


class Loader:
    """Batches of a data set, read in this process or in ``workers`` worker processes, in the same order.

    Batches for a GPU use pinned memory. A copy from pageable memory would wait for all queued GPU work.

    This class is not a DataLoader, because Lightning would warn about the length of these data sets and try to replace
    the sampler.
    """

    def __init__(self, dataset: IterableDataset[Batch], workers: int = 0, pin_memory: bool = False) -> None:
        self._dataset = dataset
        self._workers = workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        """Return the number of batches, if the data set has a length."""
        return len(self._dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        """Read from the beginning. Workers start with the first batch, because Lightning also opens unused loaders."""
        yield from self.open()

    def open(self) -> Iterator[Batch]:
        """Read from the beginning. Workers start immediately."""
        if not self._workers and not self._pin_memory:
            return iter(self._dataset)
        # A separate generator: opening a loader must not advance the global one, or an evaluation would change
        # training.
        loader: DataLoader[Batch] = DataLoader(
            self._dataset,
            batch_size=None,
            num_workers=self._workers,
            pin_memory=self._pin_memory,
            generator=torch.Generator(),
        )
        batches: Any = iter(loader)
        READING_PROCESSES.update(worker.pid for worker in getattr(batches, "_workers", ()))
        return batches  # type: ignore[no-any-return]


class TrainingBatches:
    """Iterable of the training loop: infinite batches on the device, as selected by the submission.

    The state is the number of batches drawn from the stream, so a resumed run continues with the same data.
    """

    def __init__(
        self,
        stream: TrainingStream,
        workers: int,
        select: Callable[[Iterator[Batch]], Batch],
        to_device: Callable[[Batch], Batch] | None,
        pin_memory: bool,
        finish: Callable[[Iterator[Batch]], Iterator[Batch]] = iter,
    ) -> None:
        self.drawn = 0
        self._stream = stream
        self._workers = workers
        self._select = select
        self._to_device = to_device
        self._pin_memory = pin_memory
        self._finish = finish
        self._unused: Iterator[Batch] | None = None

    def __len__(self) -> int:
        """Return a number of batches that is never reached."""
        return ENDLESS

    def __iter__(self) -> Iterator[Batch]:
        """Open the stream at the current position. The workers start before the clock does."""
        if self._unused is None:  # Lightning opens it twice before the first batch
            self._stream.start = self.drawn
            drawing = self._draw(Loader(self._stream, self._workers, self._pin_memory).open())
            self._unused = iter(lambda: self._select(drawing), object())
        return self._unused

    def _draw(self, source: Iterator[Batch]) -> Iterator[Batch]:
        self._unused = None
        for batch in self._finish(source):
            self.drawn += 1
            yield batch if self._to_device is None else self._to_device(batch)

    def state_dict(self) -> dict[str, int]:
        """Return the position in the stream."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore a position in the stream."""
        self.drawn = state["drawn"]
        self._unused = None
