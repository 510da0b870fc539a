"""Which rule of a matrix method each parameter gets, by its role."""

import pytest
import torch
from torch import nn

from algoperf_lightning import get_submission
from algoperf_lightning.parameters import parameter_kinds
from algoperf_lightning.roles import parameter_roles
from algoperf_lightning.spec import LossType


class View:
    step_hint = 100

    def __init__(self, model, loss_type="softmax_cross_entropy"):
        self.model, self.loss_type = model, loss_type
        self.parameter_kinds = parameter_kinds(model)
        self.parameter_roles = parameter_roles(model, ["head.weight", "head.bias"])


@pytest.fixture
def model():
    return nn.ModuleDict(
        {
            "words": nn.Embedding(5, 4),
            "conv": nn.Conv2d(2, 6, 3),
            "norm": nn.LayerNorm(4),
            "linear": nn.Linear(4, 3, bias=False),
            "head": nn.Linear(3, 7),
        }
    )


def optimizer_of(name, model):
    configured = get_submission(name)().configure_optimizers(model, View(model))
    return configured["optimizer"] if isinstance(configured, dict) else configured


@pytest.mark.parametrize("name", ["kl_soap", "kl_shampoo", "lion_muon", "amuse", "normuon"])
def test_the_weights_of_hidden_layers_are_apart(name, model):
    hidden, others = optimizer_of(name, model).param_groups
    assert [tuple(p.shape) for p in hidden["params"]] == [(6, 2, 3, 3), (3, 4)]
    assert [tuple(p.shape) for p in others["params"]] == [(5, 4), (6,), (4,), (4,), (7, 3), (7,)]
    flag = "orthogonal" if name == "normuon" else "matrices"
    assert (hidden[flag], others[flag]) == (True, False)


def test_norms_of_scion_follow_from_roles(model):
    groups = {group["norm"]: group for group in optimizer_of("scion", model).param_groups}
    shapes = {norm: [tuple(p.shape) for p in group["params"]] for norm, group in groups.items()}
    assert shapes == {
        "token": [(5, 4)],
        "convolution": [(6, 2, 3, 3)],
        "rms": [(6,), (4,), (4,), (7,)],
        "spectral": [(3, 4)],
        "sign": [(7, 3)],
    }
    assert {norm: group["scale"] for norm, group in groups.items()} == dict.fromkeys(shapes, 50.0) | {"sign": 3000.0}


@pytest.mark.parametrize("loss_type", LossType)
def test_polar_grad_subtracts_the_mean_row_only_where_the_loss_does_not_depend_on_it(loss_type, model):
    invariant = loss_type in ("softmax_cross_entropy", "ctc")
    model["head"] = nn.Linear(3, 7 if invariant else 1, bias=False)
    optimizer = get_submission("polar_grad")(warmup_factor=0.0).configure_optimizers(model, View(model, loss_type))
    optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer
    weight = model["head"].weight
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    moved = weight.detach() - before
    assert (moved.norm(dim=1) > 0).all()
    assert bool(moved.mean(dim=0).abs().max() < 1e-6) == invariant
