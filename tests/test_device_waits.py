"""No baseline and no workload waits for the device in its steps, but for those that have to."""

import pytest
import torch
from device_waits import WAITING, WaitError, make_steps_without_waits

from algoperf_lightning import get_submission, get_workload
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, plugins
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.testing.runs import small_batches, with_tiny_data
from algoperf_lightning.workloads import Digits


def digits(submission):
    submission.batch_sizes = {"digits": 8}
    return Digits(submission)


def check(workload, name, folder):
    if name not in WAITING:
        make_steps_without_waits(workload, folder)
    else:
        with pytest.raises(WaitError):
            make_steps_without_waits(workload, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", plugins(SUBMISSIONS))
def test_baselines_wait_only_where_they_must(name, tmp_path):
    check(digits(get_submission(name)()), name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", plugins(WORKLOADS))
def test_workloads_wait_only_where_they_must(name, tiny_folder, tmp_path):
    workload = get_workload(name)
    check(workload(small_batches(workload), **with_tiny_data(workload, tiny_folder(name))), name, tmp_path)


class Waiting(PlainSGD):
    """Waits in its fifth step."""

    def __init__(self, wait):
        super().__init__()
        self.wait, self.made = wait, 0

    def training_step(self, workload, batch):
        loss = super().training_step(workload, batch)
        self.made += 1
        if self.made == 5:
            self.wait(loss.detach())
        return loss


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(lambda loss: loss.item(), id="item"),
        pytest.param(float, id="float"),
        pytest.param(lambda loss: loss if loss > 0 else -loss, id="if"),
        pytest.param(lambda loss: loss.cpu(), id="cpu"),
        pytest.param(lambda loss: loss.to("cpu", copy=True), id="to"),
        pytest.param(lambda loss: loss.tolist(), id="tolist"),
        pytest.param(lambda loss: loss.view(1)[loss.view(1) > 0], id="mask"),
        pytest.param(lambda loss: loss.view(1).nonzero(), id="nonzero"),
        pytest.param(lambda loss: torch._foreach_add([loss], loss), id="foreach"),
        pytest.param(lambda loss: loss.clone().view(1).__setitem__(torch.zeros(1, dtype=torch.int64), 1), id="put"),
        pytest.param(lambda loss: torch.tensor(0.5, device=loss.device), id="tensor"),
        pytest.param(lambda loss: torch.linalg.inv(loss.abs().view(1, 1) + 1), id="inv"),
    ],
)
def test_waits_are_found(wait, tmp_path):
    with pytest.raises(WaitError):
        make_steps_without_waits(digits(Waiting(wait)), tmp_path, steps=8)


def test_numbers_on_the_host_are_no_waits(tmp_path):
    def counts(loss):
        count = torch.ones(())
        return loss * count.item() if count else loss + torch.tensor(0.5)

    make_steps_without_waits(digits(Waiting(counts)), tmp_path, steps=8)
