"""Masks for four-fold undersampling of k-space, drawn with the benchmark's stateless generator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ACCELERATION = 4
CENTRE_FRACTION = 0.08

EVALUATION_SEED = (0, 0)
"""Seed of every mask of validation and test: slices of equal width have equal masks."""

_BITS_32 = np.uint64(0xFFFFFFFF)
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_KEY_STEPS = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)
_SCRAMBLING_KEY = np.array([0x3EC8F720, 0x02461E29], dtype=np.uint64)


def kept_columns(width: int, uniforms: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which columns are kept: a central band and random others, about a quarter in total.

    The band has ``int(0.08 width)`` columns, rounded down; the fastMRI code rounds to the nearest integer.

    Args:
        width: Columns W of the k-space.
        uniforms: Numbers in [0, 1), float32, at least W.

    Returns:
        bool ``(W,)``.
    """
    centre = int(np.float32(width) * np.float32(CENTRE_FRACTION))
    chance = np.float32((width / ACCELERATION - centre) / (width - centre))
    kept: NDArray[np.bool_] = uniforms[:width] < chance
    first = (width - centre + 1) // 2
    kept[first : first + centre] = True
    return kept


def stateless_uniforms(seeds: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Return numbers in [0, 1) that depend only on the seed, equal to those of ``tf.random.stateless_uniform``.

    Args:
        seeds: Two non-negative integers for each row of numbers, int64 ``(B, 2)``.
        count: Numbers for each row; a smaller count gives a prefix of a larger one.

    Returns:
        float32 ``(B, count)``, multiples of 2**-23.

    Reference: Philox 4x32-10, J. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011,
    https://doi.org/10.1145/2063384.2063405. A first block turns the seed into a key and half of the counter.
    """
    words = seeds.astype(np.uint64)[:, :, None] >> np.array([0, 32], dtype=np.uint64) & _BITS_32  # (B, 2, 2)
    scrambled = _philox(words.reshape(-1, 1, 4), _SCRAMBLING_KEY)[:, 0]  # (B, 4)
    blocks = -(-count // 4)
    counters = np.empty((len(seeds), blocks, 4), dtype=np.uint64)
    counters[:, :, 0] = np.arange(blocks)
    counters[:, :, 1] = 0
    counters[:, :, 2:] = scrambled[:, None, 2:]
    numbers = _philox(counters, scrambled[:, None, :2]).reshape(len(seeds), -1)[:, :count]
    uniforms: NDArray[np.float32] = (numbers & np.uint64(2**23 - 1)).astype(np.float32) * np.float32(2.0**-23)
    return uniforms


def _philox(counters: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Encrypt counters, each four words of 32 bits on the last axis, with keys of two words that broadcast."""
    words = counters
    for _ in range(10):
        products: Any = words[..., ::2] * _MULTIPLIERS  # of words 0 and 2, each 64 bits
        high, low = products >> np.uint64(32), products & _BITS_32
        mixed = high[..., ::-1] ^ words[..., 1::2] ^ key
        words = np.stack([mixed[..., 0], low[..., 1], mixed[..., 1], low[..., 0]], axis=-1)
        key = (key + _KEY_STEPS) & _BITS_32
    return words
