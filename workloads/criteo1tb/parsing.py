"""Parsing of criteo1tb: converts the text of click logs to numbers, many lines at a time without a loop over rows.

A line has 40 fields separated by tabs: the label, 13 counts, 26 categories of eight hexadecimal digits. Empty fields
and the text ``-1`` are missing values: a label or count of 0, the category ``00000000``. Counts are converted to
ln(max(count, 0) + 1) in float32. A category is converted to an id: the FarmHash fingerprint of its eight digits
followed by its column's number in decimal, modulo the number of buckets of its column, rounded to float32.

Source: the benchmark's input pipeline with TensorFlow's CSV decoder and ``string_to_hash_bucket_fast``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

COUNTS = 13
"""Columns of counts, after the label."""

BUCKETS = (
    39_884_406, 39_043, 17_289, 7_420, 20_263, 3, 7_120, 1_543, 63, 38_532_951, 2_953_546, 403_346, 10,
    2_208, 11_938, 155, 4, 976, 14, 39_979_771, 25_641_295, 39_664_984, 585_935, 12_972, 108, 36,
)  # fmt: skip
"""Number of ids of each column of categories."""

FIELDS = 1 + COUNTS + len(BUCKETS)

# Ids are as wide as their column requires: a row has 113 bytes, instead of 157 with four bytes for each id.
ROW = np.dtype(
    [
        ("label", "u1"),
        ("dense", "<f4", COUNTS),
        *(
            (f"id_{column}", np.min_scalar_type(buckets - 1).newbyteorder("<"))
            for column, buckets in enumerate(BUCKETS)
        ),
    ]
)
"""A row on disk: the label 0 or 1, the logarithms of the counts, the ids."""

Words: TypeAlias = NDArray[np.uint64]
Flags: TypeAlias = NDArray[np.bool_]

_MISSING = np.uint64(int.from_bytes(b"00000000", "little"))
_MINUS_ONE = np.uint64(int.from_bytes(b"-1", "little"))
_LARGEST_EXACT = 2**24  # float32 represents all integers up to here


class BadRowError(ValueError):
    """A line is damaged.

    Attributes:
        line: Its number among the given lines, from 0.
        expected: The expected content.
        found: The actual content: ``has 39``.
    """

    def __init__(self, line: int, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, but line {line} {found}")
        self.line, self.expected, self.found = line, expected, found


def parse(text: bytes) -> NDArray[np.void]:
    """Return the rows of complete lines, each ended by a newline; shape ``(lines,)``, type :data:`ROW`.

    This is fastest for a few thousand lines, which stay in the processor's cache.

    Raises:
        BadRowError: For the first line that cannot be read.
    """
    fields = _split(text)
    if fields is not None:
        rows = np.empty(fields.begins.shape[1], ROW)
        good = _read_label(fields, rows)
        for column in range(COUNTS):
            good &= _read_count(fields, column, rows)
        for column in range(len(BUCKETS)):
            good &= _read_category(fields, column, rows)
        if good.all():
            return rows
    raise _first_bad_row(text)


@dataclass(frozen=True)
class _Fields:
    """Positions of the fields of some lines."""

    words: Words
    """The eight bytes of text starting at each position, as a little-endian integer."""
    begins: NDArray[np.int64]
    """Positions of the first characters, shape ``(FIELDS, lines)``."""
    ends: NDArray[np.int64]
    """Positions of the characters after the last ones, shape ``(FIELDS, lines)``."""


def _split(text: bytes) -> _Fields | None:
    """Return the positions of the fields, or None if a line has a wrong number of fields."""
    padded = np.zeros(len(text) + 16, np.uint8)  # eight bytes can be read before and after every position
    inner = padded[8:-8]
    inner[:] = np.frombuffer(text, np.uint8)
    found = np.flatnonzero(inner < ord("\v"))  # only tabs and newlines, unless a line is damaged
    if found.size % FIELDS:
        return None
    separators = found.reshape(-1, FIELDS)
    expected = np.full(FIELDS, ord("\t"), np.uint8)
    expected[-1] = ord("\n")
    if (inner[separators] != expected).any():
        return None
    ends = separators.T + 8
    begins = np.empty_like(ends)
    begins[1:] = ends[:-1] + 1
    begins[0, :1] = 8
    begins[0, 1:] = ends[-1, :-1] + 1
    return _Fields(np.ndarray(len(text) + 9, "<u8", padded, strides=(1,)), begins, ends)


def _read_label(fields: _Fields, rows: NDArray[np.void]) -> Flags:
    """Write the labels into the rows; return which ones are valid."""
    begins, lengths = fields.begins[0], fields.ends[0] - fields.begins[0]
    digit = fields.words[begins].astype(np.uint8) - np.uint8(ord("0"))
    rows["label"] = (lengths == 1) & (digit == 1)
    good: Flags = (lengths == 0) | (lengths == 1) & (digit <= 1) | _is_minus_one(fields.words[begins], lengths)
    return good


def _read_count(fields: _Fields, column: int, rows: NDArray[np.void]) -> Flags:
    """Write the logarithms of one column of counts into the rows; return which ones are valid."""
    begins, ends = fields.begins[1 + column], fields.ends[1 + column]
    lengths = ends - begins
    text = fields.words[ends - 8]
    before = (64 - 8 * np.minimum(lengths, 8)).astype(np.uint64)  # preceding bits; a shift by 64 gives 0
    negative = (text >> before).astype(np.uint8) == ord("-")
    before += np.multiply(8, negative, dtype=np.uint64)
    digits = (text ^ _each(ord("0"))) & (~np.uint64(0) << before)  # characters 0 to 9 become bytes 0 to 9
    good: Flags = ((digits + _each(0x80 - 10) | digits) & _each(0x80)) == 0
    good &= (lengths > 1) | ~negative
    # Eight digits at once: neighbours are combined to pairs, which multiplications weight and add.
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    mask = np.uint64(0x000000FF000000FF)
    upper = (pairs & mask) * np.uint64(100 + (1_000_000 << 32))
    lower = (pairs >> np.uint64(16) & mask) * np.uint64(1 + (10_000 << 32))
    counts = (upper + lower) >> np.uint64(32)
    counts[negative] = 0
    for row in np.flatnonzero(lengths > 8):  # rare
        field = _characters(fields.words, begins[row], ends[row])
        good[row] = bool(_COUNT.fullmatch(field))
        counts[row] = max(int(field), 0) if good[row] else 0
    rows["dense"][:, column] = np.log(counts.astype(np.float32) + np.float32(1))
    return good


def _read_category(fields: _Fields, column: int, rows: NDArray[np.void]) -> Flags:
    """Write the ids of one column of categories into the rows; return which ones are valid."""
    begins, ends = fields.begins[1 + COUNTS + column], fields.ends[1 + COUNTS + column]
    lengths = ends - begins
    text = fields.words[begins]
    whole = lengths == 8
    good: Flags = (lengths == 0) | whole
    if not good.all():
        good |= _is_minus_one(text, lengths)
    text[~whole] = _MISSING
    # In each byte, the highest bit of (x + 0x80 - c) is set if x >= c, provided that it is not set in x.
    digit = (text + _each(0x80 - ord("0"))) & ~(text + _each(0x80 - ord("9") - 1))
    letter = (text + _each(0x80 - ord("a"))) & ~(text + _each(0x80 - ord("f") - 1))
    good &= ((digit | letter) & ~text & _each(0x80)) == _each(0x80)
    rows[f"id_{column}"] = category_ids(text, column)
    return good


def category_ids(digits: Words, column: int) -> NDArray[np.uint32]:
    """Return the ids of categories, as the model receives them.

    The benchmark stores ids as float32. Above 2**24, which five columns exceed, float32 represents only every second or
    fourth integer, so many rows of the table are unreachable for these columns.

    Args:
        digits: Eight characters each, as little-endian integers, shape ``(B,)``.
        column: In [0, 26).

    Returns:
        Shape ``(B,)``.
    """
    suffix = str(column).encode()
    tail = int.from_bytes(suffix, "little") << 8 * (8 - len(suffix))
    hashes = fingerprint64(digits, digits >> np.uint64(8 * len(suffix)) | np.uint64(tail), 8 + len(suffix))
    buckets = np.uint64(BUCKETS[column])
    # Faster than hashes % buckets: NumPy's division by a constant takes a quarter of the time.
    ids = (hashes - hashes // buckets * buckets).astype(np.uint32)
    return ids if BUCKETS[column] <= _LARGEST_EXACT else ids.astype(np.float32).astype(np.uint32)


_K2 = 0x9AE16A3B2F90404F


def fingerprint64(head: Words, tail: Words, length: int) -> Words:
    """Return FarmHash's Fingerprint64 of strings of 8 to 16 bytes, all of the same length.

    Args:
        head: Their first eight bytes, as little-endian integers, shape ``(B,)``.
        tail: Their last eight bytes, shape ``(B,)``.
        length: In bytes.

    Reference: G. Pike, FarmHash, 2014, https://github.com/google/farmhash.
    """
    factor = np.uint64(_K2 + 2 * length)
    first = head + np.uint64(_K2)
    left = _rotate(tail, 37) * factor + first
    right = (_rotate(first, 25) + tail) * factor
    mixed = (left ^ right) * factor
    mixed ^= mixed >> np.uint64(47)
    mixed = (right ^ mixed) * factor
    mixed ^= mixed >> np.uint64(47)
    hashes: Words = mixed * factor
    return hashes


def _rotate(words: Words, bits: int) -> Words:
    """Return the words rotated to the right."""
    return words >> np.uint64(bits) | words << np.uint64(64 - bits)


def _each(byte: int) -> np.uint64:
    """Return a word of eight equal bytes."""
    return np.uint64(byte * 0x0101010101010101)


def _is_minus_one(text: Words, lengths: NDArray[np.int64]) -> Flags:
    """Return which fields are the text ``-1``."""
    found: Flags = (lengths == 2) & (text & np.uint64(0xFFFF) == _MINUS_ONE)
    return found


def _characters(words: Words, begin: int, end: int) -> bytes:
    """Return the text between two positions."""
    return words[begin:end].astype(np.uint8).tobytes()


_LABEL = re.compile(rb"|-1|0|1")
_COUNT = re.compile(rb"|-?[0-9]{1,18}")
_CATEGORY = re.compile(rb"|-1|[0-9a-f]{8}")


def _first_bad_row(text: bytes) -> BadRowError:
    """Return the error for the first damaged line; slow, so it is only called if there is one."""
    for number, line in enumerate(text.removesuffix(b"\n").split(b"\n")):
        fields = line.split(b"\t")
        if len(fields) != FIELDS:
            return BadRowError(number, f"{FIELDS} fields between tabs", f"has {len(fields)}")
        for index, field in enumerate(fields):
            if index == 0:
                what, pattern, expected = "label", _LABEL, "0 or 1"
            elif index <= COUNTS:
                what, pattern, expected = f"count {index}", _COUNT, "an integer of at most 18 digits"
            else:
                column = index - COUNTS
                what, pattern, expected = f"category {column}", _CATEGORY, "8 hexadecimal digits in lower case"
            if not pattern.fullmatch(field):
                return BadRowError(number, f"{expected} as its {what}", f"has {field[:40].decode('latin1')!r}")
    raise AssertionError("A block of lines was rejected, but each of its lines is valid.")
