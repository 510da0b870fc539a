"""Numbered examples, by which a test sees what was read, and ways to compare batches of them."""

import itertools

import torch

from algoperf_lightning.data import (
    Examples,
)

SIZE, SEED = 50, 3


class Numbered(Examples):
    """Examples that say which they are and what was drawn for them."""

    def __init__(self, size=SIZE):
        self.size = size

    def __len__(self):
        return self.size

    def read(self, indices, draws):
        return {"inputs": torch.from_numpy(indices.copy()), "draws": torch.from_numpy(draws.uniform(2))}


def first(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(batches, others):
    assert len(batches) == len(others) > 0
    for one, other in zip(batches, others, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
