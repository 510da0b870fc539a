"""Checksums of parameters: any change shows, and nothing else does."""

import pytest
import torch
from torch import nn

from algoperf_lightning.rules.tensor_checksums import checksums

DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int8,
    torch.bool,
    torch.complex64,
]


class Model(nn.Module):
    """One parameter and one buffer."""

    def __init__(self, tensor):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("held", tensor)


def tensor(dtype, *shape):
    return torch.randint(0, 2 if dtype is torch.bool else 100, shape, generator=torch.Generator().manual_seed(1)).to(
        dtype
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (1024,), (3, 1024), (2, 1500, 3)])
def test_a_change_of_one_number_shows_and_a_copy_does_not(dtype, shape):
    held = tensor(dtype, *shape)
    before = checksums(Model(held))
    assert checksums(Model(held.clone())) == before
    for place in {0, held.numel() // 2, held.numel() - 1} if held.numel() else ():
        changed = held.clone().reshape(-1)
        changed[place] = ~changed[place] if dtype is torch.bool else changed[place] + 1
        now = checksums(Model(changed.reshape(shape)))
        assert now["held"] != before["held"]
        assert now["weight"] == before["weight"]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 1024), (5, 1500), (2047, 4499), (4498, 4499)])
def test_numbers_that_change_places_show(one, other):
    held = torch.arange(4500.0)
    swapped = held.clone()
    swapped[one], swapped[other] = held[other], held[one]
    assert checksums(Model(held)) != checksums(Model(swapped))


def test_a_part_of_a_larger_tensor_is_read_where_it_begins():
    whole = torch.arange(11.0)
    for begin in range(4):
        assert checksums(Model(whole[begin:])) == checksums(Model(whole[begin:].clone()))


def test_the_sign_of_zero_and_the_bits_of_nan_show():
    assert checksums(Model(torch.tensor([0.0]))) != checksums(Model(torch.tensor([-0.0])))
    nan = torch.tensor([float("nan")])
    assert checksums(Model(nan)) == checksums(Model(nan.clone()))


def test_strided_tensors_and_shared_parameters_are_taken_as_they_are():
    square = torch.arange(12.0).reshape(3, 4)
    assert checksums(Model(square.t())) == checksums(Model(square.t().contiguous()))
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert checksums(model)["0.weight"] == checksums(model)["1.weight"]


def test_buffers_that_are_not_saved_and_models_without_any_are_no_error():
    model = Model(torch.ones(2))
    model.register_buffer("unsaved", torch.ones(2), persistent=False)
    before = checksums(model)
    model.unsaved += 1
    assert checksums(model)["unsaved"] != before["unsaved"]
    assert checksums(nn.ReLU()) == {}
