from types import MappingProxyType

import pytest
import torch
from torch import nn

from algoperf_lightning.parameters import ParameterKind, parameter_kinds

# Names and numbers of AlgoPerf's ParameterType.
ALGOPERF = [
    "WEIGHT",
    "BIAS",
    "CONV_WEIGHT",
    "BATCH_NORM_SCALE",
    "BATCH_NORM_BIAS",
    "LAYER_NORM_SCALE",
    "LAYER_NORM_BIAS",
    "EMBEDDING",
    "ATTENTION_Q",
    "ATTENTION_K",
    "ATTENTION_V",
    "ATTENTION_OUT",
    "ATTENTION_QKV",
    "ATTENTION_KV",
    "ATTENTION_BIAS",
]


def names(model):
    return {name: kind.name for name, kind in parameter_kinds(model).items()}


def test_kinds_are_numbered_as_algoperfs():
    assert {kind.name: kind.value for kind in ParameterKind} == {name: i for i, name in enumerate(ALGOPERF)}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        pytest.param(nn.Linear(2, 3), {"weight": "WEIGHT", "bias": "BIAS"}, id="linear"),
        pytest.param(nn.Linear(2, 3, bias=False), {"weight": "WEIGHT"}, id="linear-without-bias"),
        pytest.param(nn.Conv1d(2, 3, 3), {"weight": "CONV_WEIGHT", "bias": "BIAS"}, id="conv-1d"),
        pytest.param(nn.Conv2d(2, 3, 3), {"weight": "CONV_WEIGHT", "bias": "BIAS"}, id="conv-2d"),
        pytest.param(nn.ConvTranspose2d(2, 3, 3), {"weight": "CONV_WEIGHT", "bias": "BIAS"}, id="transposed-conv"),
        pytest.param(nn.BatchNorm1d(2), {"weight": "BATCH_NORM_SCALE", "bias": "BATCH_NORM_BIAS"}, id="batch-norm-1d"),
        pytest.param(nn.BatchNorm2d(2), {"weight": "BATCH_NORM_SCALE", "bias": "BATCH_NORM_BIAS"}, id="batch-norm-2d"),
        pytest.param(nn.SyncBatchNorm(2), {"weight": "BATCH_NORM_SCALE", "bias": "BATCH_NORM_BIAS"}, id="sync-norm"),
        pytest.param(nn.LayerNorm(2), {"weight": "LAYER_NORM_SCALE", "bias": "LAYER_NORM_BIAS"}, id="layer-norm"),
        pytest.param(nn.RMSNorm(2), {"weight": "LAYER_NORM_SCALE"}, id="rms-norm"),
        pytest.param(nn.GroupNorm(1, 2), {"weight": "LAYER_NORM_SCALE", "bias": "LAYER_NORM_BIAS"}, id="group-norm"),
        pytest.param(nn.LayerNorm((2, 3), bias=False), {"weight": "LAYER_NORM_SCALE"}, id="layer-norm-over-two-axes"),
        pytest.param(nn.Embedding(3, 2), {"weight": "EMBEDDING"}, id="embedding"),
        pytest.param(nn.EmbeddingBag(3, 2), {"weight": "EMBEDDING"}, id="embedding-bag"),
        pytest.param(nn.PReLU(), {"weight": "BIAS"}, id="module-nobody-names"),
        pytest.param(
            nn.MultiheadAttention(4, 2),
            {
                "in_proj_weight": "ATTENTION_QKV",
                "in_proj_bias": "ATTENTION_BIAS",
                "out_proj.weight": "ATTENTION_OUT",
                "out_proj.bias": "ATTENTION_BIAS",
            },
            id="attention",
        ),
        pytest.param(
            nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False),
            {
                "q_proj_weight": "ATTENTION_Q",
                "k_proj_weight": "ATTENTION_K",
                "v_proj_weight": "ATTENTION_V",
                "out_proj.weight": "ATTENTION_OUT",
            },
            id="attention-with-separate-projections",
        ),
    ],
)
def test_torchs_modules_alone_and_inside_others(module, expected):
    assert names(module) == expected
    nested = nn.Sequential(nn.ReLU(), nn.ModuleDict({"part": module}))
    assert names(nested) == {f"1.part.{name}": kind for name, kind in expected.items()}


class Attention(nn.Module):
    parameter_kinds = MappingProxyType(
        {
            "query.weight": ParameterKind.ATTENTION_Q,
            "query.bias": ParameterKind.ATTENTION_BIAS,
            "key_value.weight": ParameterKind.ATTENTION_KV,
            "no_such.weight": ParameterKind.EMBEDDING,
        }
    )

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(2, 2)
        self.key_value = nn.Linear(2, 4)
        self.norm = nn.LayerNorm(2)


ATTENTION = {
    "query.weight": "ATTENTION_Q",
    "query.bias": "ATTENTION_BIAS",
    "key_value.weight": "ATTENTION_KV",
    "key_value.bias": "BIAS",
    "norm.weight": "LAYER_NORM_SCALE",
    "norm.bias": "LAYER_NORM_BIAS",
}


def test_a_module_of_ones_own_says_what_its_parameters_are():
    assert names(Attention()) == ATTENTION
    assert names(nn.ModuleList([Attention()])) == {f"0.{name}": kind for name, kind in ATTENTION.items()}


def test_a_subclass_inherits_what_its_base_says():
    class Wider(Attention):
        pass

    assert names(Wider()) == ATTENTION


def test_a_subclass_of_torchs_module_is_known():
    class ScaledEmbedding(nn.Embedding):
        pass

    assert names(ScaledEmbedding(3, 2)) == {"weight": "EMBEDDING"}


def test_the_outermost_module_has_the_last_word():
    class Encoder(nn.Module):
        parameter_kinds = MappingProxyType({"attention.query.weight": ParameterKind.WEIGHT})

        def __init__(self):
            super().__init__()
            self.attention = Attention()

    assert names(Encoder()) == {f"attention.{name}": kind for name, kind in ATTENTION.items()} | {
        "attention.query.weight": "WEIGHT"
    }


@pytest.mark.parametrize(
    ("shape", "kind"), [((), "BIAS"), ((3,), "BIAS"), ((3, 2), "WEIGHT"), ((3, 2, 2, 2), "WEIGHT")], ids=str
)
def test_what_nobody_names_goes_by_its_axes(shape, kind):
    model = nn.Module()
    model.register_parameter("anything", nn.Parameter(torch.zeros(shape)))
    assert names(model) == {"anything": kind}


def test_every_parameter_of_a_model_has_a_kind_in_its_order():
    model = nn.TransformerDecoderLayer(8, 2, dim_feedforward=8)
    assert list(parameter_kinds(model)) == [name for name, _ in model.named_parameters()]
    assert {kind.name for kind in parameter_kinds(model).values()} == {
        "ATTENTION_QKV",
        "ATTENTION_BIAS",
        "ATTENTION_OUT",
        "WEIGHT",
        "BIAS",
        "LAYER_NORM_SCALE",
        "LAYER_NORM_BIAS",
    }


def test_a_tied_weight_goes_by_its_first_name():
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "output": nn.Linear(2, 3, bias=False)})
    model["output"].weight = model["embedding"].weight
    assert names(model) == {"embedding.weight": "EMBEDDING"}
