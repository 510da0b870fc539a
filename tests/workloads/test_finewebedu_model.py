"""The network of finewebedu_lm against the reference's numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from golden import fill_a, fill_b

from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads.finewebedu.model import LanguageModel
from algoperf_lightning.workloads.finewebedu.spec import FINEWEBEDU_LM
from algoperf_lightning.workloads.finewebedu.workload import FineWebEduLM

SMALL = {"vocabulary": 97, "width": 64, "hidden": 256, "heads": 4, "layers": 2}
_J = np.arange(66)
_IDS = torch.from_numpy((29 * _J + 5 * (_J // 7) + 3) % 97).view(2, 33)
INPUTS, TARGETS = _IDS[:, :-1], _IDS[:, 1:]

LOGITS = {
    "a": {
        (0, 0): [2.56756e-05, 0.000182878, 0.000117649, -9.06752e-05, -0.000188712, -5.72213e-05, 0.000143867],
        (0, 31): [-2.77725e-05, -0.000300452, -0.000207696, 0.000137678, 0.000315596, 0.00010966, -0.000229654],
        (1, 31): [-8.95825e-06, -0.000352911, -0.000267623, 0.000143171, 0.000379828, 0.000154506, -0.00025874],
    },
    "b": {
        (0, 0): [0.830995, 0.730419, 0.00229014, 0.853103, 1.55315, -0.886459, 0.818446, -0.137882],
        (0, 31): [2.51741, -2.49465, 1.07632, 0.45999, 0.0215777, 0.494172, -1.01473, 1.08618],
        (1, 31): [0.267175, 1.38881, 0.25515, 0.761721, -0.688359, -1.86945, 0.0460141, 0.112883],
    },
}
TOLERANCE = {"a": 2e-9, "b": 1e-5}


def filled(fill):
    """The small model of the golden numbers."""
    model = LanguageModel(**SMALL, length=32)
    (fill_a if fill == "a" else fill_b)(model)
    if fill == "b":
        with torch.no_grad():
            for block in model.blocks:
                block.attention.scale.copy_(9.954196310386875 * (1 + block.attention.scale))
    return model


@pytest.fixture(scope="module")
def models():
    return {fill: filled(fill) for fill in "ab"}


# Parameters


def test_parameters_are_those_of_the_reference():
    with torch.device("meta"):
        model = LanguageModel(**FINEWEBEDU_LM.model, length=1_024)
    shapes = [tuple(p.shape) for p in model.parameters()]
    block = [(), (3072, 1024), (1024, 1024), (1024,), (8192, 1024), (1024, 4096), (1024,)]
    assert shapes == [(50257, 1024), *12 * block, (1024,)]
    assert sum(p.numel() for p in model.parameters()) == 252_815_372
    assert len(model.state_dict()) == 86, "the table of rotations is no part of a checkpoint"


def test_parameters_of_the_small_model():
    model = LanguageModel(**SMALL, length=32)
    assert sum(p.numel() for p in model.parameters()) == 137_602
    assert len(list(model.parameters())) == 16
    assert model.blocks[0].attention.scale.item() == pytest.approx(9.954196, abs=1e-6)


def test_kinds_of_parameters(models):
    kinds = parameter_kinds(models["a"])
    block = {name.removeprefix("blocks.1."): kind for name, kind in kinds.items() if name.startswith("blocks.1.")}
    assert block == {
        "attention.scale": ParameterKind.WEIGHT,
        "attention.qkv.weight": ParameterKind.ATTENTION_QKV,
        "attention.out.weight": ParameterKind.ATTENTION_OUT,
        "attention_norm.weight": ParameterKind.LAYER_NORM_SCALE,
        "mlp.into.weight": ParameterKind.WEIGHT,
        "mlp.out.weight": ParameterKind.WEIGHT,
        "mlp_norm.weight": ParameterKind.LAYER_NORM_SCALE,
    }
    assert kinds["embedding.weight"] is ParameterKind.EMBEDDING
    assert kinds["norm.weight"] is ParameterKind.LAYER_NORM_SCALE


def test_initialisation_follows_the_reference():
    torch.manual_seed(0)
    model = LanguageModel(**{**FINEWEBEDU_LM.model, "vocabulary": 2_000, "width": 256, "hidden": 1_024}, length=1_024)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:
            assert parameter.item() == pytest.approx(19.998590, abs=1e-5), name
        elif parameter.ndim == 1:
            assert (parameter == 1).all(), name
        else:
            std = 0.02 / math.sqrt(24) if name.endswith("out.weight") else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.02), name
            assert abs(parameter.mean().item()) < 3e-4, name
            assert parameter.abs().max().item() > 3.5 * std, f"{name} is cut"


@pytest.mark.slow
def test_the_first_loss_at_full_size_is_that_of_the_reference():
    workload = FineWebEduLM(PlainSGD())
    workload.configure_model()
    ids = ((7919 * torch.arange(2050)) % 50257 + 13) % 50257
    rows = ids.view(2, 1025)
    assert rows[0, [0, 1, 2, 3, -1]].tolist() == [13, 7932, 15851, 23770, 17692]
    batch = {"inputs": rows[:, :-1], "targets": rows[:, 1:]}
    with torch.no_grad():
        loss = workload.eval().loss(batch)
        logits = workload.network(rows[:1, :256])
    assert loss.weight.tolist() == [1024, 1024]
    assert loss.per_example.sum().item() / 2048 == pytest.approx(11.02, abs=0.04)
    assert logits.std().item() == pytest.approx(0.64, abs=0.01)
    assert workload.network.embedding.weight.std().item() == pytest.approx(0.02, rel=0.005)


# Outputs


@pytest.mark.parametrize(
    ("fill", "mean", "std", "sums"),
    [
        pytest.param("a", 0.0, 0.000233592, (292.7708, 292.7719), id="sine"),
        pytest.param("b", 0.0457654, 1.00942, (320.1262, 320.5359), id="hash"),
    ],
)
def test_logits_and_losses_are_those_of_the_reference(models, fill, mean, std, sums):
    model = models[fill]
    with torch.no_grad():
        logits = model(INPUTS)
        losses = [model(INPUTS, TARGETS, a) for a in (0.0, 0.1)]
    for (row, position), expected in LOGITS[fill].items():
        found = logits[row, position, : len(expected)]
        torch.testing.assert_close(found, torch.tensor(expected), atol=TOLERANCE[fill], rtol=1e-5)
    assert logits.double().mean().item() == pytest.approx(mean, abs=2e-7)
    assert logits.double().std().item() == pytest.approx(std, rel=1e-5)
    assert [x.sum().item() for x in losses] == pytest.approx(sums, rel=1e-6)
    assert (logits.argmax(-1) == TARGETS).sum() == 1


@pytest.mark.parametrize(
    ("fill", "smoothing", "first"),
    [
        ("a", 0.0, [4.57475, 4.57460, 4.57433]),
        ("a", 0.1, [4.57474, 4.57461, 4.57437]),
        ("b", 0.0, [5.32673, 6.15410, 6.22418]),
        ("b", 0.1, [5.29548, 6.02919, 6.11190]),
    ],
)
def test_losses_of_tokens_are_those_of_the_reference(models, fill, smoothing, first):
    with torch.no_grad():
        losses = models[fill](INPUTS, TARGETS, smoothing)
    assert losses.shape == (2, 32)
    assert losses.dtype == torch.float32
    assert losses[0, :3].tolist() == pytest.approx(first, abs=1e-5)


@pytest.mark.parametrize(
    ("fill", "whole", "embedding", "scales", "others"),
    [
        ("a", 0.0796954, 0.0206541, (-2.41904e-07, -2.66104e-07), (1.28117e-05, 0.000125816, 6.79845e-06)),
        ("b", 5.53016, 3.31026, (0.00320005, 0.00153215), (3.28098, 0.943645, 0.391439)),
    ],
)
def test_gradients_are_those_of_the_reference(fill, whole, embedding, scales, others):
    model = filled(fill).double()
    (model(INPUTS, TARGETS).sum() / 64).backward()
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters()}
    assert math.hypot(*norms.values()) == pytest.approx(whole, rel=1e-5)
    assert norms["embedding.weight"] == pytest.approx(embedding, rel=1e-5)
    found = [block.attention.scale.grad.item() for block in model.blocks]
    assert found == pytest.approx(scales, rel=2e-4)
    names = ("blocks.0.attention.qkv.weight", "blocks.1.mlp.out.weight", "blocks.0.attention_norm.weight")
    assert [norms[name] for name in names] == pytest.approx(others, rel=2e-5)


@pytest.mark.parametrize(
    ("fill", "first", "mean", "std", "sums"),
    [
        ("a", [2.0e-05, 0.000186, 0.000122, -8.5e-05, -0.000186, -6.0e-05], 7e-9, 0.0002336, (292.771, 292.772)),
        ("b", [0.828, 0.727, 0.0040, 0.852, 1.555, -0.879, 0.824, -0.136], 0.0456, 1.010, (320.12, 320.53)),
    ],
)
def test_outputs_under_autocast_are_those_of_the_reference(models, fill, first, mean, std, sums):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = models[fill](INPUTS)
        losses = [models[fill](INPUTS, TARGETS, a) for a in (0.0, 0.1)]
    assert logits.dtype == torch.bfloat16
    assert losses[0].dtype == torch.float32
    atol = {"a": 2.5e-5, "b": 0.05}[fill]
    torch.testing.assert_close(logits[0, 0, : len(first)].float(), torch.tensor(first), atol=atol, rtol=0)
    assert logits.double().mean().item() == pytest.approx(mean, abs=2e-4)
    assert logits.double().std().item() == pytest.approx(std, rel=2e-3)
    assert [x.sum().item() for x in losses] == pytest.approx(sums, abs=0.05)


def test_types_under_autocast_are_those_of_the_reference():
    model, types = filled("b"), {}

    def note(name):
        def hook(module, inputs, output):
            types[name] = output.dtype

        return hook

    for name, module in model.named_modules():
        module.register_forward_hook(note(name))
    with torch.autocast("cpu", torch.bfloat16):
        model(INPUTS)
    wide = {"embedding", "norm", "blocks.0", "blocks.1"} | {
        f"blocks.{n}.{part}_norm" for n in (0, 1) for part in ("attention", "mlp")
    }
    assert {name for name, dtype in types.items() if dtype == torch.float32} == wide
    assert set(types.values()) == {torch.float32, torch.bfloat16}


# One matrix


def test_there_is_one_matrix_whatever_is_done_to_the_model(models, tmp_path):
    workload = FineWebEduLM(PlainSGD(), tiny=True, compile=True)
    workload.spec = dataclasses.replace(workload.spec, model=SMALL, data={"length": 32})
    workload.configure_model()
    workload.to(torch.float64).to("meta").to_empty(device="cpu").float()
    assert [name for name, p in workload.network.named_parameters() if len(p.shape) and len(p) == 97] == [
        "embedding.weight"
    ]
    assert workload.view.output_parameters == {"embedding.weight"}
    torch.save(models["b"].state_dict(), tmp_path / "weights.pt")
    loaded = workload.build_model()
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt"))
    with torch.no_grad():
        before = models["b"](INPUTS)
        assert torch.equal(loaded(INPUTS), before)
        loaded.embedding.weight[3] += 1
        after = loaded(INPUTS)
    assert INPUTS[0, 0] == 3
    assert not (INPUTS[1] == 3).any()
    assert (after[1, :, 3] != before[1, :, 3]).all(), "another output"
    assert torch.equal(after[1, :, :3], before[1, :, :3])
    assert (after[0, 0, :3] != before[0, 0, :3]).all(), "another embedding"
