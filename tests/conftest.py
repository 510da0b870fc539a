import os
import signal
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch

for folder in (
    "baselines",
    "callbacks",
    "contract",
    "docs",
    "records",
    "report",
    "rules",
    "scoring",
    "tuning",
    "workloads",
):
    sys.path.insert(0, str(Path(__file__).parent / folder))  # where tests keep what they share

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell: processes that tests send Ctrl-C to would ignore it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """On a shared machine with two cores, threads that wait for each other cost more than they give."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def nothing_is_handed_on_in_the_environment():
    """A Trainer of several processes leaves there where they meet, and command lines how wide the terminal is."""
    os.environ.pop("COLUMNS", None)
    yield
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # a process that is a rank of one run is none of the next


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Folder of a workload's tiny data, by its name; many tests only read them, and writing them takes seconds."""
    return cache(lambda name: tmp_path_factory.mktemp(name))


CASES = 2
"""Of a slow test with more cases than these, about so many run; all of them take hours."""


def pytest_collection_modifyitems(config, items):
    """Run a part of the cases of each slow test, evenly spread; all of them with ``ALGOPERF_EXHAUSTIVE=1``.

    A test marked ``sampled(n)`` runs every n-th case.
    """
    if os.environ.get("ALGOPERF_EXHAUSTIVE"):
        return
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    cases = Counter(_test(item) for item in slow)
    seen, left_out = Counter(), set()
    for item in slow:
        mark, test = item.get_closest_marker("sampled"), _test(item)
        every = mark.args[0] if mark is not None else -(-cases[test] // CASES)
        if seen[test] % every:
            left_out.add(item)
        seen[test] += 1
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def _test(item):
    return item.nodeid.partition("[")[0]
