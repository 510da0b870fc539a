"""The clicks of the small size: a synthetic click log with the difficulties of a real one, as text in Criteo's format.

- Categories are Zipf-distributed, in columns of 3 to 20,000 values: most values are rare, and new ones keep appearing.
- Columns are correlated: each row belongs to one of 24 groups of users, themselves Zipf-distributed, and a group has
  its own order of the values of each column.
- A click depends on single values, on pairs of values of different columns (scalar products of hidden vectors), and on
  the counts, not linearly. Labels are drawn: of two users with the same features, one may click and the other not.
- Counts have very different scales, share hidden causes, and are often missing.
- The click rate and the frequencies of the groups change from day to day.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .parsing import BUCKETS, COUNTS

SIZES = (
    20_000, 2_000, 800, 300, 1_000, 3, 500, 100, 20, 20_000, 5_000, 1_500, 10,
    150, 800, 40, 4, 80, 14, 20_000, 10_000, 20_000, 2_000, 900, 60, 30,
)  # fmt: skip
"""Number of values of each column."""

_EXPONENT = 1.1
_GROUPS = 24
_RANK = 4
"""Length of the hidden vectors."""
_OWN_ORDER = 0.5
"""Share of values that are drawn in the group's own order of the values."""
_PAIRS = ((1, 2), (2, 7), (3, 14), (4, 12), (6, 15), (8, 17), (10, 24), (11, 16))
_TELLING = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 15, 16, 18, 20, 22, 24)
"""Columns whose single values influence a click."""
_BASE = -5.2


class ClickLog:
    """A synthetic click log.

    Args:
        random: Generator for the weights, the categories and all rows.
    """

    def __init__(self, random: np.random.RandomState) -> None:
        self._random = random
        self._chances = [_zipf(size, _EXPONENT) for size in SIZES]
        self._names = [
            [b"%08x" % name for name in random.randint(1, 2**32, size, dtype=np.int64).tolist()] for size in SIZES
        ]
        self._shifts = [random.randint(0, size, _GROUPS) for size in SIZES]
        self._weights = {column: random.normal(0, 0.45, SIZES[column]) for column in _TELLING}
        self._vectors = {column: random.normal(0, 0.5, (SIZES[column], _RANK)) for pair in _PAIRS for column in pair}
        self._group_weights = random.normal(0, 0.5, _GROUPS)
        self._causes = random.normal(0, 1, (3, COUNTS)) * np.geomspace(0.25, 1.5, COUNTS)
        self._levels = random.uniform(0, 4, COUNTS)
        self._bends = random.uniform(0.5, 2.5, COUNTS)
        self._count_weights = random.normal(0, 0.35, COUNTS)
        self._missing = random.uniform(0.02, 0.4, COUNTS)

    def day(self, number: int, count: int) -> bytes:
        """Return lines of a day: a label, 13 counts and 26 categories; some of these are missing."""
        random = self._random
        drift = number / 23
        chances = np.roll(_zipf(_GROUPS, 0.8), int(4 * drift))
        groups = random.choice(_GROUPS, count, p=chances)
        values = np.stack([self._draw(column, groups) for column in range(len(BUCKETS))])
        logits = _BASE + 0.3 * np.sin(2 * np.pi * drift) + self._group_weights[groups]
        for column, weights in self._weights.items():
            logits = logits + weights[values[column]]
        for one, other in _PAIRS:
            logits = logits + (self._vectors[one][values[one]] * self._vectors[other][values[other]]).sum(1)
        logs = self._levels + random.normal(0, 1, (count, 3)) @ self._causes + random.normal(0, 0.3, (count, COUNTS))
        counts = np.floor(np.exp(logs.clip(-1, 12))).astype(np.int64) - 1
        logits = logits + np.tanh(np.log(counts.clip(0) + 1) - self._bends) @ self._count_weights
        labels = random.uniform(size=count) < 1 / (1 + np.exp(-logits))
        absent = random.uniform(size=counts.shape) < self._missing
        columns = [
            [b"1" if label else b"0" for label in labels.tolist()],
            *(_counts(*pair) for pair in zip(counts.T.tolist(), absent.T.tolist(), strict=True)),
            *([names[value] for value in column] for names, column in zip(self._names, values.tolist(), strict=True)),
        ]
        return b"".join(b"\t".join(fields) + b"\n" for fields in zip(*columns, strict=True))

    def _draw(self, column: int, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a value of a column for each row."""
        random, size = self._random, SIZES[column]
        ranks = np.searchsorted(np.cumsum(self._chances[column]), random.uniform(size=len(groups))).clip(max=size - 1)
        own = random.uniform(size=len(groups)) < _OWN_ORDER
        moved: NDArray[np.int64] = np.where(own, (ranks + self._shifts[column][groups]) % size, ranks)
        return moved


def _zipf(size: int, exponent: float) -> NDArray[np.float64]:
    """Return probabilities that decrease with the rank."""
    chances = np.arange(1, size + 1) ** -exponent
    normed: NDArray[np.float64] = chances / chances.sum()
    return normed


def _counts(values: list[int], absent: list[bool]) -> list[bytes]:
    return [b"" if missing else b"%d" % value for value, missing in zip(values, absent, strict=True)]
