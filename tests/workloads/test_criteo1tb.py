from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import fill_a, fill_b, u
from torch import nn

from algoperf_lightning import Submission
from algoperf_lightning.baselines import NadamW
from algoperf_lightning.data import Draws
from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads import Criteo1TB
from algoperf_lightning.workloads.criteo1tb import table as table_module
from algoperf_lightning.workloads.criteo1tb.data import Criteo1TBData
from algoperf_lightning.workloads.criteo1tb.spec import CRITEO1TB

ROWS = np.arange(8)[:, None]
IDS = torch.from_numpy((26 * ROWS + np.arange(26)) * 7919 + 13).remainder(1000003).int()
DENSE_A = torch.from_numpy(3 * np.abs(np.sin(0.1 * (13 * ROWS + np.arange(13))))).float()
DENSE_B = torch.from_numpy(3 * np.abs(u(0, 104))).float().view(8, 13)
TARGETS = torch.tensor([1.0, 0, 0, 1, 0, 0, 1, 0])
MASK = torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0])

RESNET_A = [0.0713409, 0.0828797, 0.0798882, 0.0725266, 0.0734760, 0.0747200, 0.0826271, 0.0766968]
FULL_B = [-0.696347, -0.586896, -0.495781, -0.506192, -0.720876, -0.551406, -0.679838, -0.545312]
BASE_B = [0.510147, 0.219060, 0.239014, 0.162944, 0.339885, 0.306490, 0.509557, 0.349091]
LAYERNORM_B = [-1.415897, -2.102813, -2.315716, -1.965003, -1.876075, -1.430285, -1.102653, -1.987777]
RESNET_B = [0.00336421, -0.0496167, -0.167133, 0.238480, 0.450954, 0.142520, 0.241954, 0.0683160]


def with_vocab(variant, vocab_size=65_536, submission=None):
    """A workload whose table is smaller than the real one of 2 GiB; 65,536 rows is the benchmark's test size."""
    workload = Criteo1TB(submission or Submission(), variant=variant)
    workload.spec = dataclasses.replace(workload.spec, model={**workload.spec.model, "vocab_size": vocab_size})
    return workload


def filled(variant, fill):
    workload = with_vocab(variant)
    workload.model = workload.build_model()
    fill(workload.model)
    return workload.eval()


def on_meta(variant):
    with torch.device("meta"):
        return Criteo1TB(Submission(), variant=variant).build_model()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("criteo1tb")
    Criteo1TBData(CRITEO1TB, folder).write_tiny()
    return folder


# Model


def test_inputs_are_those_of_the_reference():
    assert IDS[0, :4].tolist() == [13, 7932, 15851, 23770]
    assert IDS[1, :4].tolist() == [205907, 213826, 221745, 229664]
    assert DENSE_A[0, :4].tolist() == pytest.approx([0, 0.29950026, 0.596008, 0.88656062])
    assert DENSE_B[0, :4].tolist() == pytest.approx([2.82509995, 2.79993773, 0.541480005, 1.66784871])


@pytest.mark.parametrize(
    ("variant", "fill", "dense", "expected", "summed"),
    [
        pytest.param(None, fill_a, DENSE_A, [0.0186500] * 8, 5.56418, id="sine-base"),
        pytest.param("embed_init", fill_a, DENSE_A, [0.0186500] * 8, 5.56418, id="sine-embed_init"),
        pytest.param("layernorm", fill_a, DENSE_A, [-0.0195469] * 8, 5.52601, id="sine-layernorm"),
        pytest.param("resnet", fill_a, DENSE_A, RESNET_A, 5.63167, id="sine-resnet"),
        pytest.param(None, fill_b, DENSE_B, BASE_B, 5.80257, id="hash-base"),
        pytest.param("layernorm", fill_b, DENSE_B, LAYERNORM_B, 5.81345, id="hash-layernorm"),
        pytest.param("resnet", fill_b, DENSE_B, RESNET_B, 5.57232, id="hash-resnet"),
    ],
)
def test_outputs_and_losses_are_those_of_the_reference(variant, fill, dense, expected, summed):
    workload = filled(variant, fill)
    batch = {"inputs": dense, "ids": IDS, "targets": TARGETS}
    with torch.no_grad():
        logits = workload.network(dense, IDS)
        loss = workload.loss(batch, label_smoothing=0.3)
        wide = workload.network(dense, IDS.long())
    assert torch.allclose(logits, torch.tensor(expected), rtol=0, atol=5e-6)
    assert torch.equal(logits, wide)
    assert loss.weight is None
    assert loss.per_example.shape == (8,)
    assert loss.per_example.sum().item() == pytest.approx(summed, rel=1e-5)


@pytest.mark.parametrize(
    ("variant", "masked"),
    [
        pytest.param(None, 3.59115, id="base"),
        pytest.param("layernorm", 4.08123, id="layernorm"),
        pytest.param("resnet", 3.49801, id="resnet"),
    ],
)
def test_masked_loss_and_metric_are_those_of_the_reference(variant, masked):
    workload = filled(variant, fill_b)
    batch = {"inputs": DENSE_B, "ids": IDS, "targets": TARGETS, "weights": MASK}
    metrics = workload.build_metrics()
    with torch.no_grad():
        loss = workload.loss(batch)
        workload.evaluate(batch, metrics)
    assert loss.per_example.sum().item() == pytest.approx(masked, rel=1e-5)
    assert loss.weight.sum().item() == 5
    assert metrics["loss"].compute().item() == pytest.approx(masked / 5, rel=1e-5)


@pytest.mark.slow
def test_the_full_table_gives_the_outputs_of_the_reference():
    workload = Criteo1TB(Submission())
    model = workload.model = workload.build_model().eval()
    first, *others = model.parameters()
    assert first is model.table.weight
    assert first.shape == (4_194_304, 128)
    low, high = first.aminmax()
    assert 0 <= low < 1e-6
    assert 1 / 2048 - 1e-6 < high <= 1 / 2048
    assert first[-1].mean().item() == pytest.approx(1 / 4096, rel=0.2)
    chunk = 65_536
    with torch.no_grad():
        for row in range(0, len(first), chunk):  # the hashes of the whole table at once would take 16 GiB
            values = u(row * 128, chunk * 128) * math.sqrt(3 / 128)
            first[row : row + chunk] = torch.from_numpy(values).view(chunk, 128)
        k = first.numel()
        for parameter in others:
            scale = math.sqrt(3 / (parameter.numel() / len(parameter))) if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.from_numpy(u(k, parameter.numel()) * scale).view_as(parameter))
            k += parameter.numel()
        logits = model(DENSE_B, IDS)
        loss = workload.loss({"inputs": DENSE_B, "ids": IDS, "targets": TARGETS})
    assert torch.allclose(logits, torch.tensor(FULL_B), rtol=0, atol=5e-6)
    assert logits.double().mean().item() == pytest.approx(-0.597831, rel=1e-5)
    assert logits.double().std().item() == pytest.approx(0.0889746, rel=1e-4)
    assert loss.per_example.sum().item() == pytest.approx(5.39476, rel=1e-5)


LAYERS = {
    (1,): 1,
    (1, 256): 1,
    (256, 512): 2,
    (128, 256): 1,
    (512, 13): 1,
    (512, 1024): 1,
    (1024, 506): 1,
    (1024, 1024): 1,
}
TABLE = {(4_194_304, 128): 1}


@pytest.mark.parametrize(
    ("variant", "count", "shapes"),
    [
        pytest.param(None, 539_267_457, {**LAYERS, (128,): 1, (256,): 2, (512,): 2, (1024,): 2}, id="base"),
        pytest.param(
            "embed_init", 539_267_457, {**LAYERS, (128,): 1, (256,): 2, (512,): 2, (1024,): 2}, id="embed_init"
        ),
        pytest.param("layernorm", 539_275_137, {**LAYERS, (128,): 5, (256,): 6, (512,): 6, (1024,): 6}, id="layernorm"),
        pytest.param(
            "resnet",
            538_121_473,
            {(1,): 1, (256,): 7, (1, 256): 1, (256, 13): 1, (256, 256): 5, (256, 3584): 1},
            id="resnet",
        ),
    ],
)
def test_parameters_are_those_of_the_reference_with_one_table(variant, count, shapes):
    parameters = list(on_meta(variant).parameters())
    assert sum(p.numel() for p in parameters) == count
    assert Counter(tuple(p.shape) for p in parameters) == {**shapes, **TABLE}


def test_order_of_parameters_is_that_of_the_reference():
    shapes = [tuple(p.shape) for p in on_meta("layernorm").parameters()]
    hidden = [(512, 13), (256, 512), (128, 256), (1024, 506), (1024, 1024), (512, 1024), (256, 512)]
    expected = [(4_194_304, 128)]
    for shape in hidden:
        expected += [shape, *[(shape[0],)] * 3]
    assert shapes == [*expected, (1, 256), (1,), (128,), (128,)]


def test_kinds_tell_the_table_and_the_norms():
    kinds = parameter_kinds(on_meta("layernorm"))
    assert kinds["table.weight"] is ParameterKind.EMBEDDING
    counts = Counter(kinds.values())
    assert counts == {
        ParameterKind.EMBEDDING: 1,
        ParameterKind.WEIGHT: 8,
        ParameterKind.BIAS: 8,
        ParameterKind.LAYER_NORM_SCALE: 8,
        ParameterKind.LAYER_NORM_BIAS: 8,
    }
    workload = filled(None, fill_a)
    assert workload.view.output_parameters == {"head.weight", "head.bias"}
    assert workload.network.head.weight.shape == (1, 256)


@pytest.mark.parametrize(
    ("variant", "top"),
    [
        pytest.param(None, 1 / 256, id="base"),
        pytest.param("embed_init", 1, id="embed_init"),
        pytest.param("resnet", 1 / 256, id="resnet"),
    ],
)
def test_initialisation_follows_the_reference(variant, top):
    torch.manual_seed(0)
    model = with_vocab(variant).build_model()
    table = model.table.weight
    assert 0 <= table.min().item() < 1e-4 * top
    assert table.max().item() <= top
    assert table.mean().item() == pytest.approx(top / 2, rel=1e-3)
    assert table.std().item() == pytest.approx(top / math.sqrt(12), rel=1e-3)
    biases = []
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            std = math.sqrt(2 / (layer.in_features + layer.out_features))
            assert layer.weight.std().item() == pytest.approx(std, rel=0.1), name
            limit = layer.weight.abs().max().item() / std
            assert limit <= math.sqrt(3) + 1e-4 if name.startswith("bottom") else limit > 2.3, name
            biases.append(layer.bias.detach() * math.sqrt(layer.out_features))
    assert torch.cat(biases).std().item() == pytest.approx(1, rel=0.05)
    assert torch.cat(biases).abs().max().item() > 2.5  # normal, not uniform


def test_ids_wrap_around_at_the_end_of_the_table():
    workload = filled(None, fill_b)
    with torch.no_grad():
        assert torch.equal(workload.network(DENSE_B, IDS), workload.network(DENSE_B, IDS % 65_536))
        assert not torch.equal(workload.network(DENSE_B, IDS), workload.network(DENSE_B, IDS + 1))


def test_dropout_acts_only_on_the_last_hidden_layer():
    submission = Submission()
    assert with_vocab(None, 64, submission).build_model().dropout.p == 0.0
    submission.dropout = 0.4
    plain, residual = (with_vocab(variant, 64, submission).build_model() for variant in (None, "resnet"))
    rates = [module.p for module in plain.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.4]
    rates = [module.p for module in residual.modules() if isinstance(module, nn.Dropout)]
    assert [rate for rate in rates if rate] == [0.4]
    assert residual.top[-1].dropout.p == 0.4


@pytest.mark.parametrize("variant", ["layernorm", "resnet"])
def test_every_variant_compiles_without_graph_breaks_and_its_gradient_is_dense(variant):
    torch._dynamo.reset()
    workload = filled(variant, fill_b)
    batch = {"inputs": DENSE_B, "ids": IDS, "targets": TARGETS}
    workload.loss(batch).per_example.sum().backward()
    expected = {name: p.grad for name, p in workload.network.named_parameters()}
    assert not expected["table.weight"].is_sparse
    workload.network.zero_grad()
    workload.network.compile(backend="aot_eager", fullgraph=True)
    workload.loss(batch).per_example.sum().backward()
    for name, parameter in workload.network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    torch._dynamo.reset()


def test_ids_are_exact_under_autocast():
    workload = filled(None, fill_b)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = workload.network(DENSE_B, IDS)
    assert torch.allclose(logits.float(), torch.tensor(BASE_B), atol=0.05)


# Numbers


def test_numbers_by_version():
    for version, budget, period in (("1.0", 8_915, 356), ("0.6", 7_703, 120), ("0.5", 7_703, 120)):
        spec = CRITEO1TB.of(version=version, variant="resnet")
        assert (spec.budget, spec.eval_period, spec.step_hint) == (budget, period, 10_666)
        assert (spec.validation_target, spec.test_target) == (0.12415, 0.12648)
    assert CRITEO1TB.splits["eval_train"] == 10_166 * 8_192
    assert CRITEO1TB.batch_size == 262_144


# Runs


def test_a_large_table_trains_as_a_small_one(tiny, tmp_path, monkeypatch):
    models = []
    for large in (2**28, 0):
        monkeypatch.setattr(table_module, "LARGE", large)
        workload = Criteo1TB(NadamW(), tiny=True, data_dir=tiny)
        train(workload, 5, tmp_path)
        models.append(workload.network.state_dict())
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_the_metric_does_not_depend_on_the_evaluation_batch_size(tiny, tmp_path):
    results = []
    for size in (1_024, 300):
        workload = Criteo1TB(PlainSGD(), tiny=True, data_dir=tiny)
        workload.spec = workload.data.spec = dataclasses.replace(workload.spec, eval_batch_size=size)
        train(workload, 2, tmp_path, val_check_interval=2, check_val_every_n_epoch=None)
        results.append(workload.evaluation)
    for other in results[1:]:
        assert other == pytest.approx(results[0], rel=1e-6)


@pytest.mark.slow
def test_two_ranks_train_and_evaluate_as_one(tiny, tmp_path):
    script = Path(__file__).with_name("ranks_criteo1tb.py")
    results = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        subprocess.run([sys.executable, script, str(tiny), str(folder), str(ranks)], check=True, timeout=120)
        results.append((json.loads((folder / "evaluation.json").read_text()), torch.load(folder / "final.pt")))
    (one, model), (two, other) = results
    assert set(one) == {"train/loss", "validation/loss", "test/loss"}
    assert two == pytest.approx(one, rel=1e-5)
    for name, value in model.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_the_tiny_target_needs_what_only_the_categories_can_give(tiny):
    workload = Criteo1TB(NadamW(), tiny=True, data_dir=tiny)
    clicks = workload.data.open("test").read(np.arange(3_800), Draws(0, np.arange(3_800)))["targets"].mean().item()
    blind = -clicks * math.log(clicks) - (1 - clicks) * math.log(1 - clicks)
    assert workload.spec.test_target < blind - 0.25  # nats
