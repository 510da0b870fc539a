"""Data of a workload: location, reading, and sharding over ranks."""

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
"""Evaluation splits: the prefix of their metrics, and their name in :meth:`WorkloadData.open`."""


class DataNotFoundError(BadInputError, FileNotFoundError):
    """Files of a workload are missing or damaged. The message names them, the expected content, and a solution."""


class DataExistError(BadInputError, FileExistsError):
    """Existing files would be overwritten that were not created by this package."""


def dead_link(path: Path, top: Path) -> Path | None:
    """Return the first broken symbolic link on a path below ``top``, or None if there is none."""
    inside = [part for part in (*reversed(path.parents), path) if part == top or top in part.parents]
    return next((part for part in inside if part.is_symlink() and not part.exists()), None)


def describe_dead_link(link: Path) -> str:
    """Describe the problem with a broken symbolic link and its solution."""
    return (
        f"{link} is a link to {link.readlink()}, which does not exist. Restore its target (is a disk "
        "not mounted?), or delete the link and prepare the data."
    )


class WorkloadData(L.LightningDataModule, ABC):
    """The fixed data of a workload: location, reading, and sharding over ranks.

    Data modules of workloads define :meth:`open`. If the data are stored in files, they derive from
    :class:`~algoperf_lightning.data.file_data.FileData`.

    Raises:
        MissingLibraryError: If a library of the workload is not installed.
    """

    workers: int = 0
    """Number of worker processes per rank; 0 if reading is cheaper than the transfer between processes. The ``data`` of
    a spec may override it, as for tiny workloads."""

    def __init__(self, spec: WorkloadSpec, data_dir: str | Path | None = None, *, seed: int = 0) -> None:
        super().__init__()
        require_libraries(f"The workload {spec.name!r}", spec.libraries, spec.extra)
        self.spec = spec
        self._top = resolve_data_dir(data_dir)
        self.data_dir = spec.data_folder(self._top)
        self.seed = seed
        self.workers = spec.data.get("workers", type(self).workers)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the trainer, which worker processes do not need."""
        return {**self.__dict__, "trainer": None}

    def settings(self) -> dict[str, Any]:
        """Return the user options that change training batches as plain types for the run record."""
        return {}

    @abstractmethod
    def open(self, split: str) -> Examples:
        """Return the examples of ``train``, ``eval_train``, ``validation`` or ``test``.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """

    @property
    def is_tiny(self) -> bool:
        """Whether the data are a small set for testing the code instead of the real data."""
        return False

    def write_tiny(self, seed: int = 0) -> None:
        """Write a small, learnable data set in the real on-disk format, if the workload supports it.

        Raises:
            BadInputError: If the workload has no such data set.
        """
        raise BadInputError(f"{self.spec.name} has no tiny data set.")

    def write_small(self) -> None:
        """Write the small-size data set in the real on-disk format, if the workload has a small size.

        Raises:
            BadInputError: If the workload has no such data set.
        """
        raise BadInputError(f"{self.spec.name} has no small data set.")

    def missing_files(self) -> list[Path]:
        """Return the files of the spec that do not exist."""
        return [path for name in self.spec.files if not (path := self.data_dir / name).exists()]

    def check(self) -> None:
        """Open every split once, which runs the inexpensive checks.

        Called by ``algoperf data check``. Workloads with file contents that can be damaged read all files here.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """
        self.require_files()
        for split in ("train", *EVALUATION_SPLITS.values()):
            if split in self.spec.splits:
                self.open(split)

    def verify(self) -> None:
        """Run all checks of ``algoperf data check``: :meth:`check` and the checks common to all workloads.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """
        with self.naming_files():
            self.check()

    def naming_files(self) -> AbstractContextManager[None]:
        """Return a context that adds instructions to system errors about files of these data, where known.

        Use it around calls of :meth:`open`, :meth:`check` or :meth:`prepare_data` on behalf of a user.
        """
        return nullcontext()

    def require_files(self) -> None:
        """Raise an error unless all files of the spec exist.

        Raises:
            DataNotFoundError: If a file is missing. The message names the first one and the commands that create it.
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
        """Return the command that prepares, checks or creates these data."""
        return f"algoperf data {action} {self.spec.name} --data-dir {shlex.quote(str(self._top))}"

    def train_dataloader(self) -> Any:
        """Return the loader of the workload, for ``trainer.fit(workload, datamodule=workload.data)``."""
        return self._workload().train_dataloader()

    def val_dataloader(self) -> Any:
        """Return the loaders of the workload."""
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
        """Return the infinite training batches of this rank."""
        with self.naming_files():
            stream = TrainingStream(self.open("train"), batch_size, self.seed, rank, ranks, self.spec.whole_batches)
        pin_memory = to_device is not None and torch.cuda.is_available()
        return TrainingBatches(stream, self.workers, select, to_device, pin_memory, self.finish)

    def finish(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Convert the worker output to training batches in the training process. Returns it unchanged by default.

        Data modules that perform part of the work on the device override this method.
        """
        return batches

    def evaluation_batches(self, rank: int, ranks: int) -> list[Loader]:
        """Return the loaders of this rank for the evaluation splits, in the order of :data:`EVALUATION_SPLITS`."""
        with self.naming_files():
            opened = [self.open(split) for split in EVALUATION_SPLITS.values() if split in self.spec.splits]
        size, pin_memory = self.spec.eval_batch_size, torch.cuda.is_available()
        return [Loader(EvaluationBatches(examples, size, rank, ranks), self.workers, pin_memory) for examples in opened]
