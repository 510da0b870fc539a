"""Word pieces: a SentencePiece model trained on the transcripts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

UNKNOWN = 0
"""Index of the unknown piece, which is also CTC's blank."""

SPECIAL_PIECES = (UNKNOWN, 1, 2, -1)
"""Indices of the pieces for unknown text, the start (not used), the end (at the end of every target) and padding (no
piece)."""

TRAINING_CHARACTERS = 10_000_000
"""Maximum number of transcript characters to train on; train-clean-100 has half of it."""


class Tokenizer:
    """A SentencePiece model.

    Args:
        model: The content of its file.

    Raises:
        RuntimeError: If it is not a SentencePiece model.
        ValueError: If it is empty, or the indices of its special pieces differ from the benchmark's.

    Reference: T. Kudo, J. Richardson, SentencePiece, 2018, https://arxiv.org/abs/1808.06226.
    """

    def __init__(self, model: bytes) -> None:
        if not model:  # SentencePiece accepts it as a model without pieces
            raise ValueError("it is empty")
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.size = int(self._processor.vocab_size())
        special = tuple(getattr(self._processor, f"{name}_id")() for name in ("unk", "bos", "eos", "pad"))
        if special != SPECIAL_PIECES:
            raise ValueError(f"unknown, begin, end, padding should be the pieces {SPECIAL_PIECES}, but are {special}")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the pieces of each text, followed by the end."""
        pieces: list[list[int]] = self._processor.encode(list(texts), out_type=int, add_eos=True)
        return pieces

    def decode(self, pieces: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each sequence of pieces; invalid indices count as unknown."""
        known = [[piece if piece < self.size else UNKNOWN for piece in sequence] for sequence in pieces]
        texts: list[str] = self._processor.decode(known)
        return texts


def train_tokenizer(transcripts: Iterable[str], vocabulary: int) -> bytes:
    """Return a unigram model trained on transcripts, with the benchmark's settings and the library's other defaults.

    The same transcripts in the same order give the same model.

    Raises:
        RuntimeError: If there is too little text for so many pieces.
    """
    import sentencepiece

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
