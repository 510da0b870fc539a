"""Two processes train as one does on the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from odd_digits import OddDigitsWithoutNorm, make, representatives
from ranks_submissions import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks left what they trained: all submissions in one pair of processes."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).parent / "ranks_submissions.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, script, folder],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
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
