"""Compiled models of all workloads that have dropout, at many rates: one graph for the first, one for all others."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from algoperf_lightning import get_workload
from algoperf_lightning.data.streams import TrainingStream
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.testing import PlainSGD, with_tiny_data

pytestmark = pytest.mark.slow

RATES = (0.5, 0.0, 0.25, 0.9, 0.3, 0.6, 0.7, 0.05, 0.15, 0.35)
WITH_DROPOUT = [name for name in plugins(WORKLOADS) if get_workload(name).spec.dropout is not None]


@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_a_compiled_model_is_compiled_once_more_for_all_rates_together(name, tiny_folder):
    torch._dynamo.reset()
    cls = get_workload(name)
    workload = cls(PlainSGD(), **with_tiny_data(cls, tiny_folder(name)))
    workload.configure_model()
    with torch.no_grad():
        for parameter in workload.network.parameters():  # layers that begin at 0 would hide what comes before them
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    workload.network.compile(backend=(counter := CompileCounterWithBackend("aot_eager")), fullgraph=True)
    batch = next(iter(TrainingStream(workload.data.open("train"), 4, seed=3)))
    losses = []
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for rate in (None, *RATES):
            torch.manual_seed(7)
            loss = workload.view.loss(batch, dropout=rate).per_example.sum()
            loss.backward()
            losses.append(loss.item())
    torch._dynamo.reset()
    assert counter.frame_count == 2
    assert len({round(loss, 6) for loss in losses[1:]}) == len(RATES)  # each rate is another one
    assert all(torch.isfinite(torch.tensor(losses)))
    assert all(torch.isfinite(p.grad).all() for p in workload.network.parameters())
