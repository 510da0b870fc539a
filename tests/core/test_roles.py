"""Roles of parameters: a table of all workloads, read from their models, and what users may declare or override."""

from collections import Counter
from fnmatch import fnmatchcase
from types import MappingProxyType

import pytest
import torch
from torch import nn

from algoperf_lightning import ParameterRole, Role, get_workload, parameter_roles
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.testing.runs import PlainSGD, at_tiny_size

M, F, C, N, S = Role.MATRIX, Role.FUSED_ATTENTION, Role.CONVOLUTION, Role.NORM_OR_BIAS, Role.SCALAR
EMBEDDING, TIED, HEAD = Role.EMBEDDING, Role.TIED_EMBEDDING, Role.HEAD

_SUBSAMPLING = {"subsampling.conv?.weight": C, "subsampling.linear.weight": M, "subsampling.*.bias": N}
_HEAD = {"head.weight": HEAD, "head.bias": N}
_AUTOENCODER = {
    "conv?.weight": C,
    "conv?.bias": N,
    "mean.weight": M,
    "mean.bias": N,
    "deviation.weight": M,
    "deviation.bias": N,
    "hidden?.weight": M,
    "hidden?.bias": N,
    "transposed?.weight": C,
    "transposed?.bias": N,
    "pixels.weight": HEAD,
    "pixels.bias": N,
}

# Every parameter at tiny size matches exactly one pattern of its workload.
TABLE = {
    "digits": {"conv?.weight": C, "conv?.bias": N, "hidden.weight": M, "hidden.bias": N, **_HEAD},
    "mnist": {"layer1.weight": M, "layer1.bias": N, "layer2.weight": HEAD, "layer2.bias": N},
    "cifar10": {
        "conv1.weight": C,
        "layer?.0.conv?.weight": C,
        "*.downsample.conv.weight": C,
        "bn1.*": N,
        "layer?.0.bn?.*": N,
        "*.downsample.bn.*": N,
        "fc.weight": HEAD,
        "fc.bias": N,
    },
    "imagenet_resnet": {
        "conv1.weight": C,
        "layer?.0.conv?.weight": C,
        "*.downsample.conv.weight": C,
        "bn1.*": N,
        "layer?.0.bn?.*": N,
        "*.downsample.bn.*": N,
        "fc.weight": HEAD,
        "fc.bias": N,
    },
    "imagenet_vit": {
        "conv_patch_extract.weight": C,
        "conv_patch_extract.bias": N,
        "*.self_attention1.*.weight": M,  # query, key, value and output are layers of their own
        "*.self_attention1.*.bias": N,
        "*.mlp3.linear?.weight": M,
        "*.mlp3.linear?.bias": N,
        "*.layer_norm?.*": N,
        "encoder.encoder_norm.*": N,
        "pre_logits.weight": M,
        "pre_logits.bias": N,
        **_HEAD,
    },
    "criteo1tb": {
        "table.weight": EMBEDDING,
        "bottom.?.weight": M,
        "bottom.?.bias": N,
        "top.?.weight": M,
        "top.?.bias": N,
        **_HEAD,  # one row
    },
    "fastmri": {
        "down.?.?.weight": C,
        "bottom.?.weight": C,
        "up.?.?.weight": C,
        "upsample.?.0.weight": C,  # transposed
        "output.weight": HEAD,  # a convolution of one pixel
        "output.bias": N,
    },
    "finewebedu_lm": {
        "embedding.weight": TIED,
        "blocks.?.attention.scale": S,
        "blocks.?.attention.qkv.weight": F,
        "blocks.?.attention.out.weight": M,
        "blocks.?.mlp.into.weight": M,
        "blocks.?.mlp.out.weight": M,
        "blocks.?.*_norm.weight": N,
        "norm.weight": N,
    },
    "librispeech_conformer": {
        **_SUBSAMPLING,
        "*.norm.scale": N,
        "*.norm.bias": N,
        "norm.*": N,
        "*.feed_forward?.linear?.weight": M,
        "*.feed_forward?.linear?.bias": N,
        "*.attention.qkv.weight": F,
        "*.attention.qkv.bias": N,
        "*.attention.out.weight": M,
        "*.attention.out.bias": N,
        "*.query_scale.scale": N,  # a factor for each channel of a head
        "*.convolution.content.weight": M,  # linear layers, which the benchmark counts as convolutions
        "*.convolution.gate.weight": M,
        "*.convolution.out.weight": M,
        "*.convolution.[cgo]*.bias": N,
        "*.convolution.depthwise.weight": C,
        "*.convolution.batch_norm.*": N,
        **_HEAD,
    },
    "librispeech_deepspeech": {
        **_SUBSAMPLING,
        "layers.?.norm.*": N,
        "norm.*": N,
        "*.lstm.weight_*": M,  # four gates, one below the other
        "*.lstm.bias_*": N,
        "layers.?.linear.weight": M,
        "layers.?.linear.bias": N,
        **_HEAD,
    },
    "ogbg": {
        "????_embedder.weight": EMBEDDING,  # linear layers, which the benchmark counts as embeddings
        "????_embedder.bias": N,
        "*.dense.weight": M,
        "*.dense.bias": N,
        "*.rest.0.*": N,
        "decoder.weight": HEAD,
        "decoder.bias": N,
    },
    "wmt": {
        "shared_embedding.weight": TIED,
        "*.self_attn.in_proj.weight": F,
        "*.multihead_attn.kv_proj.weight": F,
        "*.multihead_attn.q_proj.weight": M,
        "*.out_proj.weight": M,
        "*.feed_forward.linear?.weight": M,
        "*.feed_forward.linear?.bias": N,
        "*.norm?.*": N,
        "*coder.norm.*": N,
    },
    "quadratic_deep": {"point": N},
    "mnist_vae": _AUTOENCODER,
    "fmnist_vae": _AUTOENCODER,
    "fmnist_2c2d": {
        "conv?.weight": C,
        "conv?.bias": N,
        "dense1.weight": M,
        "dense1.bias": N,
        "dense2.weight": HEAD,
        "dense2.bias": N,
    },
    "cifar10_3c3d": {
        "conv?.weight": C,
        "conv?.bias": N,
        "dense[12].weight": M,
        "dense[12].bias": N,
        "dense3.weight": HEAD,
        "dense3.bias": N,
    },
    "cifar100_allcnnc": {
        "conv[1-8].weight": C,
        "conv[1-8].bias": N,
        "conv9.weight": HEAD,  # a convolution of one pixel
        "conv9.bias": N,
    },
    "svhn_wrn164": {
        "conv.weight": C,
        "group?.?.conv?.weight": C,
        "group?.0.shortcut.weight": C,
        "group?.?.bn?.*": N,
        "bn.*": N,
        "dense.weight": HEAD,
        "dense.bias": N,
    },
    "tolstoi_char_rnn": {
        "embedding.weight": EMBEDDING,
        "lstm?.kernel": M,  # of inputs and states, to four gates
        "lstm?.bias": N,
        "dense.weight": HEAD,
        "dense.bias": N,
    },
}

SPLITS = {
    ("finewebedu_lm", "blocks.1.attention.qkv.weight"): (64, 64, 64),
    ("librispeech_conformer", "blocks.0.attention.qkv.weight"): (48, 48, 48),
    ("wmt", "encoder.layers.0.self_attn.in_proj.weight"): (64, 64, 64),
    ("wmt", "decoder.layers.1.multihead_attn.kv_proj.weight"): (64, 64),
}


def roles_at_tiny_size(name, **options):
    cls = get_workload(name)
    workload = cls(PlainSGD(), **at_tiny_size(cls), **options)
    workload.configure_model()
    assert list(workload.view.parameter_roles) == [n for n, _ in workload.network.named_parameters()]
    return workload.view.parameter_roles


def test_the_table_has_all_workloads():
    ours = [name for name, entry in plugins(WORKLOADS).items() if entry.module.startswith("algoperf_lightning.")]
    assert sorted(ours) == sorted(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_roles_of_a_workload(name):
    roles, used = roles_at_tiny_size(name), Counter()
    for parameter, found in roles.items():
        (pattern,) = [pattern for pattern in TABLE[name] if fnmatchcase(parameter, pattern)]
        used[pattern] += 1
        assert found.role is TABLE[name][pattern], parameter
        assert bool(found.split) == (found.role is F), parameter
    assert used.keys() == TABLE[name].keys()
    for (workload, parameter), split in SPLITS.items():
        if workload == name:
            assert roles[parameter].split == split


def test_roles_of_variants_with_further_kinds_of_layers():
    of_map = roles_at_tiny_size("imagenet_vit", variant="map")
    heads = of_map["map.mha.kv_proj.weight"].heads
    assert heads > 1
    assert of_map["map.mha.kv_proj.weight"] == ParameterRole(F, (64, 64), heads)
    assert of_map["map.mha.q_proj.weight"] == ParameterRole(M, heads=heads)
    assert of_map["map.probe"] == ParameterRole(M)
    of_glu = roles_at_tiny_size("imagenet_vit", variant="glu")
    assert of_glu["encoder.net.0.mlp3.glu_linear.weight"] == ParameterRole(M)
    of_layer_norm = roles_at_tiny_size("fastmri", variant="layernorm")
    assert of_layer_norm["down.0.1.weight"] == of_layer_norm["down.0.1.bias"] == ParameterRole(N)


@pytest.mark.parametrize(
    ("module", "outputs", "expected"),
    [
        pytest.param(nn.Linear(2, 3), (), {"weight": M, "bias": N}, id="linear"),
        pytest.param(nn.Linear(2, 3), ("weight", "bias"), {"weight": HEAD, "bias": N}, id="head"),
        pytest.param(nn.Conv1d(2, 3, 1), (), {"weight": C, "bias": N}, id="convolution-of-one-frame"),
        pytest.param(nn.LayerNorm((2, 3)), (), {"weight": N, "bias": N}, id="norm-over-two-axes"),
        pytest.param(nn.PReLU(), (), {"weight": N}, id="module-nobody-names"),
        pytest.param(nn.Embedding(3, 2), (), {"weight": EMBEDDING}, id="embedding"),
        pytest.param(
            nn.MultiheadAttention(4, 2, add_bias_kv=True),
            (),
            {
                "in_proj_weight": F,
                "in_proj_bias": N,
                "bias_k": N,
                "bias_v": N,
                "out_proj.weight": M,
                "out_proj.bias": N,
            },
            id="attention",
        ),
    ],
)
def test_torchs_modules(module, outputs, expected):
    assert {name: found.role for name, found in parameter_roles(module, outputs).items()} == expected


class GroupedQueries(nn.Module):
    """Attention with more queries than keys, whose parts kinds cannot tell."""

    parameter_roles = MappingProxyType({"qkv.weight": ParameterRole(F, (8, 2, 2))})

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.out = nn.Linear(8, 4)


def test_a_module_of_ones_own_declares_roles():
    roles = parameter_roles(nn.Sequential(GroupedQueries()))
    assert roles["0.qkv.weight"] == ParameterRole(F, (8, 2, 2))
    assert roles["0.out.weight"] == ParameterRole(M)
    assert [len(part) for part in GroupedQueries().qkv.weight.split(roles["0.qkv.weight"].split)] == [8, 2, 2]


def test_overrides_replace_all_else_and_the_last_pattern_counts():
    overrides = {"*.weight": Role.NORM_OR_BIAS, "0.qkv.*eight": ParameterRole(F, (6, 6))}
    roles = parameter_roles(nn.Sequential(GroupedQueries()), ["0.out.weight"], overrides)
    assert roles["0.qkv.weight"] == ParameterRole(F, (6, 6))
    assert roles["0.out.weight"] == ParameterRole(N)


class OddThirds(nn.Module):
    """Fused attention whose rows are no multiple of three."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)
        self.attention.in_proj_weight = nn.Parameter(torch.zeros(13, 4))


@pytest.mark.parametrize(
    ("model", "overrides", "message"),
    [
        (nn.Linear(2, 3), {"weigth": M}, r"'weigth' matches no parameter.*weight, bias"),
        (nn.Linear(2, 3), {"bias": M}, r"bias has the shape \(3,\).*'matrix' needs 2 axes"),
        (nn.Linear(2, 3), {"weight": C}, r"weight has the shape \(3, 2\).*'convolution' needs 3 axes"),
        (nn.Linear(2, 3), {"weight": F}, r"weight has 3 rows.*\(\), 0 in all"),
        (nn.Linear(2, 3), {"weight": ParameterRole(F, (2, 2))}, r"weight has 3 rows.*\(2, 2\), 4 in all"),
        (OddThirds(), {}, r"attention\.in_proj_weight contains 3 matrices in 13 rows.*parameter_roles"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_roles_that_cannot_be_are_refused(model, overrides, message):
    with pytest.raises(BadInputError, match=message):
        parameter_roles(model, overrides=overrides)


def test_a_declared_role_of_another_type_is_refused():
    model = GroupedQueries()
    model.parameter_roles = {"qkv.weight": "matrix"}
    with pytest.raises(BadInputError, match=r"GroupedQueries.parameter_roles must map 'qkv.weight' to a ParameterRole"):
        parameter_roles(model)


@pytest.mark.parametrize(
    ("name", "projections"),
    [("finewebedu_lm", "qkv"), ("imagenet_vit", "query"), ("librispeech_conformer", "qkv"), ("wmt", "q")],
)
def test_heads_of_attention_are_blocks_of_rows(name, projections):
    cls = get_workload(name)
    workload = cls(PlainSGD(), **at_tiny_size(cls))
    workload.configure_model()
    roles, rows = (
        workload.view.parameter_roles,
        {key: len(p) for key, p in workload.network.named_parameters() if p.ndim},
    )
    found = {key: role.rows_by_head(rows[key]) for key, role in roles.items() if role.heads > 1}
    assert any(projections in key for key in found)
    for key, blocks in found.items():
        assert set(blocks) == {rows[key] // len(blocks)}
        assert sum(blocks) == rows[key]
        assert len(blocks) == roles[key].heads * max(1, len(roles[key].split))
    assert {key for key, role in roles.items() if role.role is F} <= found.keys()


def test_a_module_says_how_many_heads_it_has():
    layer = nn.MultiheadAttention(8, 4)
    roles = parameter_roles(layer)
    assert roles["in_proj_weight"] == ParameterRole(Role.FUSED_ATTENTION, (8, 8, 8), heads=4)
    assert roles["in_proj_weight"].rows_by_head(24) == (2,) * 12
    assert roles["out_proj.weight"].rows_by_head(8) == ()
