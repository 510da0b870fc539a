"""Two processes train with several optimizers, and with noise on gradients, as one does on the same global batch."""

from pathlib import Path

import pytest
import torch
from on_ranks import run_on_ranks
from ranks_optimizers import MADE, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks left what they trained: all submissions in one pair of processes."""
    folder = tmp_path_factory.mktemp("ranks")
    run_on_ranks(Path(__file__).parent / "ranks_optimizers.py", folder)
    return folder


@pytest.mark.parametrize("name", MADE)
def test_two_ranks_are_one(name, folder):
    run(name, folder)
    one, first, second = (torch.load(folder / f"{name}_{rank}.pt", weights_only=True) for rank in ("1_0", "2_0", "2_1"))
    for key, value in one.items():
        assert torch.equal(first[key], second[key]), f"{key} differs between the ranks"
        torch.testing.assert_close(first[key], value, rtol=1e-7, atol=1e-10, msg=f"{name}: {key}")
