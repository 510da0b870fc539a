"""Tests that need a GPU to mean much: ``pytest tests/gpu``, with ``--device cpu --small`` to try them without one."""

import os
from pathlib import Path

import pytest
import torch

# Before the library is imported, which looks for submissions that change settings: later, it would be one of them.
torch.set_num_threads(1)

from gpu_runs import GpuRuns  # noqa: E402

# Before cuBLAS is first used: without it, no product of matrices is deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

ORDER = (
    "digits",
    "clock",
    "workloads",
    "resume",
    "waits",
    "precision",
    "memory",
    "evaluation",
    "instruments",
    "compile",
)
"""Of the files, the most important first; others come last."""


def pytest_addoption(parser):
    group = parser.getgroup("gpu")
    group.addoption("--device", choices=("cpu", "cuda"), help="where tests/gpu runs; default: cuda, if there is one")
    group.addoption("--small", action="store_true", help="tests/gpu with little work, for machines without a GPU")


def pytest_collection_modifyitems(config, items):
    """Mark these tests; without ``--device`` they run only where there is a GPU."""
    mine = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in mine:
        item.add_marker(pytest.mark.gpu)
    names = [f"test_gpu_{name}" for name in ORDER]
    others = [item for item in items if item not in mine]
    mine.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))
    items[:] = [*others, *mine]
    if config.getoption("device", None) is None and not torch.cuda.is_available():
        items[:] = others
        config.hook.pytest_deselected(items=mine)


@pytest.fixture(scope="session")
def device(request):
    """``cpu`` or ``cuda``."""
    return request.config.getoption("device", None) or "cuda"


@pytest.fixture(scope="session")
def small(request):
    return request.config.getoption("small", False)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """For the tiny data of workloads."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def runs(device, tmp_path, data_folder):
    """Fits workloads on the device, in a folder of the test."""
    return GpuRuns(device, tmp_path, data_folder)


@pytest.fixture
def deterministic():
    """Only operations that give the same bits each time."""
    torch.use_deterministic_algorithms(True)
    benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = benchmark
