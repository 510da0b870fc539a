"""Submissions train registered workloads at tiny size for twenty steps.

All pairs take an hour of two cores; `ALGOPERF_EXHAUSTIVE=1` runs them. Otherwise a part of four diagonals of their
table runs, in which all workloads are.
"""

import os

import pytest
import torch
from odd_digits import make, representatives

from algoperf_lightning import get_workload
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.testing import at_tiny_size, train, with_tiny_data

pytestmark = pytest.mark.slow

STEPS = 20
BATCH = 4


def pairs():
    """Diagonals of the table of workloads and submissions, spread evenly over the workloads."""
    workloads, submissions = list(plugins(WORKLOADS)), list(representatives())
    count = len(workloads) if os.environ.get("ALGOPERF_EXHAUSTIVE") else 4
    return [
        (workloads[(row + len(workloads) * diagonal // count) % len(workloads)], submission)
        for row, submission in enumerate(submissions)
        for diagonal in range(count)
    ]


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("workload", "submission"), sorted(pairs()))
def test_trains(workload, submission, tiny_folder, tmp_path):
    cls = get_workload(workload)
    made = make(submission)
    made.batch_sizes = {cls.spec.of(**at_tiny_size(cls)).full_name: BATCH}
    arguments = with_tiny_data(cls, tiny_folder(workload))
    instance, fresh = (cls(made, **arguments) for _ in range(2))
    trainer = train(instance, STEPS, tmp_path)
    assert trainer.global_step == STEPS
    fresh.configure_model()
    start = dict(fresh.network.named_parameters())
    end = dict(instance.network.named_parameters())
    assert all(torch.isfinite(p).all() for p in end.values())
    # A rule that is wrong for one layer, as that of a softmax for a single logit, leaves it where it was.
    pushed = {name for name, p in end.items() if p.grad is not None and p.grad.any()}
    assert pushed
    assert not {name for name in pushed if torch.equal(end[name], start[name])}
