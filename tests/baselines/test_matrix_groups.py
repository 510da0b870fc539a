"""Which rule of a matrix method each parameter gets, by its role."""

import pytest
from torch import nn

from algoperf_lightning import get_submission
from algoperf_lightning.parameters import parameter_kinds
from algoperf_lightning.roles import parameter_roles


class View:
    step_hint = 100

    def __init__(self, model):
        self.model = model
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
