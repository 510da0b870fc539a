import sys
from pathlib import Path

import pytest
import torch

for folder in ("baselines", "callbacks", "report", "scoring", "tuning", "workloads"):
    sys.path.insert(0, str(Path(__file__).parent / folder))  # where tests keep what they share


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """On a shared machine with two cores, threads that wait for each other cost more than they give."""
    torch.set_num_threads(1)
