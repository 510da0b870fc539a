"""Clicks of a synthetic model, as text in Criteo's format."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .parsing import BUCKETS, COUNTS

CHOICES = 6
"""Maximum number of categories of each column."""

TELLING = 8
"""Columns of categories that influence a click; the others are noise."""


class ClickModel:
    """A logistic model with known weights, which generates rows.

    Args:
        random: Generator for weights, categories and rows.
    """

    def __init__(self, random: np.random.RandomState) -> None:
        self._random = random
        self._categories = random.randint(0, 2**32, (len(BUCKETS), CHOICES), dtype=np.int64)
        self._weights = np.zeros((len(BUCKETS), CHOICES))
        self._weights[:TELLING] = random.normal(0, 1.2, (TELLING, CHOICES))
        self._dense_weights = random.normal(0, 0.5, COUNTS)

    def rows(self, count: int) -> bytes:
        """Return lines: a label, 13 counts, some of them missing or negative, and 26 categories, some missing."""
        random = self._random
        counts = np.floor(np.exp(random.normal(1, 1.5, (count, COUNTS)))).astype(np.int64) - 1
        counts[random.uniform(size=counts.shape) < 0.1] = -2  # stands for missing
        choices = random.randint(0, CHOICES, (count, len(BUCKETS)))
        columns = np.arange(len(BUCKETS))
        logits = self._weights[columns, choices].sum(1) + (np.log(counts.clip(0) + 1) - 1) @ self._dense_weights - 1.5
        labels = random.uniform(size=count) < 1 / (1 + np.exp(-logits))
        missing = random.uniform(size=choices.shape) < 0.05
        texts = [
            labels.astype(int).astype("S").tolist(),
            *(_text(column, column == -2, b"%d") for column in counts.T),
            *(_text(*pair, b"%08x") for pair in zip(self._categories[columns, choices].T, missing.T, strict=True)),
        ]
        return b"".join(b"\t".join(fields) + b"\n" for fields in zip(*texts, strict=True))


def _text(values: NDArray[np.int64], missing: NDArray[np.bool_], pattern: bytes) -> list[bytes]:
    return [b"" if absent else pattern % value for value, absent in zip(values.tolist(), missing.tolist(), strict=True)]
