"""The tokenizer: one SentencePiece model for both languages."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

END = 2
"""Id of the end of a sentence. 0 is what the tokenizer does not know, and padding."""

TRAINING_BYTES = 10_000_000
"""Text that the tokenizer is trained on, as in the benchmark."""


class Tokenizer:
    """A SentencePiece model.

    Args:
        path: Its file.

    Raises:
        OSError, RuntimeError: If it is none.
        ValueError: If its unknown and end tokens are not 0 and 2.

    Reference: T. Kudo and J. Richardson, SentencePiece, 2018, https://arxiv.org/abs/1808.06226.
    """

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        content = path.read_bytes()
        self.fingerprint = hashlib.sha256(content).digest()
        self._model = SentencePieceProcessor(model_proto=content)
        self.size = int(self._model.vocab_size())
        if (self._model.unk_id(), self._model.eos_id()) != (0, END):
            raise ValueError(f"its unknown and end ids are {self._model.unk_id()} and {self._model.eos_id()}")

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
