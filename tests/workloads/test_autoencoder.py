"""The autoencoder of mnist_vae and fmnist_vae against numbers of TensorFlow."""

import math

import pytest
import torch
from deepobs import built, fans, gradient_norm, images, sine
from golden import fill_a, fill_b, u

from algoperf_lightning.images.autoencoder import Autoencoder, divergences


def pictures():
    return images((2, 1, 28, 28), lambda n: (u(0, n) + 1) / 2)


@pytest.mark.parametrize("name", ["mnist_vae", "fmnist_vae"])
@pytest.mark.parametrize(
    ("noise", "pixels", "moments", "losses"),
    [
        pytest.param(
            torch.zeros(2, 8).double(),
            [0.487126, 0.538925, 0.485264, 0.492453, 0.485376, 0.503168, 0.534211, 0.466927],
            (0.5003767, 0.0204839), [67.12492, 66.43832],
            id="without-noise",
        ),
        pytest.param(
            torch.from_numpy(u(0, 16)).view(2, 8),
            [0.490189, 0.538583, 0.485127, 0.492572, 0.485700, 0.498756, 0.534392, 0.466962],
            (0.5003015, 0.0205044), [67.10721, 66.46093],
            id="with-noise",
        ),
    ],
)  # fmt: skip
def test_reconstructions_and_losses_are_those_of_the_reference(name, noise, pixels, moments, losses):
    workload = built(name, fill_b)
    batch = {"inputs": pictures(), "noise": noise}
    outputs = workload.outputs(batch)
    assert outputs.images[0].flatten()[:8].tolist() == pytest.approx(pixels, abs=1e-6)
    assert (outputs.images.mean().item(), outputs.images.std().item()) == pytest.approx(moments, abs=1e-6)
    mean = [-0.130985, -0.0872154, 0.165623, -0.0320395, -0.212462, 0.0485459, -0.501986, -0.242867]
    log_std = [0.00931113, 0.0554174, 0.0556567, -0.0522422, 0.141479, 0.00852957, 0.029466, 0.193408]
    assert outputs.mean[0].tolist() == pytest.approx(mean, abs=1e-6)
    assert outputs.log_std[0].tolist() == pytest.approx(log_std, abs=1e-6)
    assert divergences(outputs).tolist() == pytest.approx([0.280713, 0.163865], abs=1e-6)
    assert workload.loss(batch).per_example.tolist() == pytest.approx(losses, rel=1e-6)


def test_the_gradient_of_the_autoencoder_is_that_of_the_reference():
    workload = built("mnist_vae", fill_b)
    loss = workload.loss({"inputs": pictures(), "noise": torch.from_numpy(u(0, 16)).view(2, 8)}).per_example.mean()
    loss.backward()
    assert loss.item() == pytest.approx(66.78407, rel=1e-6)
    assert gradient_norm(workload.network) == pytest.approx(20.84367, rel=1e-6)


def test_the_sine_fill_of_the_autoencoder_is_that_of_the_reference():
    workload = built("fmnist_vae", fill_a)
    batch = {"inputs": images((2, 1, 28, 28), lambda n: (sine(n) + 1) / 2), "noise": torch.zeros(2, 8).double()}
    pixels = [0.496482, 0.501053, 0.504836, 0.503784, 0.499795, 0.495377, 0.495815, 0.499593]
    assert workload.outputs(batch).images[0].flatten()[:8].tolist() == pytest.approx(pixels, abs=1e-6)
    assert workload.loss(batch).per_example.tolist() == pytest.approx([98.17918, 98.16449], rel=1e-6)


def test_the_autoencoder_begins_as_in_the_reference():
    torch.manual_seed(0)
    model = Autoencoder()
    assert sum(p.numel() for p in model.parameters()) == 10_151_489
    for parameter in model.parameters():
        if parameter.ndim == 1:
            assert (parameter == 0).all()
        else:
            bound = math.sqrt(6 / fans(parameter))
            assert 0.9 * bound < parameter.abs().max().item() <= bound * (1 + 1e-6)
            std = bound / math.sqrt(3)
            assert parameter.std().item() == pytest.approx(std, rel=4 / math.sqrt(parameter.numel()))


def test_dropout_is_behind_five_of_the_six_convolutions():
    torch.manual_seed(0)
    model = Autoencoder(width=4)
    seen = []
    model.dropout.register_forward_hook(lambda module, given, made: seen.append(tuple(made.shape[1:])))
    model(torch.rand(1, 1, 28, 28), torch.zeros(1, 8))
    assert seen == [(4, 14, 14), (4, 7, 7), (4, 7, 7), (4, 14, 14), (4, 14, 14)]
