"""From text to rows: hashes, golden lines, a slow parser beside the fast one, bad lines."""

from __future__ import annotations

import re

import numpy as np
import pytest

from algoperf_lightning.workloads.criteo1tb.parsing import (
    BUCKETS,
    FIELDS,
    ROW,
    BadRowError,
    category_ids,
    fingerprint64,
    parse,
)

HEX = [f"{(i * 2654435761 + 12345) % 2**32:08x}" for i in range(26)]
LINES = [
    "\t".join(["1", "5", "", "-1", "-3", "100", *["7"] * 8, *HEX]),
    "\t".join(["0", *[""] * 39]),
    "\t".join(["", *map(str, range(1, 14)), *["68fd1e64"] * 25, "-1"]),
]
DENSE = [
    [1.791759, 0, 0, 0, 4.61512, *[2.079442] * 8],
    [0] * 13,
    np.log(np.arange(2, 15)),
]
IDS = [
    [35456692, 32143, 6514, 6778, 8749, 2, 3115, 258, 52, 16249515, 2020467, 19330, 4, 755, 3882, 22, 0, 958,
     10, 34829584, 7039778, 24413290, 6730, 5670, 101, 14],
    [16124033, 10351, 4188, 7307, 19695, 0, 6670, 378, 5, 27691836, 1866611, 184436, 4, 202, 10577, 64, 3, 387,
     9, 13392961, 5775802, 11306799, 361450, 6860, 42, 8],
    [6734129, 35569, 172, 4667, 5782, 2, 311, 1374, 21, 759600, 1193498, 72630, 9, 1245, 189, 18, 2, 629, 11,
     7637784, 10446572, 35152136, 245385, 3812, 29, 8],
]  # fmt: skip


def ids_of(rows):
    return np.stack([rows[f"id_{column}"] for column in range(26)], axis=1)


def text(*lines):
    return "".join(line + "\n" for line in lines).encode()


def word(string):
    return np.frombuffer(string.encode(), "<u8")


# Golden values


def test_columns_and_buckets_are_those_of_the_benchmark():
    assert len(BUCKETS) == 26
    assert sum(BUCKETS) == 187_767_399
    assert ROW.itemsize == 113


@pytest.mark.parametrize(
    ("key", "in_buckets", "in_31_bits"),
    [
        ("000000000", 16124033, 952830827),
        ("05db91640", 23230533, 1689859591),
        ("68fd1e64", 2240550, 418957958),
        ("68fd1e640", 6734129, 518723147),
        ("0000000025", 924554, 1744482568),
        ("be589b5125", 10752407, 2020631151),
    ],
)
def test_hashes_are_farmhash_fingerprints(key, in_buckets, in_31_bits):
    (found,) = fingerprint64(word(key[:8]), word(key[-8:]), len(key)).tolist()
    assert (found % 39884406, found % 2**31) == (in_buckets, in_31_bits)


def test_lines_are_parsed_as_by_the_reference():
    rows = parse(text(*LINES))
    assert rows["label"].tolist() == [1, 0, 0]
    assert np.allclose(rows["dense"], np.array(DENSE), rtol=1e-6)
    assert ids_of(rows).tolist() == IDS


def test_ids_have_passed_through_float32():
    (found,) = category_ids(word("be1e385c"), 19).tolist()
    hashed = fingerprint64(word("be1e385c"), word("1e385c19"), 10) % np.uint64(BUCKETS[19])
    assert hashed.tolist() == [34829586]
    assert found == 34829584
    assert found % 4_194_304 == 1275152
    ids = category_ids(np.arange(10**5, dtype=np.uint64), 0)
    assert ids.max() > 2**25
    assert (ids[ids > 2**24] % 2 == 0).all()
    assert (ids[ids > 2**25] % 4 == 0).all()


# A slow, readable twin


def slow_hash(key):
    """Fingerprint64 of 8 to 16 bytes, on Python's integers."""
    m = 2**64 - 1

    def rotate(value, bits):
        return (value >> bits | value << (64 - bits)) & m

    k2 = 0x9AE16A3B2F90404F
    mul = (k2 + 2 * len(key)) & m
    a = (int.from_bytes(key[:8], "little") + k2) & m
    b = int.from_bytes(key[-8:], "little")
    c = (rotate(b, 37) * mul + a) & m
    d = (rotate(a, 25) + b) * mul & m
    x = (c ^ d) * mul & m
    x ^= x >> 47
    y = (d ^ x) * mul & m
    y ^= y >> 47
    return y * mul & m


def slow_parse(line):
    label, *fields = ["" if field == "-1" else field for field in line.split("\t")]
    counts = np.array([float(field or 0) for field in fields[:13]]).astype(np.float32)
    dense = np.log(counts.clip(0) + np.float32(1))
    keys = [(field or "00000000") + str(column) for column, field in enumerate(fields[13:])]
    ids = [slow_hash(key.encode()) % buckets for key, buckets in zip(keys, BUCKETS, strict=True)]
    return int(label or 0), dense, np.array(ids).astype(np.float32).astype(np.int64)


def test_many_random_lines_agree_with_a_slow_parser():
    random = np.random.RandomState(0)
    odd = [
        "",
        "-1",
        "-3",
        "0",
        "7",
        "00012",
        "12345678",
        "123456789",
        "-87654321",
        "9" * 18,
        "-" + "1" * 18,
        "16777217",
    ]

    def count():
        return odd[random.randint(len(odd))] if random.rand() < 0.4 else str(random.randint(10 ** random.randint(1, 9)))

    def category():
        return ["", "-1"][random.randint(2)] if random.rand() < 0.3 else f"{random.randint(2**32, dtype=np.int64):08x}"

    lines = [
        "\t".join(
            [random.choice(["0", "1", "", "-1"]), *(count() for _ in range(13)), *(category() for _ in range(26))]
        )
        for _ in range(2_000)
    ]
    rows = parse(text(*lines))
    labels, dense, ids = zip(*map(slow_parse, lines), strict=True)
    assert rows["label"].tolist() == list(labels)
    assert np.array_equal(rows["dense"], np.stack(dense))
    assert np.array_equal(ids_of(rows), np.stack(ids))


# Bad lines


def changed(field, value):
    fields = LINES[0].split("\t")
    fields[field] = value
    return "\t".join(fields)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("", "expected 40 fields between tabs, but line 2 has 1", id="empty-line"),
        pytest.param(LINES[0].rpartition("\t")[0], "expected 40 fields between tabs, but line 2 has 39", id="short"),
        pytest.param(LINES[0] + "\t1", "line 2 has 41", id="long"),
        pytest.param(LINES[0].replace("\t", ","), "line 2 has 1", id="commas"),
        pytest.param("label" + "\tc" * 39, "0 or 1 as its label, but line 2 has 'label'", id="header"),
        pytest.param(changed(0, "2"), "0 or 1 as its label, but line 2 has '2'", id="label"),
        pytest.param(changed(0, "-2"), "its label, but line 2 has '-2'", id="negative-label"),
        pytest.param(changed(0, "11"), "its label, but line 2 has '11'", id="long-label"),
        pytest.param(changed(1, "x"), "an integer .* as its count 1, but line 2 has 'x'", id="letter"),
        pytest.param(changed(13, "1.5"), "its count 13, but line 2 has '1.5'", id="fraction"),
        pytest.param(changed(5, "-"), "its count 5, but line 2 has '-'", id="minus"),
        pytest.param(changed(5, "--1"), "its count 5, but line 2 has '--1'", id="two-minus"),
        pytest.param(changed(5, "1-"), "its count 5, but line 2 has '1-'", id="minus-behind"),
        pytest.param(changed(5, "+1"), "its count 5, but line 2 has '\\+1'", id="plus"),
        pytest.param(changed(5, "1" * 19), "its count 5, but line 2 has '1111111111111111111'", id="long-count"),
        pytest.param(changed(5, "12345678x9012"), "its count 5, .* has '12345678x9012'", id="letter-in-long-count"),
        pytest.param(changed(5, "x12345678"), "its count 5, .* has 'x12345678'", id="letter-before-digits"),
        pytest.param(changed(14, "68fd1e6"), "8 hexadecimal digits .* category 1, .*'68fd1e6'", id="seven"),
        pytest.param(changed(14, "68fd1e645"), "its category 1, but line 2 has '68fd1e645'", id="nine"),
        pytest.param(changed(39, "68fd1e6g"), "its category 26, but line 2 has '68fd1e6g'", id="no-hex"),
        pytest.param(changed(39, "68FD1E64"), "its category 26, but line 2 has '68FD1E64'", id="upper-case"),
        pytest.param(changed(39, "`8fd1e64"), "its category 26, but line 2 has '`8fd1e64'", id="before-a"),
        pytest.param(changed(39, "68fd1e6:"), "its category 26, but line 2 has '68fd1e6:'", id="after-9"),
        pytest.param(changed(39, "68fd1e6/"), "its category 26, but line 2 has '68fd1e6/'", id="before-0"),
        pytest.param(changed(39, "-2"), "its category 26, but line 2 has '-2'", id="minus-two"),
        pytest.param(changed(39, "68fd1e64\r"), r"its category 26, but line 2 has '68fd1e64\\r'", id="windows"),
        pytest.param(changed(39, "\xe98fd1e6"), "its category 26, but line 2 has", id="not-ascii"),
        pytest.param(changed(20, "\0\0\0\0\0\0\0\0"), "its category 7, but line 2 has", id="zeros"),
    ],
)  # fmt: skip
def test_a_bad_line_is_told_with_its_number_and_field(line, message):
    with pytest.raises(BadRowError, match=message) as caught:
        parse(text(LINES[0], LINES[1]) + line.encode("latin1") + b"\n" + text(*LINES, "nor is this one good"))
    assert caught.value.line == 2


def test_every_character_but_the_sixteen_is_refused_in_a_category():
    line = changed(30, "CATEGORY").encode()
    accepted = b""
    for byte in range(256):
        try:
            parse(line.replace(b"CATEGORY", b"68fd" + bytes([byte]) + b"e64") + b"\n")
        except BadRowError:
            continue
        accepted += bytes([byte])
    assert accepted == b"0123456789abcdef"


def test_fields_that_move_over_a_line_end_are_refused():
    shifted = text(*LINES).decode().replace("\n", "\t", 1).replace("\t", "\n", 1)
    assert shifted.count("\t") + shifted.count("\n") == 3 * FIELDS
    with pytest.raises(BadRowError, match=re.escape("line 0 has 1")):
        parse(shifted.encode())
