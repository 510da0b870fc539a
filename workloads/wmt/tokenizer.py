"""The tokenizer: one SentencePiece model for both languages."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

END = 2
"""Id of the end of a sentence."""

SPECIAL_IDS = (0, 1, END, -1)
"""Ids of what the tokenizer does not know (and of all padding), of a beginning (never used), of an end, and of padding
(there is none of its own)."""

TRAINING_BYTES = 10_000_000
"""Text that the tokenizer is trained on, as in the benchmark."""


class Tokenizer:
    """A SentencePiece model.

    Args:
        path: Its file.

    Raises:
        OSError, RuntimeError: If it is none.
        ValueError: If it is empty, or its special tokens have other ids than the benchmark's.

    Reference: T. Kudo and J. Richardson, SentencePiece, 2018, https://arxiv.org/abs/1808.06226.
    """

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        content = path.read_bytes()
        if not content:  # SentencePiece takes that for a model without pieces
            raise ValueError("it is empty")
        self.fingerprint = hashlib.sha256(content).digest()
        self._model = SentencePieceProcessor(model_proto=content)
        self.size = int(self._model.vocab_size())
        special = tuple(getattr(self._model, f"{name}_id")() for name in ("unk", "bos", "eos", "pad"))
        if special != SPECIAL_IDS:
            raise ValueError(f"unknown, begin, end, padding should be the ids {SPECIAL_IDS}, but are {special}")

    def encode(self, sentences: list[str]) -> list[list[int]]:
        """Return the ids of each sentence, the end token included."""
        ids: list[list[int]] = self._model.encode(sentences, out_type=int, add_eos=True)
        return ids

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Return the sentences that ids stand for; ids 0 become " ⁇ "."""
        return [str(sentence) for sentence in self._model.decode(ids)] if ids else []

    def pieces(self, ids: list[int]) -> list[str]:
        """Return the pieces that ids stand for; "▁" is the space before a word."""
        return [str(self._model.id_to_piece(number)) for number in ids]


def train_tokenizer(lines: Iterable[bytes], vocabulary: int) -> bytes:
    """Return a model with ``vocabulary`` ids: unigram, all characters covered, else as the library has it.

    Args:
        lines: Sentences in UTF-8, German and English in turns.
        vocabulary: Ids to make.

    Raises:
        RuntimeError: If the text is too small for so many.

    Reference: T. Kudo, Subword Regularization, 2018, https://arxiv.org/abs/1804.10959 (the unigram model).
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    # Without files, whose names would be part of the model.
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=vocabulary,
        character_coverage=1.0,
        model_type="unigram",
        minloglevel=1,
    )
    return model.getvalue()
