"""Two processes train with several optimizers, and with noise on gradients, as one does on the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks_optimizers import MADE, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks left what they trained: all submissions in one pair of processes."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).parent / "ranks_optimizers.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, script, folder], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", MADE)
def test_two_ranks_are_one(name, folder):
    run(name, folder)
    one, first, second = (torch.load(folder / f"{name}_{rank}.pt", weights_only=True) for rank in ("1_0", "2_0", "2_1"))
    for key, value in one.items():
        assert torch.equal(first[key], second[key]), f"{key} differs between the ranks"
        torch.testing.assert_close(first[key], value, rtol=1e-7, atol=1e-10, msg=f"{name}: {key}")
