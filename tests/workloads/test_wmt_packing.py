"""Packing of wmt, against golden rows and a slow, readable packer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from algoperf_lightning.workloads.wmt.batches import PackedRows
from algoperf_lightning.workloads.wmt.conversion import write_token_file
from algoperf_lightning.workloads.wmt.packing import pack
from algoperf_lightning.workloads.wmt.reading import TokenFile

SENTENCES = [
    ([5, 6, 7, 2], [20, 21, 2]),
    ([8, 9, 2], [22, 23, 24, 2]),
    ([10, 11, 12, 13, 14, 2], [25, 26, 27, 2]),
    ([15, 2], [28, 29, 30, 31, 32, 33, 2]),
    ([16, 17, 2], [34, 2]),
]
ROWS = {
    "inputs": [[5, 6, 7, 2, 8, 9, 2, 0, 0, 0], [10, 11, 12, 13, 14, 2, 0, 0, 0, 0], [15, 2, 16, 17, 2, 0, 0, 0, 0, 0]],
    "inputs_position": [[0, 1, 2, 3, 0, 1, 2, 0, 0, 0], [0, 1, 2, 3, 4, 5, 0, 0, 0, 0], [0, 1, 0, 1, 2, 0, 0, 0, 0, 0]],
    "inputs_segmentation": [
        [1, 1, 1, 1, 2, 2, 2, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 2, 2, 2, 0, 0, 0, 0, 0],
    ],
    "targets": [
        [20, 21, 2, 22, 23, 24, 2, 0, 0, 0],
        [25, 26, 27, 2, 0, 0, 0, 0, 0, 0],
        [28, 29, 30, 31, 32, 33, 2, 34, 2, 0],
    ],
    "targets_position": [
        [0, 1, 2, 0, 1, 2, 3, 0, 0, 0],
        [0, 1, 2, 3, 0, 0, 0, 0, 0, 0],
        [0, 1, 2, 3, 4, 5, 6, 0, 1, 0],
    ],
    "targets_segmentation": [
        [1, 1, 1, 2, 2, 2, 2, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 2, 2, 0],
    ],
}
WITH_UNKNOWN = [([5, 0, 7, 2], [20, 0, 0, 2]), ([8, 9, 2], [22, 23, 24, 2]), ([10, 11, 2], [25, 2])]


class Given:
    """An encoder whose sentences are their ids, written in decimal."""

    size, fingerprint = 100, bytes(32)

    def encode(self, sentences):
        return [[int(word) for word in sentence.split()] for sentence in sentences]


def token_file(folder, pairs):
    path = folder / "some.tokens"
    texts = [tuple(" ".join(map(str, ids)) for ids in pair) for pair in pairs]
    write_token_file(path, lambda: iter(texts), len(texts), 0, Given(), "making tokens")
    return TokenFile(path)


def all_rows(rows):
    return {name: values.tolist() for name, values in rows.read(np.arange(len(rows)), None).items()}


def plain_rows(pairs, length):
    """Rows as the benchmark makes them, one token after the other."""
    rows = []
    for number, pair in enumerate(pairs):
        kept = [ids[: sum(token != 0 for token in ids)] for ids in pair]
        if number % length == 0 or any(len(row) + len(ids) > length for row, ids in zip(rows[-1], kept, strict=True)):
            rows.append(([], []))
        segment = 1 + max((entry[2] for entry in rows[-1][0]), default=0)
        for row, ids in zip(rows[-1], kept, strict=True):
            row.extend((token, place, segment) for place, token in enumerate(ids))
    out = {name: [] for name in ROWS}
    for row in rows:
        for side, entries in zip(("inputs", "targets"), row, strict=True):
            padding = [0] * (length - len(entries))
            out[side].append([token for token, _, _ in entries] + padding)
            out[f"{side}_position"].append([place for _, place, _ in entries] + padding)
            out[f"{side}_segmentation"].append([segment * (token != 0) for token, _, segment in entries] + padding)
    return out


def test_rows_are_those_of_the_reference(tmp_path):
    rows = PackedRows(token_file(tmp_path, SENTENCES), np.arange(5), length=10)
    assert all_rows(rows) == ROWS
    assert plain_rows(SENTENCES, 10) == ROWS
    assert all(values.dtype == torch.int64 for values in rows.read(np.array([1]), None).values())


def test_unknown_tokens_are_taken_for_padding_as_in_the_reference(tmp_path):
    rows = all_rows(PackedRows(token_file(tmp_path, WITH_UNKNOWN), np.arange(3), length=10))
    assert rows["inputs"] == [[5, 0, 7, 8, 9, 2, 10, 11, 2, 0]]
    assert rows["inputs_segmentation"] == [[1, 0, 1, 2, 2, 2, 3, 3, 3, 0]]
    assert rows["targets"] == [[20, 0, 22, 23, 24, 2, 25, 2, 0, 0]]
    assert rows["targets_segmentation"] == [[1, 0, 2, 2, 2, 2, 3, 3, 0, 0]]


@pytest.mark.parametrize("length", [8, 24])
def test_many_rows_are_those_of_a_plain_packer(tmp_path, length):
    random = np.random.RandomState(length)
    pairs = [
        tuple([*(random.randint(0, 40, random.randint(0, 8)) * (random.rand() < 0.9)).tolist(), 2] for _ in range(2))
        for _ in range(200)
    ]
    rows = PackedRows(token_file(tmp_path, pairs), np.arange(200), length)
    assert all_rows(rows) == plain_rows(pairs, length)


def test_rows_are_read_in_any_order_and_number(tmp_path):
    rows = PackedRows(token_file(tmp_path, SENTENCES * 5), np.arange(25), length=10)
    whole = rows.read(np.arange(len(rows)), None)
    chosen = np.array([3, 0, 3, len(rows) - 1])
    assert all(torch.equal(values, whole[name][chosen]) for name, values in rows.read(chosen, None).items())


def test_every_pair_is_in_one_row(tmp_path):
    pairs = [([10 + number, 2], [10 + number, 2]) for number in range(80)]
    order = np.random.RandomState(0).permutation(80)
    seen = np.array(all_rows(PackedRows(token_file(tmp_path, pairs), order, 20))["inputs"])
    assert seen[seen > 2].tolist() == (10 + order).tolist()


def test_no_row_reaches_over_the_end_of_a_group():
    lengths = np.ones((25, 2), dtype=np.uint32)
    assert pack(lengths, 10).tolist() == [0, 10, 20, 25]
    assert pack(np.full((25, 2), 3), 10).tolist() == [0, 3, 6, 9, 10, 13, 16, 19, 20, 23, 25]


def test_either_side_can_fill_a_row():
    assert pack(np.array([[5, 1], [5, 1], [1, 9], [1, 1]]), 10).tolist() == [0, 2, 4]
    assert pack(np.array([[10, 10], [10, 10]]), 10).tolist() == [0, 1, 2]
