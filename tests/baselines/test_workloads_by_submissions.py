"""Every submission trains every registered workload at tiny size for twenty steps."""

import pytest
import torch
from odd_digits import make, representatives

from algoperf_lightning import get_workload
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.testing import at_tiny_size, train, with_tiny_data

pytestmark = pytest.mark.slow

STEPS = 20
BATCH = 4


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """The arguments of each workload at tiny size; its data set is written once."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = with_tiny_data(get_workload(name), tmp_path_factory.mktemp(name))
        return made[name]

    return of


@pytest.mark.parametrize("submission", representatives())
@pytest.mark.parametrize("workload", plugins(WORKLOADS))
def test_trains(workload, submission, arguments, tmp_path):
    cls = get_workload(workload)
    made = make(submission)
    made.batch_sizes = {cls.spec.of(**at_tiny_size(cls)).full_name: BATCH}
    instance, fresh = (cls(made, **arguments(workload)) for _ in range(2))
    trainer = train(instance, STEPS, tmp_path)
    assert trainer.global_step == STEPS
    fresh.configure_model()
    start = dict(fresh.network.named_parameters())
    end = dict(instance.network.named_parameters())
    assert all(torch.isfinite(p).all() for p in end.values())
    assert any(not torch.equal(p, start[name]) for name, p in end.items())
