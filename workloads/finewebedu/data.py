"""Data of finewebedu_lm: a stream of tokens, cut into windows."""

from __future__ import annotations

import errno
import shutil
import warnings
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from algoperf_lightning.data import DamagedError, DataNotFoundError
from algoperf_lightning.data.examples import Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.errors import BadInputError

from .batches import Windows
from .conversion import Source, write_token_file
from .documents import MERGES, SAMPLE, Part, ShuffledDocuments, fetch_merges, fetch_parquet, tokenise
from .reading import TokenFile
from .small import write_documents
from .sources import TOKENIZED, find_tokens
from .spec import FOLDER, TOKEN_FILES
from .tiny import write_arrow_folders
from .tokenizer import Tokenizer


class FineWebEduData(FileData):
    """Ten billion tokens of educational web pages, in one file of ids for training and one for validation.

    Both are mapped into memory. Missing ones are created from the first of these that exists in the folder:

    1. the folders ``train`` and ``val`` of the benchmark's own preparation (saved by TensorFlow), or saved by the
       library ``datasets``,
    2. flat files of ids: ``train.bin`` and ``val.bin`` (uint16), ``.npy``, or shards with ``_train_`` and ``_val_`` in
       their names,
    3. all documents as the benchmark's preparation stores them before it splits them: ``fwedu_10B_tokenized``,
    4. the text as parquet files, and GPT-2's ``vocab.bpe`` or ``merges.txt``; both are downloaded if they are missing.

    Documents of the last two are shuffled here, and the first nine tenths are for training.

    All documents of a split form one stream, which is cut into windows of ``spec.data["length"]`` + 1 tokens that do
    not overlap; the remainder is dropped. ``train`` is read in full permutations of its windows; ``eval_train`` is its
    first part, ``validation`` the first part of the other file, both in order.

    Source: the sample of 10 billion tokens of FineWeb-Edu, https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu
    (ODC-By 1.0).
    """

    # A batch consists of 64 copies of 2 kB from mapped memory.
    folder_name: ClassVar[str] = FOLDER

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing or damaged, has another vocabulary, or contains less than the
                benchmark evaluates.
        """
        self.require_files()
        with self.naming_damage():
            tokens = self._train if split in ("train", "eval_train") else self._validation
        windows = tokens.windows(self._window)
        self._require_windows(tokens.path, split, len(windows))
        return Windows(windows[: self.spec.splits[split]])

    # Mapped once: two splits share a file.
    @cached_property
    def _train(self) -> TokenFile:
        return self._token_file("train")

    @cached_property
    def _validation(self) -> TokenFile:
        return self._token_file("validation")

    def _token_file(self, split: str) -> TokenFile:
        tokens = TokenFile(self.folder / TOKEN_FILES[split])
        vocabulary, found = self.spec.model["vocabulary"], tokens.header.vocabulary
        if found > vocabulary or (found != vocabulary and not self.is_tiny):
            raise DamagedError(tokens.path, f"ids of a vocabulary of {vocabulary:,}", f"they are of one of {found:,}")
        return tokens

    @property
    def _window(self) -> int:
        return int(self.spec.data["length"]) + 1

    def _require_windows(self, path: Path, split: str, count: int) -> None:
        """Raise if a split has fewer windows than the benchmark evaluates; warn if it has fewer for training."""
        expected = self.spec.splits[split]
        if not count or (count < expected and not self.is_tiny):
            message = f"{self.spec.name}: {path} contains {count:,} windows of {self._window:,} tokens for {split}, "
            message += f"but expected {expected:,}."
            if count and split == "train":
                warnings.warn(f"{message} Times are then not comparable with the benchmark's.", stacklevel=3)
                return
            raise DataNotFoundError(
                f"{message} Provide more tokens of {'validation' if split == 'validation' else 'train'}, delete the "
                f"file made from the previous ones ({self.folder / TOKEN_FILES[_file_of(split)]}), then run "
                f"`{self.command('prepare')}`."
            )

    def check(self) -> None:
        """Open every split, and read all tokens.

        Raises:
            DataNotFoundError: If files are missing or damaged, or do not match the source tokens in the folder.
        """
        super().check()
        with self.naming_damage():
            for split, tokens in (("train", self._train), ("validation", self._validation)):
                tokens.check(f"{tokens.path.name}: checking")
                source = find_tokens(self.folder, split)
                made_from = (tokens.header.tokens, tokens.header.source_size)
                if source is not None and (source.tokens, source.size) != made_from:
                    expected = f"the {source.tokens:,} tokens of {source.path} ({source.size:,} bytes)"
                    found = f"it was made from {made_from[0]:,} tokens ({made_from[1]:,} bytes)"
                    raise DamagedError(tokens.path, expected, found)

    def fetch(self, missing: list[Path]) -> None:
        """Write the token files that are missing."""
        splits = [split for split, name in TOKEN_FILES.items() if self.folder / name in missing]
        try:
            with self.naming_damage():
                self._write(self._sources(splits))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise BadInputError(
                f"{self.spec.name}: the disk of {self.folder} is full. The token files take 20 GB, text needs 20 GB "
                f"more while it is tokenised. Finished work is kept; run `{self.command('prepare')}` again to continue."
            ) from error
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _write(self, sources: dict[str, Source]) -> None:
        for split, source in sources.items():
            self._require_windows(source.path, split, source.tokens // self._window)
        for split, source in sources.items():
            path = self.folder / TOKEN_FILES[split]
            write_token_file(path, source, self.spec.model["vocabulary"], f"{path.name}: writing")

    @property
    def _scratch(self) -> Path:
        return self.folder / "tokenised"

    def _sources(self, splits: list[str]) -> dict[str, Source]:
        """Return the sources of the tokens of some splits; text is tokenised first."""
        found = {split: source for split in TOKEN_FILES if (source := find_tokens(self.folder, split)) is not None}
        lacking = [split for split in splits if split not in found]
        if found and lacking:
            names = {"train": "train, train.bin or train.npy", "validation": "val, val.bin or val.npy"}[lacking[0]]
            raise DataNotFoundError(
                f"{self.spec.name}: {self.folder} contains the tokens of {next(iter(found))}, but not of {lacking[0]}. "
                f"Provide them ({names}), then run `{self.command('prepare')}`."
            )
        return {split: found[split] for split in splits} if found else self._tokenised(splits)

    def _tokenised(self, splits: list[str]) -> dict[str, Source]:
        """Return the splits of the text."""
        try:
            merges, parquet = fetch_merges(self.folder), fetch_parquet(self.folder)
        except OSError as error:
            by_hand = (
                f"copy to {self.folder} the folders `train` and `val`, or `{TOKENIZED}`, of AlgoPerf's own "
                f"preparation, or flat token files train.bin and val.bin, or the parquet files of {SAMPLE} and GPT-2's "
                f"{' or '.join(MERGES)},"
            )
            raise self.unavailable(self.folder / TOKEN_FILES[splits[0]], error, by_hand) from error
        tokenizer = Tokenizer(merges, self.spec.model["vocabulary"])
        files = [tokenise(path, self._scratch / f"{path.stem}.documents", tokenizer) for path in parquet]
        size = sum(file.source_size for file in files)
        parts = [Part(file.ids, file.ends) for file in files]
        return {split: ShuffledDocuments(parquet[0].parent, size, parts, split) for split in splits}

    def write_small_files(self) -> None:
        """Write the text of the package as parquet, and the token files of it."""
        for name in TOKEN_FILES.values():
            (self.folder / name).unlink(missing_ok=True)
        write_documents(self.folder)
        self.fetch(self.missing_files())

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write synthetic documents as folders of the library ``datasets``, and their token files."""
        tiny = type(self)(self.spec if self.spec.is_tiny else self.spec.of(tiny=True), self.data_dir, seed=self.seed)
        for name in TOKEN_FILES.values():
            (self.folder / name).unlink(missing_ok=True)
            (self.folder / f"{name}.part").unlink(missing_ok=True)
        windows = {split: tiny.spec.splits[split] for split in TOKEN_FILES}
        write_arrow_folders(self.folder, {split: count * tiny._window for split, count in windows.items()}, random)
        tiny.fetch(tiny.missing_files())


def _file_of(split: str) -> str:
    return "validation" if split == "validation" else "train"
