"""Data of wmt: sentence pairs as tokens, packed for training, one by one for evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.data.examples import Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic
from algoperf_lightning.rng import frozen_generator

from .batches import PackedRows, SentencePairs
from .conversion import write_token_file
from .corpus import PARTS, PLAIN, Text, UnequalError, fetch_text, find_text, pairs_of, sample, survey
from .reading import TokenFile
from .small import sentence_pairs
from .spec import FOLDER, TOKEN_FILES, TOKENIZER
from .tiny import sentence_pair
from .tokenizer import TRAINING_BYTES, Tokenizer, train_tokenizer

TINY_PAIRS = {"train": 6_000, "validation": 64, "test": 64}
"""Sentence pairs of a tiny data set."""


class WmtData(FileData):
    """German sentences with English translations: 5.9 million pairs for training, news of 2013 and 2014 for evaluation.

    A run reads the tokenizer and one memory-mapped token file for each of training, validation and test. Missing files
    are created: the tokenizer from a sample of the training text, the token files from plain text. The text is taken
    from plain files in the folder, or from the published archives, which are downloaded if they are not in the folder.

    Pairs with more than ``spec.data["length"]`` tokens on one side are dropped from all splits. ``train`` consists of
    packed rows, of pairs in an order that depends on the trial's seed; ``eval_train`` consists of pairs chosen by the
    seed. Evaluated pairs are sorted by length.

    Source: the WMT17 and WMT14 news translation tasks, https://www.statmt.org/wmt17/translation-task.html.
    """

    # A batch is about ten thousand tokens copied from mapped memory, which takes one or two milliseconds.
    folder_name: ClassVar[str] = FOLDER
    small_edition: ClassVar[int] = 2

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing or damaged, or was made with another tokenizer.
        """
        self.require_files()
        tokens = self._tokens("train" if split == "eval_train" else split)
        length = int(self.spec.data["length"])
        lengths = tokens.lengths()
        fitting = np.flatnonzero((lengths <= length).all(1))
        if not len(fitting):
            expected = f"sentence pairs of {length} tokens at most"
            raise self.damaged(tokens.path, expected, f"all {len(tokens):,} are longer")
        random = frozen_generator(self.seed, split)
        if split == "train":
            return PackedRows(tokens, random.permutation(fitting), length)
        if split == "eval_train":
            fitting = random.permutation(fitting)[: self.spec.splits["eval_train"]]
        # Sentences of similar length give short batches, and ranks that finish at the same time.
        return SentencePairs(tokens, fitting[np.argsort(lengths[fitting, 0], kind="stable")], length)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            DataNotFoundError: If it is missing or damaged, or its number of ids differs from the model's.
        """
        path = self.folder / TOKENIZER
        expected = f"a SentencePiece model of {self.spec.model['vocabulary']:,} ids"
        try:
            tokenizer = Tokenizer(path)
        except FileNotFoundError:
            self.require_files()
            raise
        except (OSError, RuntimeError, ValueError) as error:
            raise self.damaged(path, expected, f"reading failed ({error})") from error
        size = self.spec.model["vocabulary"]
        if tokenizer.size > size or (tokenizer.size < size and not self.is_tiny):
            raise self.damaged(path, expected, f"it has {tokenizer.size:,}")
        return tokenizer

    def _tokens(self, split: str) -> TokenFile:
        path = self.folder / TOKEN_FILES[split]
        with self.naming_damage():
            tokens = TokenFile(path)
        if tokens.header.fingerprint != self.tokenizer.fingerprint:
            raise self.damaged(path, f"tokens of {self.folder / TOKENIZER}", "they are another tokenizer's")
        return tokens

    def check(self) -> None:
        """Open every split, and read all tokens, and the text if it exists.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """
        super().check()
        for split, name in TOKEN_FILES.items():
            tokens = self._tokens(split)
            with self.naming_damage():
                tokens.check(f"{name}: checking")
            if texts := self._find_text(split):
                pairs, size = self._survey(split, texts)
                if (pairs, size) != (len(tokens), tokens.header.text_size):
                    expected = f"the {pairs:,} pairs of {texts[0].source.parent} ({size:,} bytes of text)"
                    found = f"it was made from {len(tokens):,} pairs ({tokens.header.text_size:,} bytes)"
                    raise self.damaged(tokens.path, expected, found)

    def fetch(self, missing: list[Path]) -> None:
        """Create the tokenizer and the token files that are missing."""
        if self.folder / TOKENIZER in missing:
            self._train_tokenizer(self._text("train"))
        for split, name in TOKEN_FILES.items():
            if (path := self.folder / name) in missing:
                self._tokenise(path, split, self._text(split))

    def _find_text(self, split: str) -> list[Text] | None:
        try:
            return find_text(self.folder, split)
        except UnequalError as error:
            raise self._bad_text(split, error) from error

    def _text(self, split: str) -> list[Text]:
        if texts := self._find_text(split):
            return texts
        try:
            return fetch_text(self.folder, split)
        except OSError as error:
            plain = " and ".join(f"{PLAIN[split]}.{language}" for language in ("de", "en"))
            archives = ", ".join(dict.fromkeys(part.archive for part in PARTS[split]))
            by_hand = f"copy plain parallel text ({plain}) or the archives ({archives}) to {self.folder}"
            raise self.unavailable(self.folder / TOKEN_FILES[split], error, by_hand) from error

    def _survey(self, split: str, texts: list[Text]) -> tuple[int, int]:
        """Return pairs and bytes of a split's text, after comparing them with the benchmark's."""
        try:
            pairs, size = survey(texts, f"{split} text: counting")
        except (UnequalError, ValueError) as error:
            raise self._bad_text(split, error) from error
        expected = self.spec.splits[split]
        if pairs != expected and not self.is_tiny:
            message = f"{self.spec.name}: expected {expected:,} sentence pairs of {split}, but {texts[0].source}"
            message += f" and the other files contain {pairs:,}." if len(texts) > 1 else f" contains {pairs:,}."
            if split != "train":
                raise DataNotFoundError(f"{message} Delete these files, then run `{self.command('prepare')}`.")
            warnings.warn(f"{message} Times are then not comparable with the benchmark's.", stacklevel=2)
        return pairs, size

    def _bad_text(self, split: str, error: ValueError) -> DataNotFoundError:
        kind = "parallel, as many sentences in each file" if isinstance(error, UnequalError) else "not empty"
        return DataNotFoundError(
            f"{self.spec.name}: the text of {split} must be {kind}, but {error}. Provide the right files, or delete "
            f"these; then run `{self.command('prepare')}`."
        )

    def _train_tokenizer(self, texts: list[Text]) -> None:
        self._survey("train", texts)
        vocabulary = self.spec.model["vocabulary"]
        try:
            content = train_tokenizer(sample(texts, TRAINING_BYTES), vocabulary)
        except RuntimeError as error:
            raise DataNotFoundError(
                f"{self.spec.name}: no tokenizer of {vocabulary:,} ids can be made from {texts[0].source} and its "
                f"English: {error}. Provide more text, or a SentencePiece model as {self.folder / TOKENIZER}."
            ) from error
        write_atomic(self.folder / TOKENIZER, content)

    def _tokenise(self, path: Path, split: str, texts: list[Text]) -> None:
        pairs, size = self._survey(split, texts)

        def sentences() -> Iterator[tuple[str, str]]:
            for number, pair in enumerate(pairs_of(texts), start=1):
                try:
                    yield pair[0].decode(), pair[1].decode()
                except UnicodeDecodeError as error:
                    names = ", ".join(f"{text.source.name} and {text.target.name}" for text in texts)
                    raise DataNotFoundError(
                        f"{self.spec.name}: {self.folder}: expected UTF-8 text in {names}, but pair {number:,} is not "
                        f"UTF-8 ({error}). Provide the right files, then run `{self.command('prepare')}`."
                    ) from error

        write_token_file(path, sentences, pairs, size, self.tokenizer, f"{path.name}: tokenising")

    def write_small_files(self) -> None:
        """Write English phrases and translations in an artificial language, and create a tokenizer and token files."""
        sizes = {split: self.spec.splits[split] for split in ("validation", "test", "train")}
        self._write_text(sentence_pairs(frozen_generator(0, "small", self.spec.name), sizes))
        self.fetch(self.missing_files())

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write synthetic German sentences and their translations, and create a tokenizer and token files."""
        self._write_text({split: [sentence_pair(random) for _ in range(count)] for split, count in TINY_PAIRS.items()})
        tiny = type(self)(self.spec if self.spec.is_tiny else self.spec.of(tiny=True), self.data_dir, seed=self.seed)
        tiny.fetch(tiny.missing_files())

    def _write_text(self, pairs: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """Write the pairs of each split as plain text, and remove files that were created from other text."""
        (self.folder / TOKENIZER).unlink(missing_ok=True)
        for split, sentences in pairs.items():
            for side, language in enumerate(("de", "en")):
                text = "".join(f"{sentence[side]}\n" for sentence in sentences)
                write_atomic(self.folder / f"{PLAIN[split]}.{language}", text)
            (self.folder / TOKEN_FILES[split]).unlink(missing_ok=True)
