from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from algoperf_lightning.workloads.ogbg.data import OGBGData
from algoperf_lightning.workloads.ogbg.spec import OGBG

SCRIPT = Path(__file__).with_name("ranks_ogbg.py")


@pytest.mark.slow
def test_two_ranks_train_and_evaluate_as_one(tmp_path):
    OGBGData(OGBG, tmp_path).write_tiny()
    results, weights = [], []
    for ranks in (1, 2):
        out = tmp_path / f"{ranks}.json"
        command = [sys.executable, SCRIPT, tmp_path, out, "--ranks", str(ranks)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
        results.append(json.loads(out.read_text()))
        state = torch.load(out.with_suffix(".pt"), weights_only=True)
        weights.append(torch.cat([tensor.flatten() for tensor in state.values()]))
    one, two = results
    assert one["counted"] == two["counted"] == 900
    # 64 molecules a step: with two ranks, the halves hold different numbers of labels and of nodes.
    assert (weights[0] - weights[1]).norm() < 2e-6 * weights[0].norm()  # 4e-5 if each rank took its own mean
    assert one["evaluation"].keys() == two["evaluation"].keys()
    # Weights that differ by rounding swap some molecules of nearly equal scores.
    assert one["evaluation"] == pytest.approx(two["evaluation"], rel=3e-3)
    assert one["evaluation"]["validation/loss"] == pytest.approx(two["evaluation"]["validation/loss"], rel=1e-5)
    assert one["uneven"] == pytest.approx(two["uneven"], rel=1e-12)


@pytest.mark.slow
def test_compiled_training_sees_few_shapes(tmp_path):
    """Forty random batches, some of them larger than usual, make no more than two graphs."""
    from algoperf_lightning.data.streams import TrainingStream
    from algoperf_lightning.testing import PlainSGD
    from algoperf_lightning.workloads import OGBG as Workload

    OGBGData(OGBG, tmp_path).write_tiny()
    workload = Workload(PlainSGD(), tiny=True, data_dir=tmp_path)
    workload.configure_model()
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    workload.network.compile(backend=backend, fullgraph=True)
    shapes = set()
    stream = iter(TrainingStream(workload.data.open("train"), 32, seed=0))
    for batch in (next(stream) for _ in range(40)):
        shapes.add((len(batch["nodes"]), len(batch["edges"])))
        workload.loss(batch).per_example.sum().backward()
    torch._dynamo.reset()
    assert 1 < len(shapes) < 6
    assert len(compiled) == 2
