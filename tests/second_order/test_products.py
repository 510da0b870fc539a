"""Products with Hessian and Gauss-Newton matrices on every workload, by independent ways."""

import math

import pytest
import torch
from products import (
    SEED,
    data_loss_at,
    direction,
    gauss_newton_product,
    gauss_newton_product_forward,
    hessian_product,
    hessian_product_differences,
    hessian_product_forward,
    joined,
    loss_at,
    point,
    started,
)
from torch import nn

from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits

# The smoothest variant of each: at a kink (ReLU, max pooling) gradients jump, and their differences mean nothing. Some
# losses are float32 whatever the model is, so there is a step between kinks and rounding, and a tolerance with it.
DIFFERENCES = {
    "cifar10": (None, 1e-4, 0.02),
    "cifar10_3c3d": (None, 1e-5, 0.1),
    "criteo1tb": (None, 1e-2, 1e-3),
    "digits": (None, 1e-3, 1e-3),
    "fastmri": ("tanh", 1e-5, 1e-6),
    "finewebedu_lm": (None, 1e-2, 1e-3),
    "fmnist_2c2d": (None, 1e-4, 0.02),
    "fmnist_vae": (None, 1e-5, 0.1),
    "imagenet_resnet": ("silu", 1e-5, 0.1),
    "imagenet_vit": (None, 1e-2, 1e-3),
    "librispeech_conformer": ("gelu", 1e-1, 2e-3),
    "librispeech_deepspeech": ("tanh", 1e-1, 3e-3),
    "mnist": (None, 1e-3, 1e-3),
    "mnist_vae": (None, 1e-4, 0.02),
    "ogbg": ("gelu", 1e-2, 1e-3),
    "quadratic_deep": (None, 1e-2, 1e-6),
    "tolstoi_char_rnn": (None, 1e-1, 1e-3),
    "wmt": ("glu_tanh", 1e-2, 1e-3),
}

# Outputs that are not linear in the parameters of the output layer: a ReLU or a sigmoid follows it, it is the embedding
# too, or it is the whole model.
NOT_LINEAR = ("cifar100_allcnnc", "finewebedu_lm", "fmnist_vae", "mnist_vae", "quadratic_deep", "wmt")
NOT_CONVEX = ("librispeech_conformer", "librispeech_deepspeech")  # CTC as a function of the logits


@pytest.fixture(scope="module", params=sorted(plugins(WORKLOADS)))
def at_work(request, tmp_path_factory):
    """A workload and a batch, its variant that is tested, in float64.

    Without dropout: transforms lay tensors out in other ways, and masks that begin at one seed differ then.
    """
    variant = DIFFERENCES.get(request.param, (None,))[0]
    return started(request.param, tmp_path_factory.mktemp(request.param), variant=variant, double=True, dropout=0.0)


def close(one, other, tolerance):
    """Vectors that differ by at most a share of their length."""
    one, other = joined(one), joined(other)
    assert (one - other).norm() <= tolerance * other.norm(), f"{(one - other).norm() / other.norm():.2e}"


@pytest.mark.slow
def test_hessian_products_are_those_of_differences_and_of_forward_mode(at_work):
    workload, batch = at_work
    vector = direction(workload)
    names = list(vector)
    for name in names[: len(names) // 2]:  # the front end of the speech models has kinks in all variants
        vector[name] *= workload.spec.name not in NOT_CONVEX
    product = hessian_product(workload.view, batch, vector)
    assert joined(product).norm() > 0
    close(hessian_product_forward(workload.view, batch, vector, point(workload)), product, 1e-4)
    if workload.spec.name in DIFFERENCES:
        _, step, tolerance = DIFFERENCES[workload.spec.name]
        close([hessian_product_differences(workload, batch, vector, step)], product, tolerance)


def test_gauss_newton_products_are_symmetric_and_not_negative(at_work):
    workload, batch = at_work
    one, other = direction(workload, 1), direction(workload, 2)
    products = [gauss_newton_product(workload.view, batch, vector) for vector in (one, other)]
    crossed = joined(other.values()) @ joined(products[0]), joined(one.values()) @ joined(products[1])
    scale = joined(products[0]).norm()
    assert (crossed[0] - crossed[1]).abs() <= 1e-5 * scale
    if workload.spec.name not in NOT_CONVEX:
        assert joined(one.values()) @ joined(products[0]) >= 0
    forward = gauss_newton_product_forward(workload.view, batch, one, point(workload))
    assert (joined(forward) - joined(products[0])).norm() <= 1e-4 * scale


def test_where_outputs_are_linear_in_the_parameters_gauss_newton_is_the_hessian(at_work):
    """In those of an output layer that is used once."""
    workload, batch = at_work
    view = workload.view
    own = view.output_parameters
    vector = {name: part * (name in own) for name, part in direction(workload).items()}
    name = workload.spec.name
    assert is_linear(workload, batch, vector) == (name not in NOT_LINEAR)
    if name in NOT_LINEAR:
        return
    products = hessian_product(view, batch, vector, data_loss_at), gauss_newton_product(view, batch, vector)
    inside = [[part for name, part in zip(vector, product, strict=True) if name in own] for product in products]
    close(inside[1], inside[0], 1e-4)


def is_linear(workload, batch, vector):
    """Whether outputs change by as much from the first step along a vector as from the second."""
    start, outputs = point(workload), []
    for steps in range(3):
        torch.manual_seed(SEED)
        moved = {name: start[name] + 100 * steps * vector[name] for name in start}
        with torch.no_grad():
            made = workload.view.outputs(batch, parameters=moved)
        outputs.append(joined(torch.utils._pytree.tree_leaves(made)))
    first, second = outputs[1] - outputs[0], outputs[2] - outputs[1]
    return bool((second - first).norm() <= 1e-4 * first.norm())


class LinearDigits(Digits):
    def build_model(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_a_small_hessian_is_the_one_of_the_textbook():
    """Softmax regression: H = mean of (diag(q) - q q^T) outer x x^T."""
    workload = LinearDigits(PlainSGD())
    workload.configure_model()
    workload._trainer = type("Trainer", (), {"world_size": 1})()
    columns = workload.data.open("train").columns
    batch = {name: column[:16] for name, column in columns.items()}
    inputs = batch["inputs"].flatten(1).double()
    shares = workload.network(batch["inputs"]).double().softmax(-1)
    inner = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]
    features = torch.cat([inputs, torch.ones(16, 1)], 1)
    expected = torch.einsum("bcd,bi,bj->cidj", inner, features, features) / 16
    vector = direction(workload)
    weight, bias = vector.values()
    product = torch.einsum("cidj,dj->ci", expected, torch.cat([weight, bias[:, None]], 1).double())
    for found in (
        hessian_product(workload.view, batch, vector),
        gauss_newton_product(workload.view, batch, vector),
        hessian_product_forward(workload.view, batch, vector, point(workload)),
    ):
        torch.testing.assert_close(torch.cat([found[0], found[1][:, None]], 1).double(), product, rtol=1e-4, atol=1e-8)


def test_the_hessian_has_the_workloads_own_term():
    class WithL2(LinearDigits):
        def regularization(self):
            return 3.0 / 2 * sum(p.square().sum() for p in self.network.parameters() if p.ndim > 1)

    products = []
    for kind in (LinearDigits, WithL2):
        workload = kind(PlainSGD())
        workload.configure_model()
        workload._trainer = type("Trainer", (), {"world_size": 1})()
        batch = {name: column[:16] for name, column in workload.data.open("train").columns.items()}
        vector = direction(workload)
        products.append(hessian_product(workload.view, batch, vector))
    torch.testing.assert_close(products[1][0] - products[0][0], 3.0 * vector["1.weight"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(products[1][1], products[0][1])


def test_other_parameters_are_used_for_one_pass_only():
    workload = LinearDigits(PlainSGD())
    workload.configure_model()
    workload._trainer = type("Trainer", (), {"world_size": 1})()
    batch = {name: column[:16] for name, column in workload.data.open("train").columns.items()}
    before = loss_at(workload.view, batch)
    zeros = {name: torch.zeros_like(p) for name, p in workload.network.named_parameters()}
    assert loss_at(workload.view, batch, zeros).item() == pytest.approx(math.log(10))
    half = {"1.weight": zeros["1.weight"]}  # the bias stays its own
    expected = torch.nn.functional.cross_entropy(workload.network[1].bias.expand(16, 10), batch["targets"])
    torch.testing.assert_close(loss_at(workload.view, batch, half), expected)
    assert torch.equal(loss_at(workload.view, batch), before)
