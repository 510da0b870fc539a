"""Steps do not wait for the device: torch raises where one does."""

import pytest
from device_waits import WAITING, WaitError, make_steps_without_waits
from gpu_runs import submission_for

from algoperf_lightning import get_workload
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, plugins

SMALL = ("lawa_ema", "imagenet_vit")


def check(workload, runs, name):
    if name not in WAITING:
        make_steps_without_waits(workload, runs.folder, runs.device)
        return
    with pytest.raises((WaitError, RuntimeError), match=r"wait|synchroniz"):
        make_steps_without_waits(workload, runs.folder, runs.device)


@pytest.fixture
def skip_most(small, request):
    if small and request.node.callspec.params["name"] not in SMALL:
        pytest.skip("without a GPU, tests/test_device_waits.py has them")


@pytest.mark.usefixtures("skip_most")
@pytest.mark.parametrize("name", plugins(SUBMISSIONS))
def test_baselines(name, runs):
    check(runs.tiny("digits", submission_for(name, get_workload("digits"), 8)), runs, name)


@pytest.mark.usefixtures("skip_most")
@pytest.mark.parametrize("name", plugins(WORKLOADS))
def test_workloads(name, runs):
    check(runs.tiny(name, submission_for("adamw", get_workload(name), 8)), runs, name)
