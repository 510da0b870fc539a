"""Data of a workload: an endless stream to train on, padded batches to evaluate on.

The order of the training examples is a function of the trial's seed and the position in the stream, whatever the number
of ranks or of worker processes; so a run can be resumed at any position, and eight ranks see together what one would.
"""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.rng import derive_seed
from algoperf_lightning.spec import WorkloadSpec

Batch: TypeAlias = dict[str, Any]
"""``inputs`` and ``targets``, mostly; ``weights`` where examples (or tokens) count differently."""

DATA_DIR_VARIABLE = "ALGOPERF_DATA_DIR"

EVALUATION_SPLITS: dict[str, str] = {"train": "eval_train", "validation": "validation", "test": "test"}
"""Splits that are evaluated: the prefix of their metrics, and the name :meth:`WorkloadData.open` knows them by."""

# A loader without a length makes Lightning fetch one batch ahead of the step, on the clock and behind the submission's
# back. This one is never reached, and its sum over thousands of ranks still fits an int64.
ENDLESS = 2**40


class DataNotFoundError(BadInputError, FileNotFoundError):
    """Files of a workload are missing or damaged; the message says which, what was expected, and what to do."""


@dataclass(frozen=True)
class Draws:
    """Random numbers for augmentation: a function of the trial's seed and each example's position in the stream."""

    seed: int
    positions: NDArray[np.int64]
    """Position of each example in the endless stream, shape ``(B,)``."""

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


class Examples(ABC):
    """One split of a data set, readable at any index."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of examples."""

    @abstractmethod
    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return the examples at ``indices``, shape ``(B,)``, as one batch of tensors on the CPU.

        Args:
            indices: Which examples, each in [0, len).
            draws: The only source of randomness; a split that is evaluated draws nothing.
        """


class Order:
    """The endless order of the training examples: one full permutation after another."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._passes: dict[int, NDArray[np.int64]] = {}

    def take(self, begin: int, count: int) -> NDArray[np.int64]:
        """Return the examples at ``count`` positions of the stream from ``begin`` on, shape ``(count,)``."""
        pieces = []
        while count:
            which, offset = divmod(begin, self.size)
            piece = self._permutation(which)[offset : offset + count]
            pieces.append(piece)
            begin, count = begin + len(piece), count - len(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _permutation(self, which: int) -> NDArray[np.int64]:
        if which not in self._passes:
            # The legacy generator, because its numbers are frozen: the order must survive an upgrade of NumPy.
            generator = np.random.RandomState(derive_seed(self.seed, "order", which) % 2**32)
            self._passes = {k: v for k, v in self._passes.items() if k == which - 1}
            self._passes[which] = generator.permutation(self.size).astype(np.int64)
        return self._passes[which]


class TrainingStream(IterableDataset[Batch]):
    """This rank's share of the endless training batches, from a position on."""

    def __init__(self, examples: Examples, batch_size: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
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

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from ``start`` on; worker w of n yields every n-th of them, which a loader interleaves."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        order = Order(len(self.examples), self.seed)
        seed = derive_seed(self.seed, "augmentation")
        for number in itertools.count(self.start + first, step):
            begin = number * self.batch_size + self.offset
            positions = np.arange(begin, begin + self.share, dtype=np.int64)
            yield self.examples.read(order.take(begin, self.share), Draws(seed, positions))


class EvaluationBatches(IterableDataset[Batch]):
    """Every example of a split once over all ranks, in batches of one shape; padding has weight 0."""

    def __init__(self, examples: Examples, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.examples = examples
        self.share = -(-min(batch_size, len(examples)) // ranks)
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
        """Read from the start."""
        if not self._workers:
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
        return iter(loader)


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
    ) -> None:
        self.drawn = 0
        self._stream = stream
        self._workers = workers
        self._select = select
        self._to_device = to_device
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        """Return a number of batches that no run reaches."""
        return ENDLESS

    def __iter__(self) -> Iterator[Batch]:
        """Open the stream at the position reached so far."""
        self._stream.start = self.drawn
        drawing = self._draw(iter(Loader(self._stream, self._workers, self._pin_memory)))
        return iter(lambda: self._select(drawing), object())

    def _draw(self, source: Iterator[Batch]) -> Iterator[Batch]:
        for batch in source:
            self.drawn += 1
            yield batch if self._to_device is None else self._to_device(batch)

    def state_dict(self) -> dict[str, int]:
        """Return the position in the stream."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position in the stream."""
        self.drawn = state["drawn"]


class WorkloadData(L.LightningDataModule, ABC):
    """The fixed data of a workload: where it lies, how it is read, how it is split over ranks.

    A workload's data module defines :meth:`open`, and :meth:`prepare_data` if there is something to fetch or convert.
    """

    workers: ClassVar[int] = 0
    """Worker processes that read training data on each rank; 0 where reading is cheaper than handing over."""

    def __init__(self, spec: WorkloadSpec, data_dir: str | Path | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.spec = spec
        self.data_dir = resolve_data_dir(data_dir)
        self.seed = seed

    @abstractmethod
    def open(self, split: str) -> Examples:
        """Return the examples of ``train``, ``eval_train``, ``validation`` or ``test``.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """

    @classmethod
    def write_tiny(cls, data_dir: Path, seed: int = 0) -> None:
        """Write a small, learnable data set in the real on-disk format under ``data_dir``."""
        raise NotImplementedError(f"{cls.__name__} has no tiny data set.")

    def missing_files(self) -> list[Path]:
        """Return the files of the spec that are not there."""
        return [path for name in self.spec.files if not (path := self.data_dir / name).exists()]

    def check(self) -> None:
        """Open every split once, which verifies what can be verified cheaply.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """
        self.require_files()
        for split in ("train", *EVALUATION_SPLITS.values()):
            if split in self.spec.splits:
                self.open(split)

    def require_files(self) -> None:
        """Raise unless all files of the spec are there.

        Raises:
            DataNotFoundError: Naming the first missing file and the commands that make it.
        """
        if missing := self.missing_files():
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise DataNotFoundError(
                f"{self.spec.name}: {missing[0]}{more} is missing. Fetch it with "
                f"`algoperf data prepare {self.spec.name} --data-dir {self.data_dir}`, or try the code on a tiny "
                f"data set: `algoperf data tiny {self.spec.name} --data-dir {self.data_dir}`."
            )

    def train_dataloader(self) -> Any:
        """Return the workload's loader, for ``trainer.fit(workload, datamodule=workload.data)``."""
        return self._workload().train_dataloader()

    def val_dataloader(self) -> Any:
        """Return the workload's loaders."""
        return self._workload().val_dataloader()

    def _workload(self) -> Any:
        assert self.trainer is not None
        return self.trainer.lightning_module

    def training_batches(
        self,
        batch_size: int,
        rank: int,
        ranks: int,
        select: Callable[[Iterator[Batch]], Batch],
        to_device: Callable[[Batch], Batch] | None,
    ) -> TrainingBatches:
        """Return this rank's endless training batches."""
        stream = TrainingStream(self.open("train"), batch_size, self.seed, rank, ranks)
        return TrainingBatches(stream, self.workers, select, to_device, torch.cuda.is_available())

    def evaluation_batches(self, rank: int, ranks: int) -> list[Loader]:
        """Return this rank's loaders of the splits that are evaluated, in the order of :data:`EVALUATION_SPLITS`."""
        return [
            Loader(EvaluationBatches(self.open(split), self.spec.eval_batch_size, rank, ranks), self.workers)
            for split in EVALUATION_SPLITS.values()
            if split in self.spec.splits
        ]


class TensorExamples(Examples):
    """A split that fits in memory as tensors of equal length."""

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


def resolve_data_dir(data_dir: str | Path | None) -> Path:
    """Return the data directory: the argument, else ``$ALGOPERF_DATA_DIR``, else ``./data``."""
    return Path(data_dir or os.environ.get(DATA_DIR_VARIABLE) or "data").expanduser()
