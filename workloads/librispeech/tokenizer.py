"""Word pieces: a SentencePiece model made of the training transcripts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece

from algoperf_lightning.data import DataNotFoundError

UNKNOWN, END = 0, 2
"""Numbers of two pieces. That of what is unknown is CTC's blank too; that of the end closes every target."""

TRAINING_CHARACTERS = 10_000_000
"""Transcripts beyond that many characters are not trained on; train-clean-100 has half of it."""


class Tokenizer:
    """A SentencePiece model.

    Args:
        model: The content of its file.

    Raises:
        RuntimeError: If that is no SentencePiece model.

    Reference: T. Kudo, J. Richardson, SentencePiece, 2018, https://arxiv.org/abs/1808.06226.
    """

    def __init__(self, model: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.size = int(self._processor.vocab_size())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the pieces of each text, and the end after them."""
        pieces: list[list[int]] = self._processor.encode(list(texts), out_type=int, add_eos=True)
        return pieces

    def decode(self, pieces: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each sequence of pieces; a number that is no piece's counts as unknown."""
        known = [[piece if piece < self.size else UNKNOWN for piece in sequence] for sequence in pieces]
        texts: list[str] = self._processor.decode(known)
        return texts


def read_tokenizer(path: Path, vocabulary: int, *, exact: bool, name: str) -> Tokenizer:
    """Read a model from its file, and check that it is one of that vocabulary.

    Args:
        path: The file.
        vocabulary: Pieces it must have.
        exact: Whether it must have all of them, not just no more.
        name: The workload, for errors.

    Raises:
        DataNotFoundError: If it is damaged, or has another number of pieces.
    """
    advice = "Delete it (or bring another), then run the command that prepares the data; that trains a new one."
    try:
        tokenizer = Tokenizer(path.read_bytes())
    except RuntimeError as error:
        raise DataNotFoundError(
            f"{name}: {path} is damaged: it is no SentencePiece model ({error}). {advice}"
        ) from error
    if tokenizer.size > vocabulary or (exact and tokenizer.size != vocabulary):
        raise DataNotFoundError(
            f"{name}: {path} has a vocabulary of {tokenizer.size} pieces, expected {vocabulary}. {advice}"
        )
    return tokenizer


def train_tokenizer(transcripts: Iterable[str], vocabulary: int) -> bytes:
    """Return a unigram model trained on transcripts: the settings are the benchmark's, all others the library's own.

    The same transcripts in the same order give the same model.

    Raises:
        RuntimeError: If there is too little text for so many pieces.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_first(transcripts, TRAINING_CHARACTERS),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocabulary,
        character_coverage=1.0,
        minloglevel=2,
    )
    return model.getvalue()


def _first(transcripts: Iterable[str], characters: int) -> Iterator[str]:
    for transcript in transcripts:
        characters -= len(transcript)
        if characters < 0:
            return
        yield transcript
