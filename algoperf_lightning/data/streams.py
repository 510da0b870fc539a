"""From examples to batches: an endless stream to train on, padded batches to evaluate on.

The order of the training examples is a function of the trial's seed and the position in the stream, whatever the number
of ranks or of worker processes; so a run can be resumed at any position, and eight ranks see together what one would.
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

# A loader without a length makes Lightning fetch one batch ahead of the step, on the clock and behind the submission's
# back. This one is never reached, and its sum over thousands of ranks still fits an int64.
ENDLESS = 2**40

READING_PROCESSES: set[int] = set()
"""Numbers of the processes that read data for loaders of this one."""


class TrainingStream(IterableDataset[Batch]):
    """This rank's share of the endless training batches, from a position on."""

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
        """Yield batches from ``start`` on; worker w of n yields every n-th of them, which a loader interleaves."""
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
    """Every example of a split once over all ranks, in batches of one shape; padding has weight 0."""

    def __init__(self, examples: Examples, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.examples = examples
        # As many batches as the batch size makes, all alike: a short last one would be mostly padding.
        self.share = max(1, -(-len(examples) // (-(-len(examples) // batch_size) * ranks)))
        self.rank = rank
        self.ranks = ranks

    def __len__(self) -> int:
        """Return the number of batches, the same on every rank."""
        return -(-len(self.examples) // (self.share * self.ranks))

    def __iter__(self) -> Iterator[Batch]:
        """Yield this rank's batches."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        size = len(self.examples)
        for number in range(first, len(self), step):
            begin = (number * self.ranks + self.rank) * self.share
            positions = np.arange(begin, begin + self.share, dtype=np.int64)
            indices = np.minimum(positions, size - 1)
            yield weighted(self.examples.read(indices, Draws(0, indices)), positions < size)


def weighted(batch: Batch, valid: NDArray[np.bool_]) -> Batch:
    """Return the batch with ``weights`` float32: 0 for examples that are not valid, else their own or 1.

    Args:
        batch: May have ``weights`` of shape ``(B, ...)``.
        valid: Shape ``(B,)``.
    """
    mask = torch.from_numpy(valid).float()
    weights = batch.get("weights")
    if weights is not None:
        mask = weights.float() * mask.view(-1, *[1] * (weights.ndim - 1))
    return {**batch, "weights": mask}


class Loader:
    """Batches of a data set, read in this process or in ``workers`` others, in the same order.

    Batches for a GPU are in pinned memory: a copy from other memory waits until the GPU has done all that was queued.

    Not a DataLoader itself: Lightning would warn that these data sets have a length, and look for a sampler to replace.
    """

    def __init__(self, dataset: IterableDataset[Batch], workers: int = 0, pin_memory: bool = False) -> None:
        self._dataset = dataset
        self._workers = workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        """Return the number of batches, if the data set has one."""
        return len(self._dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        """Read from the start; processes start with the first batch, as Lightning opens loaders just to look."""
        yield from self.open()

    def open(self) -> Iterator[Batch]:
        """Read from the start; processes start now."""
        if not self._workers and not self._pin_memory:
            return iter(self._dataset)
        # A generator of its own: opening a loader must not move torch's global one, or an evaluation would change
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
    """What the training loop iterates over: endless batches on the device, as the submission selects them.

    Its state is the number of batches drawn from the stream, so a resumed run sees the data it would have seen.
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
        """Return a number of batches that no run reaches."""
        return ENDLESS

    def __iter__(self) -> Iterator[Batch]:
        """Open the stream at the position reached so far; the processes that read it start before the clock does."""
        if self._unused is None:  # Lightning opens it twice before it draws
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
        """Go to a position in the stream."""
        self.drawn = state["drawn"]
        self._unused = None
