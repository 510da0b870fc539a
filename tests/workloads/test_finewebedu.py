"""The workload finewebedu_lm: loss, metrics, compilation, submissions, ranks, learning."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from test_finewebedu_model import INPUTS, SMALL, TARGETS, filled
from torch._dynamo.utils import counters
from torch.nn import functional as F

from algoperf_lightning import get_submission
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads.finewebedu import workload as workload_module
from algoperf_lightning.workloads.finewebedu.data import FineWebEduData
from algoperf_lightning.workloads.finewebedu.spec import FINEWEBEDU_LM
from algoperf_lightning.workloads.finewebedu.workload import FineWebEduLM

MASK = torch.ones(2, 32)
MASK[1, 20:] = 0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finewebedu")
    FineWebEduData(FINEWEBEDU_LM, folder).write_tiny()
    return folder


def golden_workload(fill="b"):
    """With the small model of the golden numbers."""
    workload = FineWebEduLM(PlainSGD())
    workload.spec = dataclasses.replace(workload.spec, model=SMALL, data={"length": 32})
    workload.model = workload.build_model()
    workload.model.load_state_dict(filled(fill).state_dict())
    return workload.eval()


# Loss


@pytest.mark.parametrize(
    ("fill", "smoothing", "whole", "masked"),
    [
        ("a", 0.0, 292.7708, 237.8766),
        ("a", 0.1, 292.7719, 237.8774),
        ("b", 0.0, 320.1262, 257.1234),
        ("b", 0.1, 320.5359, 257.7922),
    ],
)
def test_the_loss_is_that_of_the_reference(fill, smoothing, whole, masked):
    workload, batch = golden_workload(fill), {"inputs": INPUTS, "targets": TARGETS}
    with torch.no_grad():
        loss = workload.loss(batch, label_smoothing=smoothing)
        part = workload.loss({**batch, "weights": MASK}, label_smoothing=smoothing)
    assert loss.per_example.shape == (2,)
    assert loss.weight.tolist() == [32, 32]
    assert part.weight.tolist() == [32, 20]
    assert loss.per_example.sum().item() == pytest.approx(whole, abs=2e-4)
    assert part.per_example.sum().item() == pytest.approx(masked, abs=2e-4)


def test_a_window_of_weight_0_counts_nothing():
    workload, batch = golden_workload(), {"inputs": INPUTS, "targets": TARGETS}
    with torch.no_grad():
        whole, part = workload.loss(batch), workload.loss({**batch, "weights": torch.tensor([1.0, 0.0])})
    assert part.weight.tolist() == [32, 0]
    assert part.per_example.tolist() == [whole.per_example[0].item(), 0]


class Types(PlainSGD):
    """Notes what the logits' factors and the losses are computed in."""

    batch_sizes: ClassVar = {"finewebedu_lm_tiny": 4}

    def training_step(self, workload, batch):
        self.seen = {}
        hook = workload.model.blocks[0].mlp.out.register_forward_hook(
            lambda module, inputs, output: self.seen.update(features=output.dtype)
        )
        loss = workload.loss(batch)
        hook.remove()
        self.seen["loss"] = loss.per_example.dtype
        return workload.mean(loss)


@pytest.mark.parametrize(("precision", "features"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_precision_is_the_trainers_and_recorded(precision, features, tiny, tmp_path):
    submission, budget = Types(), TimeBudget()
    workload = FineWebEduLM(submission, tiny=True, data_dir=tiny)
    train(workload, 1, tmp_path, precision=precision, callbacks=[budget], limit_val_batches=1.0)
    assert submission.seen == {"features": features, "loss": torch.float32}
    assert {p.dtype for p in workload.network.parameters()} == {torch.float32}
    assert budget.result.environment["precision"] == precision


# Evaluation


def test_metrics_are_over_every_token_once(monkeypatch):
    monkeypatch.setattr(workload_module, "EVALUATED_ROWS", 3)
    workload = golden_workload()
    inputs, targets = INPUTS.repeat(4, 1), TARGETS.repeat(4, 1)
    weights = torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0])
    metrics = workload.build_metrics()
    with torch.no_grad():
        for begin in (0, 4):
            rows = slice(begin, begin + 4)
            batch = {"inputs": inputs[rows], "targets": targets[rows], "weights": weights[rows]}
            workload.evaluate(batch, metrics)
        logits = workload.network(inputs)
        losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view(8, 32)
    mean = losses[:5].mean().item()
    assert metrics["loss"].compute().item() == pytest.approx(mean, rel=1e-6)
    assert metrics["ppl"].compute().item() == pytest.approx(math.exp(mean), rel=1e-5)
    assert metrics["loss"].weight == 5 * 32


def test_a_diverged_model_has_no_perplexity():
    workload = golden_workload()
    with torch.no_grad():
        workload.network.norm.weight.fill_(math.nan)
        metrics = workload.build_metrics()
        workload.evaluate({"inputs": INPUTS, "targets": TARGETS, "weights": torch.ones(2)}, metrics)
    assert math.isnan(metrics["ppl"].compute())


# Numbers


def test_numbers_are_those_of_the_benchmark():
    spec = FINEWEBEDU_LM.of(version="1.0")
    assert (spec.budget, spec.eval_period, spec.step_hint) == (31_967, 2_571, 72_000)
    assert (spec.validation_target, spec.test_target, spec.metric, spec.direction) == (22.2995, None, "ppl", "min")
    assert spec.splits == {"train": 8_749_870, "eval_train": 10_000, "validation": 100_000}
    assert (spec.batch_size, spec.eval_batch_size, spec.dropout) == (64, 256, None)


@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_it_is_part_of_version_1_alone(version):
    with pytest.raises(BadInputError, match=rf"is not a workload of AlgoPerf {version}. Choose from: 1\.0"):
        FineWebEduLM(PlainSGD(), version=version)


# Compilation


def test_compiled_it_is_one_graph_for_all_batches(tiny):
    torch._dynamo.reset()
    counters.clear()
    workload = FineWebEduLM(PlainSGD(), tiny=True, data_dir=tiny)
    workload.configure_model()
    workload.network.compile(backend="eager", fullgraph=True)
    stream = workload.data.training_batches(8, 0, 1, next, None)
    for batch, _ in zip(stream, range(3), strict=False):
        workload.loss(batch, label_smoothing=0.1).per_example.sum().backward()
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    torch._dynamo.reset()


# Submissions


WEAK = ("psgd_kron", "valley_adabelief", "valley_adadelta", "valley_lookahead_radam", "valley_radam")


@pytest.mark.parametrize("name", plugins(SUBMISSIONS))
def test_every_submission_trains_numbers_without_axes_too(name, tiny):
    # Some default points move a number of 12 by less than float32 can show in three steps.
    weak = {"learning_rate": 10.0} if name in WEAK else {}
    workload = FineWebEduLM(get_submission(name)(**weak), tiny=True, data_dir=tiny)
    small = {"vocabulary": 64, "width": 16, "hidden": 32, "heads": 2, "layers": 1}
    workload.spec = dataclasses.replace(workload.spec, model=small, data={"length": 64}, step_hint=4)
    workload.batch_size = 4
    workload.configure_model()
    before = {name: p.detach().clone() for name, p in workload.network.named_parameters()}
    assert before["blocks.0.attention.scale"].ndim == 0
    train(workload, 3, tiny)
    for parameter, value in workload.network.named_parameters():
        assert value.isfinite().all(), parameter
        assert not torch.equal(value, before[parameter]), parameter


# Ranks


@pytest.mark.slow
def test_two_ranks_make_the_steps_and_the_perplexity_of_one(tiny):
    script = Path(__file__).with_name("ranks_finewebedu.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for ranks in (1, 2):
        command = [sys.executable, str(script), str(tiny), str(ranks)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr

    def reports(ranks):
        return [json.loads((tiny / f"{ranks}_ranks" / f"rank_{rank}.json").read_text()) for rank in range(ranks)]

    (single,), (first, second) = reports(1), reports(2)
    differ = 0
    for (tokens, total, mean), (tokens_0, total_0, mean_0), (tokens_1, total_1, mean_1) in zip(
        single["steps"], first["steps"], second["steps"], strict=True
    ):
        assert tokens_0 + tokens_1 == tokens
        assert mean == pytest.approx(total / tokens, rel=1e-6)
        assert (mean_0 + mean_1) / 2 == pytest.approx(mean, rel=1e-5)
        differ += tokens_0 != tokens_1 and abs((total_0 / tokens_0 + total_1 / tokens_1) / 2 - mean) > 1e-3 * mean
    assert differ, "the test would see nothing"
    begun = FineWebEduLM(PlainSGD(), tiny=True)
    begun.configure_model()
    one, two = (torch.load(tiny / f"{ranks}_ranks" / "weights.pt") for ranks in (1, 2))
    for name, start in begun.network.state_dict().items():
        moved = (one[name] - start).norm()
        assert moved > 0
        rounding = torch.finfo(start.dtype).eps * start.norm()  # a large scale moves by few units in its last place
        assert (two[name] - one[name]).norm() < 1e-4 * moved + 2 * rounding, name
    assert first["evaluation"] == second["evaluation"]
    assert first["evaluation"] == pytest.approx(single["evaluation"], rel=1e-6)
    assert first["evaluation"]["validation/ppl"] == pytest.approx(64, rel=0.1)
