from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import fill_a, fill_c, h
from torch.nn import functional as F

from algoperf_lightning.baselines import Momentum
from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import train
from algoperf_lightning.workloads import ImageNetResNet
from algoperf_lightning.workloads.imagenet.data import ImageNetData
from algoperf_lightning.workloads.imagenet.normalise import normalise
from algoperf_lightning.workloads.imagenet.resnet import ResNet
from algoperf_lightning.workloads.imagenet.spec import IMAGENET_RESNET

TARGETS = torch.tensor([5, 42])
MIXED = F.one_hot(TARGETS, 1_000).double()
MIXED = 0.3 * MIXED + 0.7 * MIXED.roll(1, 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("imagenet")
    ImageNetData(IMAGENET_RESNET.of(tiny=True), folder).write_tiny()
    return folder


# Outputs and losses


def images(fill, size=64):
    count = 2 * 3 * size * size
    values = np.sin(0.1 * np.arange(count, dtype=np.float64)) if fill is fill_a else h(0, count)
    return torch.from_numpy(values).float().view(2, 3, size, size)


@cache
def state(fill):
    """The filled model's state, made once; buffers are as built."""
    model = ImageNetResNet(Submission()).build_model()
    fill(model)
    return model.state_dict()


def filled(fill, variant=None):
    workload = ImageNetResNet(Submission(), variant=variant)
    with torch.device("meta"):  # neither memory nor initialisation
        workload.model = workload.build_model()
    workload.model.load_state_dict(state(fill), assign=True)
    return workload.eval()


SINE_RELU = [0.289271, 0.304551, 0.291495, 0.236719, 0.142450, 0.0293141, -0.0759853, -0.157447]
SINE_SILU = [0.156591, 0.157539, 0.144929, 0.105334, 0.0394546, -0.0349374, -0.0950339, -0.129378]
SINE_GELU = [0.156623, 0.157574, 0.144965, 0.105367, 0.0394813, -0.0349198, -0.0950272, -0.129383]
HASH_RELU = [-6.52553, 5.51890, -2.18659, 0.691759, 5.96182, 1.43841, 3.10468, -0.786820]
HASH_RELU_224 = [-5.39416, 2.86796, -4.19943, -4.70764, 6.32611, 0.170575, 5.67393, 0.167312]
HASH_SILU = [-3.25605, 1.56156, -1.23708, -2.04893, 4.17602, 2.03774, 2.21533, 1.18438]
HASH_GELU = [-1.08371, 5.09304, -2.87168, -0.530688, 3.85944, -0.737242, 4.25597, -3.30753]


@pytest.mark.parametrize(
    ("fill", "variant", "logits", "mean", "std", "argmax", "hard", "mixed"),
    [
        pytest.param(fill_a, None, SINE_RELU, -0.000410270, 0.220888, [474, 474],
                     {0.0: [6.90229, 6.68391], 0.1: [6.90526, 6.70872]}, {0.0: 13.5862, 0.1: 13.6140}, id="sine"),
        pytest.param(fill_a, "silu", SINE_SILU, -0.000468180, 0.125137, None, {}, {}, id="sine-silu"),
        pytest.param(fill_a, "gelu", SINE_GELU, -0.000468155, 0.125157, None, {}, {}, id="sine-gelu"),
        pytest.param(fill_c, None, HASH_RELU, -1.46897, 3.71898, [989, 740],
                     {0.0: [9.46084, 15.5257], 0.1: [9.74976, 15.2217], 0.2: [10.0387, 14.9177]},
                     {0.0: 26.8298, 0.1: 26.6304, 0.2: 26.4310}, id="hash"),
        pytest.param(fill_c, "silu", HASH_SILU, -1.01345, 2.65399, None,
                     {0.0: [7.47504, 14.7162]}, {0.0: 20.4577}, id="hash-silu"),
        pytest.param(fill_c, "gelu", HASH_GELU, -1.48633, 3.62992, None,
                     {0.0: [12.0552, 14.7579]}, {0.0: 26.2913}, id="hash-gelu"),
    ],
)  # fmt: skip
def test_outputs_and_losses_are_those_of_the_reference(fill, variant, logits, mean, std, argmax, hard, mixed):
    workload = filled(fill, variant)
    inputs = images(fill)
    with torch.no_grad():
        output = workload.network(inputs).double()
        assert output[0, :8].tolist() == pytest.approx(logits, rel=1e-4, abs=1.2e-4 if fill is fill_c else 1e-6)
        workload.network.double()
        exact = workload.network(inputs.double())
        assert exact[0, :8].tolist() == pytest.approx(logits, rel=5e-6)
        assert (exact.mean().item(), exact.std(correction=0).item()) == pytest.approx((mean, std), rel=5e-6)
        if argmax is not None:
            assert exact.argmax(-1).tolist() == argmax

        def loss(targets, smoothing):  # of a batch that is normalised already
            batch = {"inputs": inputs.double(), "targets": targets}
            logits = ClassificationWorkload.outputs(workload, batch)
            return workload.loss_of(logits, batch, label_smoothing=smoothing).per_example

        for smoothing, expected in hard.items():
            assert loss(TARGETS, smoothing).tolist() == pytest.approx(expected, rel=1e-5)
        for smoothing, expected in mixed.items():
            assert loss(MIXED.float(), smoothing).sum().item() == pytest.approx(expected, rel=1e-5)


def test_outputs_at_full_resolution_are_those_of_the_reference():
    workload = filled(fill_c)
    inputs = images(fill_c, 224)
    with torch.no_grad():
        output = workload.network(inputs)
        loss = workload.loss_of(output, {"targets": TARGETS}).per_example
    assert output[0, :8].tolist() == pytest.approx(HASH_RELU_224, rel=1e-4, abs=6e-5)
    assert (output.mean().item(), output.std(correction=0).item()) == pytest.approx((-2.02335, 4.23511), rel=1e-4)
    assert output.argmax(-1).tolist() == [27, 706]
    assert loss.tolist() == pytest.approx([12.1367, 21.3616], rel=1e-4)


def test_training_normalises_by_the_batch_and_moves_the_running_statistics():
    workload = filled(fill_c)
    model = workload.network.double().train()
    output = model(images(fill_c).double())
    logits = [-2.10806, -0.873523, -0.202401, 0.140215, 0.0432249, -1.60972, 0.520662, -0.838850]
    assert output[0, :8].tolist() == pytest.approx(logits, rel=5e-6)
    assert (output.mean().item(), output.std(correction=0).item()) == pytest.approx((-0.526745, 0.804371), rel=5e-6)
    expected = {
        "bn1": ([0.00185925, -0.000347848, 0.00287146, -0.00460999], [0.988745, 0.996196, 1.00313, 0.992955]),
        "layer1.0.bn3": ([0.0196678, -0.0296199, -0.185546, -0.104478], [0.953637, 0.973573, 0.949632, 0.965574]),
        "layer4.2.bn3": ([0.0304000, -0.0562017, -0.00146230, -0.00476184], [1.03827, 1.02808, 1.07016, 0.928974]),
    }
    for name, (means, variances) in expected.items():
        module = model.get_submodule(name)
        assert module.running_mean[:4].tolist() == pytest.approx(means, rel=1e-5)
        assert module.running_var[:4].tolist() == pytest.approx(variances, rel=1e-5)
    output.sum().backward()
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert not still, f"no gradient reaches {still}"


def test_running_statistics_are_left_alone_on_request():
    workload = ImageNetResNet(Submission(), tiny=True)
    workload.configure_model()
    workload.train()
    before = {name: buffer.clone() for name, buffer in workload.network.named_buffers()}
    batch = {"inputs": torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8), "targets": torch.arange(4)}
    workload.view.loss(batch, update_batch_norm=False)
    assert all(torch.equal(buffer, before[name]) for name, buffer in workload.network.named_buffers())
    workload.view.loss(batch)
    assert not torch.equal(workload.network.bn1.running_mean, before["bn1.running_mean"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_loss_and_metrics_are_those_of_normalised_images(dtype):
    workload = ImageNetResNet(Submission(), tiny=True)
    workload.configure_model()
    workload.eval()
    pixels = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(dtype)
    batch = {"inputs": pixels, "targets": torch.arange(4), "weights": torch.tensor([1.0, 1.0, 1.0, 0.0])}
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (pixels / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    metrics = workload.build_metrics()
    with torch.no_grad():
        expected = F.cross_entropy(workload.network(normal), batch["targets"], reduction="none")
        loss = workload.loss(batch)
        workload.evaluate(batch, metrics)
    torch.testing.assert_close(normalise(pixels), normal, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(loss.per_example, expected * batch["weights"], rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute().item() == pytest.approx(expected[:3].mean().item(), rel=1e-4)


# Parameters


def test_parameters_are_those_of_the_reference():
    from torchvision.models import resnet50

    workload = filled(fill_a)
    parameters = dict(workload.network.named_parameters())
    with torch.device("meta"):
        official = dict(resnet50(weights=None).named_parameters())
    renamed = {".downsample.0.": ".downsample.conv.", ".downsample.1.": ".downsample.bn."}
    names = list(official)
    for old, new in renamed.items():
        names = [name.replace(old, new) for name in names]
    assert list(parameters) == names
    assert [p.shape for p in parameters.values()] == [p.shape for p in official.values()]
    assert sum(p.numel() for p in parameters.values()) == 25_557_032
    assert len(parameters) == 161
    first = dict(zip(parameters, np.cumsum([0, *(p.numel() for p in parameters.values())]), strict=False))
    assert first["layer1.0.conv1.weight"] == 9536
    assert first["layer2.3.conv1.weight"] == 1164864
    assert first["layer3.5.conv1.weight"] == 7426112
    assert first["layer4.2.conv1.weight"] == 19045440
    assert first["fc.bias"] == 25556032
    assert len(list(workload.network.buffers())) == 159
    kinds = Counter(workload.view.parameter_kinds.values())
    assert kinds == {
        ParameterKind.BATCH_NORM_SCALE: 53,
        ParameterKind.BATCH_NORM_BIAS: 53,
        ParameterKind.CONV_WEIGHT: 53,
        ParameterKind.WEIGHT: 1,
        ParameterKind.BIAS: 1,
    }
    assert workload.view.output_parameters == {"fc.weight", "fc.bias"}


def test_initialisation_follows_the_reference():
    torch.manual_seed(0)
    model = ImageNetResNet(Submission()).build_model()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            std = module.weight[0].numel() ** -0.5
            assert module.weight.std().item() == pytest.approx(std, rel=0.05), name
            assert module.weight.abs().max().item() <= 2.2737 * std, name
            assert module.bias is None
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight == (0 if name.endswith(".bn3") else 1)).all(), name
            assert (module.bias == 0).all(), name
            assert (module.eps, module.momentum) == (1e-5, 0.1)
    assert model.conv1.weight.std().item() == pytest.approx(0.0825, rel=0.03)
    assert model.layer1[1].conv2.weight.std().item() == pytest.approx(0.0417, rel=0.03)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert model.fc.weight.abs().max().item() > 0.025  # not cut
    assert (model.fc.bias == 0).all()


def test_large_bn_init_changes_the_last_scale_of_each_block_only():
    torch.manual_seed(0)
    plain, large = (ImageNetResNet(Submission(), variant=v, tiny=True).build_model() for v in (None, "large_bn_init"))
    norms = {name: module for name, module in large.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert {name for name, module in norms.items() if (module.weight == 8).all()} == {
        f"layer{stage}.0.bn3" for stage in (1, 2, 3, 4)
    }
    assert all((module.weight == 1).all() for name, module in norms.items() if not name.endswith("bn3"))
    assert isinstance(large.activation, type(plain.activation))


def test_an_unknown_activation_is_named():
    with pytest.raises(BadInputError, match=r"Unknown activation 'gelo'\. Did you mean 'gelu'\? .* gelu, relu, silu"):
        ResNet(activation="gelo")


@pytest.mark.parametrize(
    ("variant", "targets", "batch_size"),
    [
        (None, (0.77431, 0.6560), 1024),
        ("silu", (0.75445, 0.6323), 512),
        ("gelu", (0.76765, 0.6519), 512),
        ("large_bn_init", (0.76526, 0.6423), 1024),
    ],
)
@pytest.mark.parametrize(
    ("version", "budget", "step_hint", "eval_period"),
    [("0.5", 63_008, 186_666, 510), ("0.6", 66_159, 195_999, 510), ("1.0", 49_918, 195_999, 1_996)],
)
def test_numbers_of_the_benchmark(variant, targets, batch_size, version, budget, step_hint, eval_period):
    spec = IMAGENET_RESNET.of(variant=variant, version=version)
    assert (spec.validation_target, spec.test_target) == pytest.approx(targets, abs=1e-9)
    assert (spec.budget, spec.step_hint, spec.eval_period) == (budget, step_hint, eval_period)
    assert (spec.batch_size, spec.eval_batch_size) == (batch_size, 1024)
    assert dict(spec.splits) == {"train": 1_281_167, "eval_train": 50_176, "validation": 50_000, "test": 10_000}


# Training


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["silu", "gelu"])  # the library's own check has the workload itself
def test_variants_compile_without_graph_breaks(variant):
    torch._dynamo.reset()
    workload = ImageNetResNet(Submission(), variant=variant, tiny=True)
    workload.configure_model()
    compiled = torch.compile(workload.network, backend="eager", fullgraph=True)
    inputs = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(compiled(inputs), workload.network(inputs), rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


def test_mixed_precision_trains(tiny, tmp_path):
    workload = ImageNetResNet(Momentum(), tiny=True, data_dir=tiny)
    before = normalise(torch.full((1, 3, 2, 2), 200, dtype=torch.uint8))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(normalise(torch.full((1, 3, 2, 2), 200, dtype=torch.uint8)), before)
    train(workload, 3, tmp_path, precision="bf16-mixed")
    assert all(torch.isfinite(parameter).all() for parameter in workload.network.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in workload.network.parameters())
    assert all(parameter.is_contiguous() for parameter in workload.network.parameters())


@pytest.mark.slow
def test_two_ranks_evaluate_the_same_model(tiny, tmp_path):
    (tmp_path / "data").symlink_to(tiny)
    script = Path(__file__).parent / "ranks_imagenet.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank_{rank}.pt") for rank in range(2))
    running = [name for name in first["evaluated"][0] if name.endswith(("running_mean", "running_var"))]
    assert running
    assert len(first["evaluated"]) == len(second["evaluated"]) == 2
    for number, step in enumerate((1, 3)):
        # Every rank moved its statistics by its own share of the batch; the first rank's are evaluated.
        assert any(not torch.equal(first["before"][step][n], second["before"][step][n]) for n in running)
        for name in running:
            assert torch.equal(first["evaluated"][number][name], first["before"][step][name])
            assert torch.equal(second["evaluated"][number][name], first["before"][step][name])
    assert first["metrics"] == second["metrics"]
    for name, value in first["final"].items():
        assert torch.equal(value, second["final"][name]), name
