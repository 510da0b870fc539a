"""The metrics of librispeech: the usual word error rate, and the one of the benchmark's targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric


def printed(text: str) -> str:
    r"""Return a text as AlgoPerf compares it: as TensorFlow prints a tensor that contains it.

    The official code passes tensors instead of texts to its word error rate, which splits their printed form into
    words. Each utterance therefore has two additional words that are always correct (so the rate is lower than the
    usual one), a change at either end may cost one more error, and an apostrophe in only one of the two texts makes its
    first and last words wrong, because it changes the quotes. The targets were set with this rate, so ``wer`` uses it.

    Example:
        >>> printed("HELLO WORLD")
        "tf.Tensor(b'HELLO WORLD', shape=(), dtype=string)"
        >>> printed("DON'T")
        'tf.Tensor(b"DON\'T", shape=(), dtype=string)'
    """
    return f"tf.Tensor({text.encode()!r}, shape=(), dtype=string)"


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count insertions, deletions and substitutions of words between white space.

    Returns:
        Errors of each pair, and words of each reference, both ``(B,)``.

    Example:
        >>> word_errors(["A B C D", ""], ["A X C", "A B"])
        (array([2, 2]), array([4, 0]))
    """
    numbers: dict[str, int] = {}
    sides = [
        [[numbers.setdefault(word, len(numbers)) for word in text.split()] for text in texts]
        for texts in (references, hypotheses)
    ]
    return edit_distances(*sides), np.array([len(words) for words in sides[0]], np.int64)


def edit_distances(firsts: Sequence[Sequence[int]], seconds: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return the Levenshtein distance of each pair of sequences of integers >= 0, all pairs at once, ``(B,)``.

    Row i of the usual table, for all pairs, is computed from row i - 1 in two steps: deletions and substitutions use
    the previous row; insertions are a running minimum along the row after the column's index is subtracted.
    """
    (first, ends), (second, columns) = _padded(firsts, -1), _padded(seconds, -2)
    steps = np.arange(second.shape[1] + 1)
    row = np.tile(steps, (len(first), 1))
    distances = row[np.arange(len(first)), columns]  # for pairs with an empty first sequence
    for i in range(1, first.shape[1] + 1):
        substituted = row[:, :-1] + (second != first[:, i - 1 : i])
        row = row + 1
        row[:, 1:] = np.minimum(row[:, 1:], substituted)
        row = np.minimum.accumulate(row - steps, axis=1) + steps
        distances = np.where(ends == i, row[np.arange(len(first)), columns], distances)
    return distances.astype(np.int64)


def _padded(sequences: Sequence[Sequence[int]], filler: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    table = np.full((len(sequences), max(lengths, default=0)), filler, np.int64)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = sequence
    return table, lengths


class WordErrorRate(Metric):
    """Word errors over words of a whole split, over all ranks.

    Args:
        as_printed: Count as in AlgoPerf, on :func:`printed` texts.
        **kwargs: Arguments of torchmetrics.
    """

    full_state_update = False
    errors: Tensor
    words: Tensor

    def __init__(self, *, as_printed: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.as_printed = as_printed
        for name in ("errors", "words"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, references: Sequence[str], hypotheses: Sequence[str]) -> None:
        """Add utterances."""
        if self.as_printed:
            references, hypotheses = ([printed(text) for text in texts] for texts in (references, hypotheses))
        errors, words = word_errors(references, hypotheses)
        self.errors += int(errors.sum())
        self.words += int(words.sum())

    def compute(self) -> Tensor:
        """Return the rate, which may exceed 1."""
        return self.errors / self.words
