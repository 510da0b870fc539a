import os
import signal
import sys
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


def pytest_collection_modifyitems(config, items):
    """Run every n-th slow case of a test marked ``sampled(n)``; all of them with ``ALGOPERF_EXHAUSTIVE=1``."""
    if os.environ.get("ALGOPERF_EXHAUSTIVE"):
        return
    kept, left_out, seen = [], [], {}
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is None or item.get_closest_marker("slow") is None:
            kept.append(item)
            continue
        test = item.nodeid.partition("[")[0]
        number = seen[test] = seen.get(test, -1) + 1
        (left_out if number % mark.args[0] else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
