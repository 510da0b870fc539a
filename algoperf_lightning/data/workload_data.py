"""Data of a workload: where it lies, how it is read, how it is split over ranks."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch

from algoperf_lightning.data.data_dir import resolve_data_dir
from algoperf_lightning.data.examples import Batch, Examples
from algoperf_lightning.data.streams import EvaluationBatches, Loader, TrainingBatches, TrainingStream
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.spec import WorkloadSpec
from algoperf_lightning.utilities.libraries import require_libraries

EVALUATION_SPLITS: dict[str, str] = {"train": "eval_train", "validation": "validation", "test": "test"}
"""Splits that are evaluated: the prefix of their metrics, and the name :meth:`WorkloadData.open` knows them by."""


class DataNotFoundError(BadInputError, FileNotFoundError):
    """Files of a workload are missing or damaged; the message says which, what was expected, and what to do."""


class DataExistError(BadInputError, FileExistsError):
    """Files are in the way that are not ours to overwrite."""


def dead_link(path: Path, top: Path) -> Path | None:
    """Return the first link on the way to a path, from ``top`` on, that leads nowhere; None if there is none."""
    inside = [part for part in (*reversed(path.parents), path) if part == top or top in part.parents]
    return next((part for part in inside if part.is_symlink() and not part.exists()), None)


def describe_dead_link(link: Path) -> str:
    """Return what is wrong with a link that leads nowhere, and what to do."""
    return (
        f"{link} is a link to {link.readlink()}, which does not exist. Restore its target (is a disk "
        "not mounted?), or delete the link and prepare the data."
    )


class WorkloadData(L.LightningDataModule, ABC):
    """The fixed data of a workload: where it lies, how it is read, how it is split over ranks.

    A workload's data module defines :meth:`open`; where the data are files, it derives from
    :class:`~algoperf_lightning.data.file_data.FileData`.

    Raises:
        MissingLibraryError: If a library of the workload is not installed.
    """

    workers: int = 0
    """Worker processes that read on each rank; 0 where reading is cheaper than handing over. A spec's ``data`` may say
    otherwise, as tiny forms do."""

    def __init__(self, spec: WorkloadSpec, data_dir: str | Path | None = None, *, seed: int = 0) -> None:
        super().__init__()
        require_libraries(f"The workload {spec.name!r}", spec.libraries, spec.extra)
        self.spec = spec
        self._top = resolve_data_dir(data_dir)
        self.data_dir = spec.data_folder(self._top)
        self.seed = seed
        self.workers = spec.data.get("workers", type(self).workers)

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the trainer: processes that read need the data alone."""
        return {**self.__dict__, "trainer": None}

    def settings(self) -> dict[str, Any]:
        """Return the user's choices that change training batches, as plain types; a record names them."""
        return {}

    @abstractmethod
    def open(self, split: str) -> Examples:
        """Return the examples of ``train``, ``eval_train``, ``validation`` or ``test``.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """

    @property
    def is_tiny(self) -> bool:
        """Whether these are not the real data but a small set to try the code on."""
        return False

    def write_tiny(self, seed: int = 0) -> None:
        """Write a small, learnable data set in the real on-disk format, where there is one.

        Raises:
            BadInputError: If there is none.
        """
        raise BadInputError(f"{self.spec.name} has no tiny data set.")

    def write_small(self) -> None:
        """Write the data set of the small size in the real on-disk format, where there is one.

        Raises:
            BadInputError: If there is none.
        """
        raise BadInputError(f"{self.spec.name} has no small data set.")

    def missing_files(self) -> list[Path]:
        """Return the files of the spec that are not there."""
        return [path for name in self.spec.files if not (path := self.data_dir / name).exists()]

    def check(self) -> None:
        """Open every split once, which verifies what can be verified cheaply.

        ``algoperf data check`` calls it; a workload whose files can be damaged inside goes through all of them here.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """
        self.require_files()
        for split in ("train", *EVALUATION_SPLITS.values()):
            if split in self.spec.splits:
                self.open(split)

    def verify(self) -> None:
        """Check everything, as ``algoperf data check`` does: :meth:`check`, and what is the same for all workloads.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """
        with self.naming_files():
            self.check()

    def naming_files(self) -> AbstractContextManager[None]:
        """Return a context in which the system's errors about files of these data say what to do, where that is known.

        Whoever calls :meth:`open`, :meth:`check` or :meth:`prepare_data` on a user's behalf does it in here.
        """
        return nullcontext()

    def require_files(self) -> None:
        """Raise unless all files of the spec are there.

        Raises:
            DataNotFoundError: Naming the first missing file and the commands that make it.
        """
        if missing := self.missing_files():
            if link := dead_link(missing[0], self.data_dir):
                raise DataNotFoundError(f"{self.spec.name}: {describe_dead_link(link)}")
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            how = (
                f"Write it with `{self.command('small')}`."
                if self.spec.size == "small"
                else f"Get it with `{self.command('prepare')}`, or try the code on a tiny data set: "
                f"`{self.command('tiny')}`."
            )
            raise DataNotFoundError(f"{self.spec.name}: {missing[0]}{more} is missing. {how}")

    def command(self, action: str) -> str:
        """Return the command that prepares, checks or makes these data."""
        return f"algoperf data {action} {self.spec.name} --data-dir {shlex.quote(str(self._top))}"

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
        with self.naming_files():
            stream = TrainingStream(self.open("train"), batch_size, self.seed, rank, ranks, self.spec.whole_batches)
        pin_memory = to_device is not None and torch.cuda.is_available()
        return TrainingBatches(stream, self.workers, select, to_device, pin_memory, self.finish)

    def finish(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Return training batches from what the reading processes hand over, in the training process: as it is.

        A data module that leaves part of the work to the device overrides it.
        """
        return batches

    def evaluation_batches(self, rank: int, ranks: int) -> list[Loader]:
        """Return this rank's loaders of the splits that are evaluated, in the order of :data:`EVALUATION_SPLITS`."""
        with self.naming_files():
            opened = [self.open(split) for split in EVALUATION_SPLITS.values() if split in self.spec.splits]
        size, pin_memory = self.spec.eval_batch_size, torch.cuda.is_available()
        return [Loader(EvaluationBatches(examples, size, rank, ranks), self.workers, pin_memory) for examples in opened]
