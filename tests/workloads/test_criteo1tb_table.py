"""The table of gigabytes: the gradient is an embedding's, its memory is used again and never shared."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
import torch

from algoperf_lightning.workloads.criteo1tb import table as table_module
from algoperf_lightning.workloads.criteo1tb.table import HashTable


@pytest.fixture
def table(monkeypatch):
    """A table that counts as large."""
    monkeypatch.setattr(table_module, "LARGE", 0)
    torch.manual_seed(0)
    return HashTable(50, 4)


SOME_IDS = torch.randint(0, 500, (7, 5), dtype=torch.int32, generator=torch.Generator().manual_seed(1))  # with repeats


def gradient(table, of=torch.Tensor.square):
    table.weight.grad = None
    of(table(SOME_IDS)).sum().backward()
    return table.weight.grad


def expected_gradient(table, of=torch.Tensor.square):
    weight = table.weight.detach().clone().requires_grad_()
    of(torch.nn.functional.embedding(SOME_IDS % 50, weight)).sum().backward()
    return weight.grad


def test_the_gradient_of_a_large_table_is_that_of_an_embedding(table):
    for _ in range(3):
        assert torch.allclose(gradient(table), expected_gradient(table))
        with torch.no_grad():
            table.weight += 0.1
    double = torch.autograd.functional.hvp(
        lambda weight: torch.func.functional_call(table, {"weight": weight}, SOME_IDS).pow(3).sum(),
        table.weight.detach(),
        torch.ones(50, 4),
    )[1]
    counts = torch.bincount((SOME_IDS % 50).flatten().long(), minlength=50)
    assert torch.allclose(double, 6 * table.weight.detach() * counts[:, None], atol=1e-5)


def test_a_large_table_uses_its_gradient_s_memory_again_if_nobody_keeps_it(table):
    place = gradient(table).data_ptr()
    assert gradient(table).data_ptr() == place
    for keep in (lambda g: g, lambda g: g.view(-1)[:3], lambda g: g.detach(), lambda g: g.numpy()):
        kept = keep(gradient(table))
        before = kept.copy() if isinstance(kept, np.ndarray) else kept.clone()
        assert gradient(table, torch.Tensor.exp).data_ptr() != np.asarray(kept).ctypes.data
        assert np.array_equal(kept, before)
        del kept
    table.weight.grad = None
    table(SOME_IDS).square().sum().backward()
    table(SOME_IDS).square().sum().backward()  # accumulates
    assert torch.allclose(table.weight.grad, 2 * expected_gradient(table))


def test_a_gradient_that_is_kept_stays_whatever_the_reference_counts_are(table, monkeypatch):
    gradient(table)
    monkeypatch.setattr(sys, "getrefcount", lambda _: 2)
    kept = gradient(table)
    before = kept.clone()
    gradient(table, torch.Tensor.exp)
    assert torch.equal(kept, before)


def test_memory_of_one_gradient_is_kept_and_no_more(table):
    shape = (50, 4)
    places = [table._memory.zeros(shape) for _ in range(3)]
    addresses = [place.data_ptr() for place in places]
    while places:
        places.pop()
    assert len(table._memory._free) == 1
    assert table._memory.zeros(shape).data_ptr() in addresses
    assert table._memory.zeros((3, 4)).shape == (3, 4)


def test_copies_of_a_table_do_not_share_or_carry_the_memory(table):
    gradient(table)
    table.weight.grad = None
    copied = copy.deepcopy(table)
    assert torch.equal(gradient(copied), gradient(table))
    assert copied.weight.grad.data_ptr() != table.weight.grad.data_ptr()
    table.weight.grad = None
    assert len(pickle.dumps(table)) < 10_000


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_table_of_another_type_has_a_gradient_of_its_type(table, dtype):
    assert gradient(table.to(dtype)).dtype == dtype
