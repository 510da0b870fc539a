"""Packing of wmt: several sentence pairs in one row, as in the benchmark, computed for all rows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pack(lengths: NDArray[np.integer], length: int) -> NDArray[np.int64]:
    """Return the starts of rows when sentence pairs are packed in the given order.

    Pairs are packed in groups of ``length`` pairs, as in the benchmark. Within a group, pairs are appended to a row as
    long as both sources and targets fit; otherwise the next row starts. Rows do not extend over the end of a group.

    Args:
        lengths: Tokens of source and target of each pair, ``(N, 2)``; none longer than ``length``.
        length: Maximum number of tokens of a row's sources, and of its targets.

    Returns:
        The number of the first pair of each row, and N at the end; int64 ``(R + 1,)``, ascending.
    """
    group, count = length, len(lengths)
    groups = -(-count // group)
    padded = np.zeros((groups * group, 2), dtype=np.int32)
    padded[:count] = lengths
    columns = padded.reshape(groups, group, 2).transpose(1, 2, 0)  # (group, 2, G): a step reads contiguous memory
    begins = np.zeros((groups, group), dtype=np.bool_)
    begins[:, 0] = True
    filled = columns[0].copy()  # (2, G), tokens in each group's current row
    for place in range(1, group):
        filled += columns[place]
        full = (filled > length).any(0)
        begins[:, place] = full
        filled[:, full] = columns[place][:, full]
    return np.append(np.flatnonzero(begins.reshape(-1)[:count]), count).astype(np.int64)


def lay_out(
    ids: NDArray[np.uint16], starts: NDArray[np.int64], lengths: NDArray[np.int64], rows: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Copy pieces of a stream of ids into the rows of a matrix, one after the other.

    Args:
        ids: The stream.
        starts: Start of each piece in the stream, ``(P,)``.
        lengths: Number of ids of each piece, ``(P,)``.
        rows: Target row of each piece, ``(P,)``, ascending from 0 without gaps.
        width: Columns of the matrix; unused entries are 0.

    Returns:
        Ids, positions in the piece, and number of the piece in its row (from 1; 0 if the id is 0), each int64
        ``(rows, width)``.
    """
    count = int(rows[-1]) + 1
    ends = np.cumsum(lengths)
    first = np.searchsorted(rows, np.arange(count))  # the first piece of each row
    before = ends - lengths  # ids of all pieces before each
    position = np.arange(ends[-1]) - np.repeat(before, lengths)
    column = position + np.repeat(before - before[first][rows], lengths)
    place = (np.repeat(rows, lengths), column)
    tokens, positions, segments = (np.zeros((count, width), dtype=np.int64) for _ in range(3))
    tokens[place] = ids[position + np.repeat(starts, lengths)]
    positions[place] = position
    segments[place] = np.repeat(np.arange(len(rows)) - first[rows] + 1, lengths)
    segments[tokens == 0] = 0
    return tokens, positions, segments
