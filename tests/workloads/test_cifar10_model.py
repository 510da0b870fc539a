"""The ResNet of CIFAR-10 against the benchmark's numbers."""

from collections import Counter

import numpy as np
import pytest
import torch
from golden import fill_a, fill_b, u
from torch.nn import functional as F

from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads.cifar10.model import ResNet18
from algoperf_lightning.workloads.cifar10.workload import Cifar10

TARGETS = torch.tensor([3, 7])
INPUTS_A = torch.from_numpy(np.sin(0.1 * np.arange(6144))).float().view(2, 3, 32, 32)
INPUTS_B = torch.from_numpy(u(0, 6144)).float().view(2, 3, 32, 32)

A_EVAL = [-0.135592, 0.101615, -0.115854, 0.134368, -0.0977592, 0.114169, -0.126167, 0.0877140]
A_TRAIN = [-0.135603, 0.101623, -0.115859, 0.134371, -0.0977585, 0.114165, -0.126160, 0.0877040]
B_EVAL = [
    [0.407180, 0.192956, -0.585619, 0.593149, 0.237005, 0.143459, 0.107329, -0.438491, -0.534233, -0.365896],
    [0.422985, 0.223369, -0.577857, 0.583144, 0.158489, 0.182288, 0.101439, -0.493818, -0.547791, -0.310621],
]
B_TRAIN = [-0.208837, 0.379684, -1.390575, 1.023760, 0.0371201, -0.932457, 0.0807696, -0.897802]
B_EVAL_AFTER = [0.273805, 0.145142, -0.461140, 0.365615, 0.146706, 0.0784127, 0.163208, -0.336254]


def filled(fill):
    workload = Cifar10(Submission())
    workload.model = workload.build_model()
    fill(workload.model)
    return workload.eval()


@pytest.mark.parametrize(
    ("fill", "inputs", "rows", "moments", "losses"),
    [
        pytest.param(fill_a, INPUTS_A, [A_EVAL, A_EVAL], (-0.00321558, 0.116954), [2.171486, 2.218141], id="sine"),
        pytest.param(fill_b, INPUTS_B, B_EVAL, (-0.0250768, 0.410192), [1.762176, 2.848001], id="hash"),
    ],
)
def test_outputs_and_losses_are_those_of_the_reference(fill, inputs, rows, moments, losses):
    workload = filled(fill)
    with torch.no_grad():
        logits = workload.network(inputs)
        loss = workload.loss({"inputs": inputs, "targets": TARGETS})
    assert torch.allclose(logits[:, : len(rows[0])], torch.tensor(rows), atol=5e-6)
    assert logits.double().mean().item() == pytest.approx(moments[0], abs=5e-6)
    assert logits.double().std().item() == pytest.approx(moments[1], abs=5e-6)
    assert loss.weight is None
    assert torch.allclose(loss.per_example, torch.tensor(losses), atol=1e-5)


def test_masked_and_smoothed_loss():
    workload = filled(fill_b)
    batch = {"inputs": INPUTS_B, "targets": TARGETS, "weights": torch.tensor([0.0, 1.0])}
    with torch.no_grad():
        loss = workload.loss(batch, label_smoothing=0.2)
    log_p = torch.tensor(B_EVAL)[1].log_softmax(0)
    expected = -0.8 * log_p[7] - 0.2 * log_p.mean()
    assert torch.allclose(loss.per_example, torch.stack([torch.tensor(0.0), expected]), atol=1e-5)


def test_batch_statistics_and_their_running_values_are_those_of_the_reference():
    model = filled(fill_b).network
    with torch.no_grad():
        logits = model.train()(INPUTS_B)
        after = model.eval()(INPUTS_B)
    assert torch.allclose(logits[0, :8], torch.tensor(B_TRAIN), atol=1e-4)
    assert logits.double().mean().item() == pytest.approx(-0.299575, abs=1e-4)
    assert logits.double().std().item() == pytest.approx(0.769221, abs=1e-4)
    assert F.cross_entropy(logits, TARGETS, reduction="sum").item() == pytest.approx(4.59627, abs=1e-4)
    assert torch.allclose(model.bn1.running_mean[:3], torch.tensor([-0.00097726, -0.00185647, -0.00061891]), atol=1e-6)
    assert torch.allclose(model.bn1.running_var[:3], torch.tensor([0.939788, 0.922934, 0.936792]), atol=1e-5)
    assert torch.allclose(after[0, :8], torch.tensor(B_EVAL_AFTER), atol=1e-4)
    assert after.double().mean().item() == pytest.approx(-0.0168770, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_a_second_pass_leaves_the_running_statistics_alone(compiled):
    workload = Cifar10(PlainSGD())
    workload.configure_model()
    if compiled:
        workload.network.compile(backend="aot_eager")
    batch = {"inputs": torch.randn(8, 3, 32, 32), "targets": torch.arange(8)}
    first = workload.view.loss(batch).per_example
    before = {name: buffer.clone() for name, buffer in workload.network.named_buffers()}
    second = workload.view.loss(batch, update_batch_norm=False).per_example
    (first.sum() + second.sum()).backward()
    assert torch.equal(first, second)
    assert all(torch.equal(buffer, before[name]) for name, buffer in workload.network.named_buffers())
    workload.view.loss(batch)
    assert not torch.equal(workload.network.bn1.running_mean, before["bn1.running_mean"])


def test_batch_statistics_with_the_sine_fill_are_those_of_the_reference():
    model = filled(fill_a).network
    with torch.no_grad():
        logits = model.train()(INPUTS_A)
    assert torch.allclose(logits[0, :8], torch.tensor(A_TRAIN), atol=1e-4)
    expected = torch.tensor([0.900821, 0.901271, 0.901502, 0.900668])
    assert torch.allclose(model.bn1.running_var[:4], expected, atol=1e-5)


def test_parameters_are_those_of_the_reference():
    with torch.device("meta"):
        model = ResNet18()
    parameters = dict(model.named_parameters())
    assert sum(p.numel() for p in parameters.values()) == 11_173_962
    assert Counter(tuple(p.shape) for p in parameters.values()) == {
        (10,): 1,
        (64,): 10,
        (128,): 10,
        (256,): 10,
        (512,): 10,
        (10, 512): 1,
        (64, 3, 3, 3): 1,
        (64, 64, 3, 3): 4,
        (128, 64, 1, 1): 1,
        (128, 64, 3, 3): 1,
        (128, 128, 3, 3): 3,
        (256, 128, 1, 1): 1,
        (256, 128, 3, 3): 1,
        (256, 256, 3, 3): 3,
        (512, 256, 1, 1): 1,
        (512, 256, 3, 3): 1,
        (512, 512, 3, 3): 3,
    }
    assert list(parameters)[15:24] == [
        "layer2.0.conv1.weight",
        "layer2.0.bn1.weight",
        "layer2.0.bn1.bias",
        "layer2.0.conv2.weight",
        "layer2.0.bn2.weight",
        "layer2.0.bn2.bias",
        "layer2.0.downsample.conv.weight",
        "layer2.0.downsample.bn.weight",
        "layer2.0.downsample.bn.bias",
    ]
    assert len(list(model.buffers())) == 60


def test_initialisation_follows_the_reference():
    torch.manual_seed(0)
    model = ResNet18()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            std = module.weight[0].numel() ** -0.5
            assert module.weight.std().item() == pytest.approx(std, rel=0.05), name
            assert module.weight.abs().max().item() <= 2 * std / 0.8796, name
        if isinstance(module, torch.nn.BatchNorm2d):
            last_of_block = name.endswith(".bn2")
            assert (module.weight == (0 if last_of_block else 1)).all(), name
            assert (module.bias == 0).all(), name
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert model.fc.weight.abs().max().item() > 0.025  # not cut
    assert (model.fc.bias == 0).all()


def test_both_tensors_of_the_output_layer_are_known():
    assert filled(fill_a).view.output_parameters == {"fc.weight", "fc.bias"}


@pytest.mark.slow
@pytest.mark.parametrize("training", [pytest.param(True, id="training"), pytest.param(False, id="evaluation")])
def test_model_compiles_without_graph_breaks(training):
    torch._dynamo.reset()
    model = ResNet18().train(training)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(compiled(INPUTS_B), model(INPUTS_B), atol=1e-5)
    torch._dynamo.reset()
