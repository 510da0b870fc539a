"""A compiled model with a fused optimizer loses what the plain one loses."""

import shutil

import lightning as L
import pytest
import torch
from gpu_runs import distance, submission_for

from algoperf_lightning import get_workload

pytestmark = pytest.mark.skipif(not (shutil.which("g++") and shutil.which("gcc")), reason="needs a compiler of C++")


class Losses(L.Callback):
    def __init__(self):
        self.kept = []

    def on_train_batch_end(self, trainer, workload, outputs, *args):
        self.kept.append(outputs["loss"].detach())

    @property
    def values(self):
        return torch.stack(self.kept).cpu()


@pytest.mark.parametrize("name", ["digits", "librispeech_deepspeech"])
def test_compiled_steps_are_those_of_the_plain_model(name, runs, small):
    if small and name != "digits":
        pytest.skip("compiling takes minutes on a CPU, and cuDNN is what is tested")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    batch_size = 64 if name == "digits" else 8
    ends, losses = [], []
    for compiled in (False, True):
        workload = runs.tiny(name, submission_for("adamw", get_workload(name), batch_size), compile=compiled)
        result = runs.fit(workload, 20, kept := Losses(), budget={"eval_period": 20})
        assert result.warnings == []
        ends.append(workload)
        losses.append(kept.values)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert not torch._dynamo.utils.counters["graph_break"]
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-2, atol=2e-3)
    assert distance(ends[1], ends[0]) < 1e-2
