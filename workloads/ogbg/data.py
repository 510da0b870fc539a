"""Data of ogbg: the official tables of ogbg-molpcba."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from algoperf_lightning.data import DownloadError, download, unpack
from algoperf_lightning.data.examples import Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.rng import frozen_generator

from .batches import Graphs, GraphsInOrder
from .conversion import convert, verify
from .reading import Molecules, Tables
from .small import write_small_tables
from .spec import FOLDER, OGBG, RAW_FILES, SPLIT_FILES
from .tiny import write_tiny_tables

URL = "https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/pcba.zip"
ARCHIVE = "ogbg/pcba.zip"
"""The official archive, under the data directory."""


class OGBGData(FileData):
    """437,929 molecules with 26 atoms on average and 128 labels each, of which many are missing.

    Splits are the official ones, by scaffold: ``test`` and ``validation`` contain molecules with rare scaffolds.
    ``eval_train`` is the same number of molecules as ``validation``, chosen once from ``train`` by the trial's seed.

    The official tables are compressed text. They are converted once, in about ten seconds, to arrays of 0.25 GB in
    ``packed``, which are memory-mapped; existing converted tables are kept.

    Source: W. Hu et al., Open Graph Benchmark: Datasets for Machine Learning on Graphs, 2020,
    https://arxiv.org/abs/2005.00687, after Z. Wu et al., MoleculeNet, 2018, https://arxiv.org/abs/1703.00564.
    """

    # Reading a batch of 512 takes one or two milliseconds; passing it between processes takes as long.
    folder_name: ClassVar[str] = FOLDER

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing, or a converted table is damaged.
        """
        self.require_files()
        with self.naming_damage():
            rows = self.molecules.splits["train" if split == "eval_train" else split]
        if split == "train":
            return Graphs(self.molecules, rows)
        if split == "eval_train":
            shuffled = frozen_generator(self.seed, "eval_train").permutation(len(rows))
            rows = np.sort(rows[shuffled[: self.spec.splits["eval_train"]]])
        return GraphsInOrder(self.molecules, rows)

    def check(self) -> None:
        """Read all official tables again, and compare the converted ones with them.

        Raises:
            DataNotFoundError: Naming the first missing or damaged file, and the line.
        """
        super().check()
        with self.naming_damage():
            verify(self.tables)

    # Opened once: three splits share it.
    @cached_property
    def molecules(self) -> Molecules:
        """All molecules."""
        return Molecules(self.tables)

    @property
    def tables(self) -> Tables:
        """The tables, raw and packed."""
        if self.is_tiny:
            return Tables(self.folder)
        # Sizes of the workload itself: the tiny form has others, but it may also be run on the real data.
        sizes = self.spec.splits if self.spec.size == "small" else OGBG.splits
        counts = {name: sizes[split] for split, name in SPLIT_FILES.items()}
        return Tables(self.folder, sum(counts.values()), counts)

    def fetch(self, missing: list[Path]) -> None:
        """Unpack the official archive, which is downloaded unless it is in the data directory; convert the tables."""
        if wanted := {name: path for name in RAW_FILES.values() if (path := self.folder / name) in missing}:
            archive = self.data_dir / ARCHIVE
            try:
                download(URL, archive)
            except DownloadError as error:
                by_hand = f"copy the official archive, {URL}, to {archive}"
                raise self.unavailable(next(iter(wanted.values())), error, by_hand) from error
            self._unpack(archive, wanted)
        with self.naming_damage():
            convert(self.tables)

    def _unpack(self, archive: Path, wanted: dict[str, Path]) -> None:
        with self.naming_damage():
            unpack(archive, lambda name: wanted.get(name.partition("/")[2]), count=len(wanted))
        if lacking := [name for name, path in wanted.items() if not path.exists()]:
            expected = f"a zip archive that contains {', '.join(RAW_FILES.values())} in one folder"
            raise self.damaged(archive, expected, f"{lacking[0]} is not in it")

    def write_small_files(self) -> None:
        """Write synthetic molecules whose labels depend on the neighbourhoods of their atoms, and convert them."""
        sizes = {split: self.spec.splits[split] for split in SPLIT_FILES}
        for path in self.folder.glob("packed/*.npy"):
            path.unlink()
        write_small_tables(self.folder, sizes, frozen_generator(0, "small", self.spec.name))
        convert(self.tables)

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write 2,000 small synthetic molecules whose labels depend on their motifs, and convert them."""
        for path in self.folder.glob("packed/*.npy"):
            path.unlink()
        write_tiny_tables(self.folder, random)
        convert(self.tables)
