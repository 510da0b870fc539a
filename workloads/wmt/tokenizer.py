"""The tokenizer: one SentencePiece model for both languages."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

END = 2
"""Id of the end of a sentence."""

SPECIAL_IDS = (0, 1, END, -1)
"""Ids of unknown text (also used for padding), of the start (not used), of the end, and of padding (no separate id)."""

TRAINING_BYTES = 10_000_000
"""Text that the tokenizer is trained on, as in the benchmark."""


class Tokenizer:
    """A SentencePiece model.

    Args:
        path: Its file.

    Raises:
        OSError, RuntimeError: If the file is not a SentencePiece model.
        ValueError: If it is empty, or the ids of its special tokens differ from the benchmark's.

    Reference: T. Kudo and J. Richardson, SentencePiece, 2018, https://arxiv.org/abs/1808.06226.
    """

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        content = path.read_bytes()
        if not content:  # SentencePiece accepts it as a model without pieces
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
        """Return the sentences of ids; ids 0 become " ⁇ "."""
        return [str(sentence) for sentence in self._model.decode(ids)] if ids else []

    def pieces(self, ids: list[int]) -> list[str]:
        """Return the pieces of ids; "▁" is the space before a word."""
        return [str(self._model.id_to_piece(number)) for number in ids]


def train_tokenizer(lines: Iterable[bytes], vocabulary: int) -> bytes:
    """Return a unigram model with ``vocabulary`` ids that covers all characters; other settings are the defaults.

    Args:
        lines: Sentences in UTF-8, alternating German and English.
        vocabulary: Number of ids.

    Raises:
        RuntimeError: If there is too little text for that number.

    Reference: T. Kudo, Subword Regularization, 2018, https://arxiv.org/abs/1804.10959 (the unigram model).
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    # Without files, because the model would contain their names.
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=vocabulary,
        character_coverage=1.0,
        model_type="unigram",
        minloglevel=1,
    )
    return model.getvalue()
