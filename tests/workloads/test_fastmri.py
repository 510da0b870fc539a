"""The model, loss and metric of fastmri."""

from __future__ import annotations

import copy
import json
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

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import FastMRI
from algoperf_lightning.workloads.fastmri.data import FastMRIData
from algoperf_lightning.workloads.fastmri.metric import ssim
from algoperf_lightning.workloads.fastmri.model import InstanceNorm, UNet
from algoperf_lightning.workloads.fastmri.spec import FASTMRI

SMALL = (2, 64, 64)
ODD = (1, 50, 44)  # 25 x 22, 12 x 11, 6 x 5, 3 x 2: upsampled images are one short
FULL = (1, 320, 320)

# Variant, shape, first eight outputs, their mean and population standard deviation; then the loss of each example.
GOLDEN_A = [
    (None, SMALL, [-0.0589946, -0.0317133, 0.0650749, 0.0341055, -0.134521, -0.179495, -0.145801, -0.163287],
     (0.0221192, 0.211392), [0.659186, 0.651559]),
    ("model_size", SMALL,
     [-0.00597399, -0.00400488, -0.00484824, -0.00347824, -0.00482635, -0.00345682, -0.00479870, -0.00277215],
     (-0.00139659, 0.00915151), [0.638493, 0.636243]),
    ("tanh", SMALL, [0.305009, 0.309863, 0.219817, 0.176342, 0.124383, 0.0683390, -0.00362149, 0.0353051],
     (0.0202493, 0.224574), [0.663765, 0.674726]),
    ("layernorm", SMALL,
     [0.0202780, 0.0201646, 0.0199594, 0.0198673, 0.0198111, 0.0198185, 0.0197648, 0.0197371],
     (0.0192539, 0.000670584), [0.637948, 0.636362]),
    (None, ODD, [0.0678735, -0.0249505, -0.147031, -0.161436, -0.143363, -0.149478, -0.156317, -0.171862],
     (0.0225775, 0.209852), None),
]  # fmt: skip
GOLDEN_C = [
    (None, SMALL, [-0.774201, -0.344525, -0.942100, -0.330401, -0.981084, 0.687196, -0.276996, 0.405148],
     (-0.00658238, 0.837837), [0.851994, 0.917898]),
    ("model_size", SMALL, [1.11729, 0.488511, 1.13392, 0.468548, 0.572278, 0.552855, 0.508864, 1.08693],
     (1.10222, 0.935346), [1.31445, 1.30141]),
    ("tanh", SMALL, [-0.0318093, -0.279312, -0.466799, 0.188002, -0.465744, 0.757631, 0.774449, 1.05016],
     (-0.0302030, 0.803798), [0.883157, 0.853347]),
    ("layernorm", SMALL, [0.229791, -0.528854, 0.711072, 0.756384, 0.397141, 1.28458, 0.573834, 0.166702],
     (0.853649, 0.916282), [1.15923, 1.17011]),
    (None, ODD, [-0.449897, -0.797684, -0.442218, -0.574976, -0.479449, -0.374106, 0.107786, 0.165183],
     (-0.00426059, 0.838209), None),
    (None, FULL, [-0.798201, -0.306019, -0.358293, -0.559611, -0.0246034, -0.178539, -0.318392, -0.132520],
     (-0.00645766, 0.834572), [0.885642]),
]  # fmt: skip

WEIGHTS = {
    None: [
        (32, 1, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3),
        (256, 128, 3, 3), (256, 256, 3, 3), (512, 256, 3, 3), (512, 512, 3, 3), (256, 512, 3, 3), (256, 256, 3, 3),
        (128, 256, 3, 3), (128, 128, 3, 3), (64, 128, 3, 3), (64, 64, 3, 3), (32, 64, 3, 3), (32, 32, 3, 3),
        (1, 32, 1, 1), (1,), (512, 256, 2, 2), (256, 128, 2, 2), (128, 64, 2, 2), (64, 32, 2, 2),
    ],
    "model_size": [
        (64, 1, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (256, 128, 3, 3), (256, 256, 3, 3),
        (512, 256, 3, 3), (512, 512, 3, 3), (256, 512, 3, 3), (256, 256, 3, 3), (128, 256, 3, 3), (128, 128, 3, 3),
        (64, 128, 3, 3), (64, 64, 3, 3), (1, 64, 1, 1), (1,), (512, 256, 2, 2), (256, 128, 2, 2), (128, 64, 2, 2),
    ],
}  # fmt: skip


def named(case):
    return f"{case[0] or 'base'}-{'x'.join(map(str, case[1]))}"


@cache
def filled(variant, fill):
    """Shared by the tests, which do not train it."""
    workload = FastMRI(Submission(), variant=variant)
    with torch.device("meta"):  # it has no buffers, and initialising it takes time
        workload.model = workload.build_model()
    workload.model.to_empty(device="cpu")
    fill(workload.model)
    return workload.eval()


def assert_golden(workload, inputs, case, rtol=2e-5, atol=2e-6):
    _, shape, first, (mean, std), losses = case
    targets = torch.from_numpy(np.cos(0.05 * np.arange(inputs.numel()))).view(shape)
    with torch.no_grad():
        outputs = workload.network(inputs)
        loss = workload.loss({"inputs": inputs, "targets": targets.float()})
    assert outputs.shape == shape
    assert torch.allclose(outputs.flatten()[:8].double(), torch.tensor(first).double(), rtol=rtol, atol=atol)
    assert outputs.double().mean().item() == pytest.approx(mean, rel=rtol, abs=atol)
    assert outputs.double().std(correction=0).item() == pytest.approx(std, rel=rtol)
    if losses is not None:
        assert loss.weight is None
        assert torch.allclose(loss.per_example, torch.tensor(losses), rtol=rtol)


# Model


@pytest.mark.parametrize("case", GOLDEN_C, ids=named)
def test_outputs_and_losses_are_those_of_the_reference(case):
    workload = filled(case[0], fill_c)
    inputs = torch.from_numpy(h(0, int(np.prod(case[1])))).float().view(case[1])
    assert_golden(workload, inputs, case, atol=1e-5)
    if case[1] != FULL:
        assert_golden(copy.deepcopy(workload).double(), inputs.double(), case)


@pytest.mark.parametrize("case", GOLDEN_A, ids=named)
def test_outputs_and_losses_with_the_sine_fill_are_those_of_the_reference(case):
    # In float64: nearly constant activations are divided by their deviation, which single precision does not carry.
    inputs = torch.from_numpy(np.sin(0.1 * np.arange(np.prod(case[1])))).float().view(case[1])
    assert_golden(copy.deepcopy(filled(case[0], fill_a)).double(), inputs.double(), case)


@pytest.mark.parametrize(
    ("variant", "count"), [(None, 7_756_097), ("tanh", 7_756_097), ("model_size", 7_692_929), ("layernorm", 7_761_985)]
)
def test_parameters_are_those_of_the_reference(variant, count):
    with torch.device("meta"):
        model = FastMRI(Submission(), variant=variant).build_model()
    parameters = list(model.parameters())
    assert sum(p.numel() for p in parameters) == count
    assert not list(model.buffers())
    weights = [tuple(p.shape) for p in parameters if p.ndim != 1 or len(p) == 1]
    assert weights == WEIGHTS.get(variant, WEIGHTS[None])
    norms = Counter(tuple(p.shape) for p in parameters if p.ndim == 1 and len(p) > 1)
    assert norms == ({(32,): 8, (64,): 8, (128,): 8, (256,): 8, (512,): 4} if variant == "layernorm" else {})
    if variant == "layernorm":
        assert [tuple(p.shape) for p in parameters[:6]] == [(32, 1, 3, 3), (32,), (32,), (32, 32, 3, 3), (32,), (32,)]


@pytest.mark.parametrize("variant", [None, "layernorm"])
def test_initialisation_follows_the_reference(variant):
    torch.manual_seed(0)
    workload = FastMRI(Submission(), variant=variant)
    workload.model = model = workload.build_model()
    expected = {
        "down.0.0": 1 / 3,
        "up.0.0": 4608**-0.5,
        "upsample.0.0": 1024**-0.5,  # from the output channels, not the 512 inputs
        "output": 32**-0.5,
    }
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            std = module.weight[0].numel() ** -0.5
            assert expected.get(name, std) == pytest.approx(std)
            cut = 2 * std / 0.87962566
            assert module.weight.std().item() == pytest.approx(std, rel=4 * module.weight.numel() ** -0.5), name
            assert module.weight.abs().max().item() <= cut
            assert module.weight.numel() < 1000 or module.weight.abs().max().item() > 0.95 * cut
        if isinstance(module, torch.nn.GroupNorm):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
    assert (model.output.bias == 0).all()
    assert workload.view.output_parameters == {"output.weight", "output.bias"}
    kinds = Counter(workload.view.parameter_kinds.values())
    norms = 18 if variant == "layernorm" else 0
    assert kinds[ParameterKind.LAYER_NORM_SCALE] == kinds[ParameterKind.LAYER_NORM_BIAS] == norms
    assert kinds[ParameterKind.CONV_WEIGHT] == 23
    assert kinds[ParameterKind.BIAS] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "leaky_rely"}, "Unknown activation 'leaky_rely'. Did you mean 'leaky_relu'"),
        ({"norm": "batch"}, "Unknown norm 'batch'.*Choose from: instance, layer"),
    ],
)
def test_an_unknown_option_is_named(options, message):
    with pytest.raises(BadInputError, match=message):
        UNet(**options)


def test_dropout_drops_whole_channels_after_each_activation_of_a_block():
    class Dropping(Submission):
        dropout = 0.25

    model = FastMRI(Dropping()).build_model()
    dropouts = [module for module in model.modules() if isinstance(module, torch.nn.Dropout2d)]
    assert len(dropouts) == 2 * 9
    assert {module.p for module in dropouts} == {0.25}
    assert {module.p for module in FastMRI(Submission()).build_model().modules() if hasattr(module, "p")} == {0.0}
    assert all(isinstance(block[3], torch.nn.Dropout2d) for block in (*model.down, model.bottom, *model.up))


@pytest.mark.parametrize("variant", [None, *FASTMRI.variants])
def test_model_and_loss_compile_whole_and_once(variant):
    torch._dynamo.reset()
    workload = FastMRI(PlainSGD(), variant=variant, tiny=True)
    workload.configure_model()
    loss = torch.compile(lambda batch: workload.loss(batch).per_example, backend="eager", fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for shape in [(2, 18, 14)] * 3:  # halved to odd sizes, so the padding is in the graph
            batch = {"inputs": torch.randn(shape), "targets": torch.randn(shape)}
            loss(batch).sum().backward()
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4), (torch.bfloat16, 0.02)], ids=str
)
def test_compiled_instance_norm_is_torchs(dtype, tolerance):
    torch._dynamo.reset()
    features = (50 + torch.randn(2, 3, 20, 21)).to(dtype)  # statistics in bfloat16 would be useless here
    compiled = torch.compile(InstanceNorm(3), backend="aot_eager", fullgraph=True)(features)
    expected = torch.nn.functional.instance_norm(features.double())
    assert compiled.dtype == dtype
    assert torch.allclose(compiled.double(), expected, atol=tolerance)
    assert torch.equal(InstanceNorm(3)(features), torch.nn.functional.instance_norm(features))
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("variant", [None, *FASTMRI.variants])
def test_mixed_precision_gives_nearly_the_same_loss_in_float32(variant):
    workload = copy.deepcopy(filled(variant, fill_c))
    inputs = torch.from_numpy(h(0, 64 * 64)).float().view(1, 64, 64)
    batch = {"inputs": inputs, "targets": 0.5 * inputs}
    exact = workload.loss(batch).per_example
    with torch.autocast("cpu", torch.bfloat16):
        loss = workload.loss(batch).per_example
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, exact, rtol=0.03)
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == torch.float32 for p in workload.parameters())


def test_weights_mask_the_loss():
    workload = filled(None, fill_c)
    inputs = torch.from_numpy(h(0, 2 * 64 * 64)).float().view(SMALL)
    targets = torch.from_numpy(np.cos(0.05 * np.arange(inputs.numel()))).float().view(SMALL)
    batch = {"inputs": inputs, "targets": targets, "weights": torch.tensor([0.0, 1.0])}
    with torch.no_grad():
        loss = workload.loss(batch, label_smoothing=0.3)
    assert torch.allclose(loss.per_example, torch.tensor([0.0, 0.917898]), rtol=2e-5)
    assert torch.equal(loss.weight, batch["weights"])


# Metric


def waves(rows, columns):
    """A target and a prediction, float64, one image each."""
    i, j = torch.arange(rows).double()[:, None], torch.arange(columns).double()
    y = 0.5 + 0.5 * torch.sin(0.3 * i) * torch.cos(0.2 * j)
    return y, y + 0.1 * torch.sin(0.7 * i + 0.5 * j)


@pytest.mark.parametrize(
    ("shape", "one", "half"),
    [
        pytest.param((32, 32), 0.8912842145, 0.889353, id="32x32"),
        pytest.param((31, 16), 0.8952716613, 0.893644, id="31x16"),
        pytest.param((320, 320), 0.8942341922, 0.892303, id="320x320"),
    ],
)
def test_ssim_is_that_of_the_reference(shape, one, half):
    y, x = (image.expand(3, *shape) for image in waves(*shape))
    values = ssim(x, y, torch.tensor([1.0, 0.5, 0.0]).double())
    assert values[0].item() == pytest.approx(one, abs=2e-10)
    assert values[1].item() == pytest.approx(half, abs=1e-6)
    assert values[2] == values[0]
    assert ssim(x.float(), y.float(), torch.ones(3))[0].item() == pytest.approx(one, abs=1e-6)


def test_ssim_of_equal_images_is_1_and_never_more():
    y, _ = waves(32, 32)
    assert ssim(y[None].float(), y[None].float(), torch.ones(1)).item() <= 1
    assert ssim(y[None], y[None], torch.ones(1)).item() == pytest.approx(1)


class Given(torch.nn.Module):
    """A model whose inputs are its outputs."""

    def forward(self, images):
        return images


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_metrics_are_of_denormalised_images_and_padding_counts_nothing(precision):
    y, x = waves(32, 32)
    batch = {
        "inputs": torch.stack([x, -x, 2 * x, x + torch.nan]).float(),
        "targets": torch.stack([y, y, y + 0.1, y]).float(),
        "mean": torch.tensor([0, 0.1, 0.2, 0]),
        "std": torch.tensor([1, 0.5, 2, 1]),
        "volume_max": torch.tensor([1, 2, 0.7, 0]),
        "weights": torch.tensor([1.0, 1.0, 1.0, 0.0]),
    }
    workload = FastMRI(Submission())
    workload.model = Given()
    metrics = workload.build_metrics()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        workload.evaluate(batch, metrics)
    expected = (0.8912842145 + 0.2813984563 + 0.6263643462) / 3
    assert metrics["ssim"].compute().item() == pytest.approx(expected, abs=2e-6)
    losses = [(x - y).abs().mean(), (x + y).abs().mean(), (2 * x - y - 0.1).abs().mean()]
    assert metrics["loss"].compute().item() == pytest.approx(sum(losses).item() / 3, abs=1e-6)


# Training


@pytest.mark.slow
def test_ranks_evaluate_every_slice_once_and_train_as_one(tmp_path):
    FastMRIData(FASTMRI, tmp_path).write_tiny()
    script = Path(__file__).with_name("ranks_fastmri.py")
    results = []
    for ranks in (1, 2):
        out = tmp_path / f"{ranks}.json"
        command = [sys.executable, str(script), str(tmp_path), str(out), "--ranks", str(ranks)]
        run = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
        results.append(json.loads(out.read_text()))
    one, two = results
    assert set(one) == {f"{split}/{name}" for split in ("train", "validation", "test") for name in ("ssim", "loss")}
    assert two == pytest.approx(one, rel=2e-4)
    assert one["validation/ssim"] != pytest.approx(one["test/ssim"], rel=1e-3)
