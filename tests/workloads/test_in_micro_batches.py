"""All workloads end where they do with whole batches, if batch norm and dropout are as in evaluations."""

from typing import ClassVar

import pytest
import torch

from algoperf_lightning import get_workload
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.testing import PlainSGD, at_tiny_size, train, with_tiny_data

pytestmark = pytest.mark.slow

BATCH, STEPS = 6, 2


def trained(name, number, weights, folder):
    cls = get_workload(name)

    class InParts(PlainSGD):
        batch_sizes: ClassVar = {cls.spec.of(**at_tiny_size(cls)).full_name: BATCH}
        micro_batches = number
        label_smoothing = 0.1

        def select_batch(self, batches):
            batch = next(batches)
            if weights is None:
                return batch
            own = batch.get("weights", torch.ones(BATCH))
            return {**batch, "weights": own * weights.view(-1, *[1] * (own.ndim - 1))}

    class Evaluating(cls):
        def on_train_start(self):
            super().on_train_start()
            self.network.eval()

    workload = Evaluating(InParts(lr=0.1), **with_tiny_data(cls, folder))
    train(workload, STEPS, folder)
    start = cls(InParts(), **at_tiny_size(cls))
    start.configure_model()
    models = workload.network, start.network
    moved = [(p - q).abs().max() for p, q in zip(*(model.parameters() for model in models), strict=True)]
    assert max(moved) > 1e-3
    return workload.network.state_dict()


@pytest.mark.sampled(5)
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0, 0, 0, 1, 1])], ids=["all", "some"])
@pytest.mark.parametrize("name", list(plugins(WORKLOADS)))
def test_the_end_is_that_of_whole_batches(name, weights, tiny_folder):
    whole, in_parts = (trained(name, number, weights, tiny_folder(name)) for number in (1, 3))
    for key, value in whole.items():
        torch.testing.assert_close(in_parts[key], value, rtol=1e-3, atol=2e-5, msg=f"{name}: {key}")
