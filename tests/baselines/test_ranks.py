"""Two processes train as one does on the same global batch."""

from pathlib import Path

import pytest
import torch
from odd_digits import OddDigitsWithoutNorm, make, representatives
from on_ranks import run_on_ranks
from ranks_submissions import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks left what they trained: all submissions in one pair of processes."""
    folder = tmp_path_factory.mktemp("ranks")
    run_on_ranks(Path(__file__).parent / "ranks_submissions.py", folder)
    return folder


@pytest.mark.parametrize("name", representatives())
def test_two_ranks_are_one(name, folder):
    run(name, folder)
    one, two = (torch.load(folder / f"{name}_{ranks}.pt", weights_only=True) for ranks in (1, 2))
    fresh = OddDigitsWithoutNorm(make(name))
    fresh.configure_model()
    start = fresh.network.state_dict()
    assert (one["conv.weight"] - start["conv.weight"]).abs().max() > 1e-5
    for key, value in one.items():
        assert value.dtype is torch.float64
        torch.testing.assert_close(two[key], value, rtol=1e-7, atol=1e-10, msg=f"{name}: {key}")
