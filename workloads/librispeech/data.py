"""Data of librispeech: recordings, decoded when they are read, and transcripts in word pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from algoperf_lightning.data import DamagedError, DataNotFoundError
from algoperf_lightning.data.examples import Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic
from algoperf_lightning.rng import frozen_generator

from .archives import URL, fetch_part
from .batches import Utterances
from .index import Index, build_index, verify_part
from .small import small_parts
from .spec import (
    FOLDER,
    PARTS,
    SMALL_UTTERANCES,
    SMALL_VOCABULARY,
    TINY_UTTERANCES,
    TINY_VOCABULARY,
    TOKENIZER_FILE,
    UTTERANCES,
    index_file,
)
from .tiny import tiny_part
from .tokenizer import Tokenizer, train_tokenizer


class LibriSpeechData(FileData):
    """960 hours of English read aloud, as the official FLAC files and transcripts; nothing is converted.

    Splits: ``train`` is train-clean-100, train-clean-360 and train-other-500; ``validation`` dev-clean and dev-other;
    ``test`` test-clean. Utterances of more than 320,000 samples (20 s) or 256 characters are left out. ``eval_train``
    is 5,376 examples of ``train``, chosen once by the trial's seed.

    ``prepare_data`` creates an index of each part, for a fast start, and trains the SentencePiece model on the
    transcripts of train-clean-100, unless ``spm_model.vocab`` exists. Missing parts are unpacked from their archives in
    the data directory, or downloaded. Transcripts are sorted numerically; AlgoPerf uses the order of the file system,
    so its SentencePiece model may differ in details.

    Source: V. Panayotov et al., LibriSpeech: an ASR corpus based on public domain audio books, 2015,
    https://doi.org/10.1109/ICASSP.2015.7178964; https://www.openslr.org/12, CC BY 4.0.
    """

    folder_name: ClassVar[str] = FOLDER
    tiny_seed_name: ClassVar[str] = "librispeech_deepspeech"
    small_edition: ClassVar[int] = 2

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing or damaged, or the utterances are not the official ones.
        """
        self.require_files()
        index = self._train if split in ("train", "eval_train") else self._select(split)
        rows = np.arange(len(index), dtype=np.int64)
        if split == "eval_train":
            shuffled = frozen_generator(self.seed, "eval_train").permutation(len(index))
            rows = shuffled[: self.spec.splits["eval_train"]].astype(np.int64)
        samples, tokens = self.spec.data["samples"], self.spec.data["tokens"]
        return Utterances(
            self.folder, index, rows, self.tokenizer, samples=samples, tokens=tokens, damaged=self.damaged
        )

    @cached_property
    def _train(self) -> Index:
        return self._select("train")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The SentencePiece model.

        Raises:
            DataNotFoundError: If it is damaged, or belongs to another workload.
        """
        path, size = self.folder / TOKENIZER_FILE, self.spec.model["vocabulary"]
        expected = f"a SentencePiece model of {size:,} pieces"
        try:
            tokenizer = Tokenizer(path.read_bytes())
        except (RuntimeError, ValueError) as error:
            raise self.damaged(path, expected, f"reading failed ({error})") from error
        fewer_will_do = self.is_tiny and not self.spec.is_tiny
        if tokenizer.size > size or (tokenizer.size < size and not fewer_will_do):
            raise self.damaged(path, expected, f"it has {tokenizer.size:,}")
        return tokenizer

    def _select(self, split: str) -> Index:
        """Return the utterances of a split that are not too long."""
        index = Index.joined([self._read_index(part) for part in PARTS[split]])
        short = (index.samples <= self.spec.data["samples"]) & (index.characters <= self.spec.data["characters"])
        if not self.is_tiny and short.sum() != self.spec.splits[split]:
            raise self.damaged(
                self.folder / index_file(PARTS[split][0]),
                f"{self.spec.splits[split]:,} utterances of {split} that are not too long",
                f"there are {short.sum():,}",
            )
        return index.take(np.flatnonzero(short))

    def _read_index(self, part: str) -> Index:
        path = self.folder / index_file(part)
        with self.naming_damage():
            index = Index.read(path)
        self._check_count(path, part, len(index))
        return index

    def _check_count(self, path: Path, part: str, count: int) -> None:
        expected = (SMALL_UTTERANCES if self.spec.size == "small" else UTTERANCES)[part]
        if not self.is_tiny and count != expected:
            raise self.damaged(path, f"{expected:,} utterances of {part}", f"there are {count:,}")

    def check(self) -> None:
        """Open every split, decode every recording, encode every transcript, compare the folders with their indexes."""
        super().check()
        for part in UTTERANCES:
            with self.naming_damage():
                verify_part(self.folder, part, self._read_index(part))
        for split in PARTS:
            examples = self.open(split)
            assert isinstance(examples, Utterances)
            examples.check_targets()

    def damaged(self, path: Path, expected: str, found: str) -> DataNotFoundError:
        """Return the error for a damaged file; files of a part are restored only if its index is deleted too."""
        part = path.relative_to(self.folder).parts[0]
        if part not in UTTERANCES:
            return super().damaged(path, expected, found)
        command = self.command(self._written_by)
        return DataNotFoundError(
            f"{self.spec.name}: {path} is damaged: expected {expected}, but {found}. Delete it and "
            f"{self.folder / index_file(part)}, then run `{command}`."
        )

    def fetch(self, missing: list[Path]) -> None:
        """Download missing or incomplete parts, index them, and train the SentencePiece model."""
        for part in UTTERANCES:
            if {self.folder / part, self.folder / index_file(part)} & set(missing):
                index = self._fetch_part(part)
                (self.folder / index_file(part)).parent.mkdir(exist_ok=True)
                write_atomic(self.folder / index_file(part), index.to_bytes())
        if (tokenizer := self.folder / TOKENIZER_FILE) in missing:
            index = self._read_index("train-clean-100")
            transcripts = (index.transcript(row) for row in range(len(index)))
            write_atomic(tokenizer, train_tokenizer(transcripts, self.spec.model["vocabulary"]))

    def _fetch_part(self, part: str) -> Index:
        """Return the index of a part, and complete the part if necessary."""
        incomplete = None
        if (self.folder / part).exists():
            try:
                return self._index(part)
            except DataNotFoundError as error:
                incomplete = error
        try:
            fetch_part(self.data_dir, part)
        except (OSError, DamagedError) as error:
            by_hand = f"copy {URL.format(part)} to {self.data_dir / part}.tar.gz"
            if incomplete is not None:  # raises an error with the reason
                error = OSError(f"{error}; the existing files are incomplete: {incomplete}")
            raise self.unavailable(self.folder / part, error, by_hand) from error
        return self._index(part)

    def _index(self, part: str) -> Index:
        with self.naming_damage():
            index = build_index(self.folder, part)
        self._check_count(self.folder / part, part, len(index))
        return index

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write short recordings of synthetic voices, their indexes, and a SentencePiece model of 16 pieces."""
        counts = enumerate(TINY_UTTERANCES.items(), start=1)
        parts = ((part, tiny_part(random, speaker, count)) for speaker, (part, count) in counts)
        self._write_parts(parts, TINY_VOCABULARY)

    def write_small_files(self) -> None:
        """Write recordings of real words in synthetic voices, their indexes, and a SentencePiece model."""
        self._write_parts(small_parts(frozen_generator(0, "small", self.tiny_seed_name)), SMALL_VOCABULARY)

    def _write_parts(self, parts: Iterable[tuple[str, Mapping[str, bytes]]], vocabulary: int) -> None:
        for path in self.missing_files():
            path.parent.mkdir(parents=True, exist_ok=True)
        for part in UTTERANCES:
            (self.folder / index_file(part)).unlink(missing_ok=True)
        for part, contents in parts:
            for name, content in contents.items():
                path = self.folder / part / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            index = build_index(self.folder, part)
            write_atomic(self.folder / index_file(part), index.to_bytes())
        index = self._read_index("train-clean-100")
        transcripts = [index.transcript(row) for row in range(len(index))]
        write_atomic(self.folder / TOKENIZER_FILE, train_tokenizer(transcripts, vocabulary))
