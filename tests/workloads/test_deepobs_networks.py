"""The networks of DeepOBS that classify images, against numbers of its TensorFlow code."""

import math

import pytest
import torch
from deepobs import built, fans, gradient_norm, images, sine
from golden import fill_a, fill_b, u
from torch import nn

NETWORKS = [
    pytest.param("fmnist_2c2d", 3_274_634, 0, id="fmnist_2c2d"),
    pytest.param("cifar10_3c3d", 895_210, 0.002, id="cifar10_3c3d"),
    pytest.param("cifar100_allcnnc", 1_387_108, 0.0005, id="cifar100_allcnnc"),
    pytest.param("svhn_wrn164", 2_748_890, 0.0005, id="svhn_wrn164"),
]


@pytest.mark.parametrize(("name", "count", "l2"), NETWORKS)
def test_as_many_parameters_as_in_the_reference_and_the_l2_term_is_of_kernels(name, count, l2):
    workload = built(name, fill_b)
    assert sum(p.numel() for p in workload.network.parameters()) == count
    kernels = [p for p in workload.network.parameters() if p.ndim > 1]
    term = workload.regularization()
    if not l2:
        assert term is None
        return
    term.backward()
    for parameter in workload.network.parameters():
        if parameter.ndim > 1:
            torch.testing.assert_close(parameter.grad, l2 * parameter.detach())
        else:
            assert parameter.grad is None
    assert len(kernels) == {"cifar10_3c3d": 6, "cifar100_allcnnc": 9, "svhn_wrn164": 17}[name]


A, B = (fill_a, sine), (fill_b, lambda count: u(0, count))
GOLDEN = [
    pytest.param(
        "fmnist_2c2d", A, [3, 7],
        [0.0897544, 0.0772904, 0.0807429, 0.0912870, 0.0915211, 0.0716604, 0.0387752, 0.0105735],
        (0.0552315, 0.0376872), [2.267211, 2.347923], 0, None,
        id="2c2d-sine",
    ),
    pytest.param(
        "fmnist_2c2d", B, [3, 7],
        [-0.00912411, -0.0622779, 0.780130, 0.226268, -0.552272, 0.0339836, -0.163096, -0.571875],
        (-0.0737413, 0.359752), [2.102012, 2.828246], 0, (2.465129, 23.2136),
        id="2c2d-hash",
    ),
    pytest.param(
        "cifar10_3c3d", A, [3, 7],
        [-0.000966291, -0.0421575, -0.0155924, 0.0226166, 0.0112492, -0.00547837, 0.0112171, 0.0103583],
        (-0.00675684, 0.0210276), [2.273421, 2.285679], 0.1788289, None,
        id="3c3d-sine",
    ),
    pytest.param(
        "cifar10_3c3d", B, [3, 7],
        [-0.120430, 0.0592031, -1.08954, -0.992784, 0.315137, 0.455637, 1.03646, -0.222374],
        (-0.0753213, 0.638418), [3.411346, 2.578681], 1.066774, (4.061788, 16.87316),
        id="3c3d-hash",
    ),
    pytest.param(
        "cifar100_allcnnc", A, [3, 77],
        [0, 0.0316773, 0, 0, 0, 0, 0.0308586, 0.000409627],
        (0.00792843, 0.0114689), [4.613164, 4.613164], 0.06928796, None,
        id="allcnnc-sine",
    ),
    pytest.param(
        "cifar100_allcnnc", B, [3, 77],
        [0.116134, 0, 0.00121634, 0, 0.0902843, 0.000110925, 0, 0.00747479],
        (0.0321012, 0.0432398), [4.638185, 4.588244], 0.3374724, (4.950687, 1.213683),
        id="allcnnc-hash",
    ),
    pytest.param(
        "svhn_wrn164", A, [3, 7],
        [-0.0180762, -0.0256486, 0.0199893, 0.0435136, -0.0023001, -0.0399293, -0.0119989, 0.0185976],
        (-0.00157014, 0.0237794), [2.257771, 2.282686], 0.1372632, None,
        id="wrn164-sine",
    ),
    pytest.param(
        "svhn_wrn164", B, [3, 7],
        [0.434579, 0.419742, 0.339530, -0.394892, 0.375709, -0.174506, -0.0775700, -0.399497],
        (0.0238356, 0.334899), [2.773323, 2.821055], 0.5666621, (3.363851, 7.905493),
        id="wrn164-hash",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "case", "labels", "first", "moments", "losses", "l2", "objective"), GOLDEN)
def test_outputs_losses_and_gradients_are_those_of_the_reference(
    name, case, labels, first, moments, losses, l2, objective
):
    fill, values = case
    workload = built(name, fill)
    shape = (2, 1, 28, 28) if name.startswith("fmnist") else (2, 3, 32, 32)
    batch = {"inputs": images(shape, values), "targets": torch.tensor(labels)}
    logits = workload.outputs(batch)
    assert logits[0, :8].tolist() == pytest.approx(first, rel=2e-5, abs=5e-7)
    assert (logits.mean().item(), logits.std().item()) == pytest.approx(moments, rel=2e-5)
    assert workload.loss_of(logits, batch).per_example.tolist() == pytest.approx(losses, rel=1e-6)
    loss = workload.loss(batch).per_example
    assert loss.tolist() == pytest.approx([value + l2 for value in losses], rel=1e-6)
    if objective is not None:
        loss.mean().backward()
        assert loss.mean().item() == pytest.approx(objective[0], rel=1e-6)
        assert gradient_norm(workload.network) == pytest.approx(objective[1], rel=2e-6)


def test_batch_norm_of_the_wide_residual_network_is_that_of_the_reference():
    workload = built("svhn_wrn164", fill_b).train()
    batch = {"inputs": images((2, 3, 32, 32), lambda n: u(0, n)), "targets": torch.tensor([3, 7])}
    logits = workload.outputs(batch)
    first = [1.20193, 0.713890, -0.00113934, -0.220689, 0.461199, -0.612050, -0.299751, -0.318441]
    assert logits[0, :8].tolist() == pytest.approx(first, rel=2e-5, abs=1e-6)
    assert (logits.mean().item(), logits.std().item()) == pytest.approx((-0.00641454, 0.582503), rel=2e-4)
    assert workload.loss_of(logits, batch).per_example.tolist() == pytest.approx([2.714768, 2.892370], rel=2e-6)
    norm = workload.network.group1[0].bn1
    assert norm.running_mean[:3].tolist() == pytest.approx([-0.000977, -0.001856, -0.000619], abs=1e-6)
    assert norm.running_var[:3].tolist() == pytest.approx([0.939788, 0.922934, 0.936792], abs=1e-6)


def cut(std):
    """Standard deviation and largest value of a normal distribution that is cut at two deviations."""
    return 0.87962566 * std, 2 * std


INITIAL = {
    "fmnist_2c2d": (lambda w: cut(0.05), lambda w: cut(0.05), 0.05),
    "cifar10_3c3d": (
        lambda w: cut(math.sqrt(2 / fans(w)) / 0.87962566),
        lambda w: (math.sqrt(2 / fans(w)), math.sqrt(6 / fans(w))),
        0.0,
    ),
    "cifar100_allcnnc": (lambda w: cut(math.sqrt(2 / fans(w)) / 0.87962566), None, 0.1),
    "svhn_wrn164": (
        lambda w: (math.sqrt(2 / fans(w)), math.sqrt(6 / fans(w))),
        lambda w: (math.sqrt(2 / fans(w)), math.sqrt(6 / fans(w))),
        0.0,
    ),
}


@pytest.mark.parametrize("name", INITIAL)
def test_initial_weights_are_as_wide_as_in_the_reference(name):
    convolutions, linear, bias = INITIAL[name]
    torch.manual_seed(0)
    for module in built(name).network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            std, largest = (convolutions if isinstance(module, nn.Conv2d) else linear)(module.weight)
            tolerance = 4 / math.sqrt(module.weight.numel())
            assert module.weight.std().item() == pytest.approx(std, rel=tolerance)
            assert 0.9 * largest < module.weight.abs().max().item() <= largest * (1 + 1e-6)
            assert module.bias is None or (module.bias.float() == torch.tensor(bias)).all()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.momentum, module.eps) == (0.1, 1e-5)
