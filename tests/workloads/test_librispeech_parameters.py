"""The parameters of both speech models against the benchmark's: counts, shapes, initial values and kinds."""

import dataclasses
import math
from collections import Counter

import pytest
import torch
from librispeech_golden import WORKLOADS, full, small

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import LibriSpeechConformer, LibriSpeechDeepSpeech


@pytest.mark.parametrize(
    ("workload", "variant", "count", "tensors"),
    [
        (LibriSpeechConformer, None, 32_321_792, 138),
        (LibriSpeechConformer, "attention_temperature", 32_321_792, 138),
        (LibriSpeechConformer, "layernorm", 32_317_696, 130),
        (LibriSpeechConformer, "gelu", 32_321_792, 138),
        (LibriSpeechDeepSpeech, None, 18_393_600, 82),
        (LibriSpeechDeepSpeech, "tanh", 18_393_600, 82),
        (LibriSpeechDeepSpeech, "no_resnet", 18_393_600, 82),
        (LibriSpeechDeepSpeech, "norm_and_spec_aug", 18_392_576, 80),
    ],
)
def test_parameter_counts_are_those_of_the_reference(workload, variant, count, tensors):
    with torch.device("meta"):
        parameters = list(full(workload, variant).parameters())
    assert sum(parameter.numel() for parameter in parameters) == count
    assert len(parameters) == tensors


def test_parameter_shapes_are_those_of_the_reference():
    shared = {(512, 1, 3, 3): 1, (512, 512, 3, 3): 1, (512, 10240): 1, (1024, 512): 1}
    with torch.device("meta"):
        conformer, deepspeech = (Counter(tuple(p.shape) for p in full(w).parameters()) for w in WORKLOADS)
    assert conformer == {
        **shared, (64,): 4, (512,): 77, (512, 1, 5): 4, (512, 512): 16, (512, 2048): 8, (1024,): 1,
        (1536,): 4, (1536, 512): 4, (2048,): 8, (2048, 512): 8,
    }  # fmt: skip
    assert deepspeech == {**shared, (512,): 26, (512, 512): 3, (1024,): 25, (1024, 256): 12, (1024, 512): 13}


def test_parameters_of_the_golden_size():
    counts = {
        (LibriSpeechConformer, None): 79_968,
        (LibriSpeechConformer, "layernorm"): 79_840,
        (LibriSpeechDeepSpeech, None): 45_840,
        (LibriSpeechDeepSpeech, "norm_and_spec_aug"): 45_776,
    }
    for (workload, variant), count in counts.items():
        assert sum(p.numel() for p in small(workload, variant).parameters()) == count


BOUNDS = {
    "subsampling.conv1.weight": 0.036049,
    "subsampling.conv2.weight": 0.025516,
    "subsampling.linear.weight": 0.023623,
    "blocks.0.feed_forward1.linear1.weight": 0.048412,
    "blocks.3.feed_forward2.linear2.weight": 0.048412,
    "blocks.0.attention.qkv.weight": 0.054127,
    "blocks.0.attention.out.weight": 0.076547,
    "blocks.0.convolution.content.weight": 0.076547,
    "blocks.0.convolution.gate.weight": 0.076547,
    "blocks.0.convolution.depthwise.weight": 0.048365,
    "head.weight": 0.0625,
    "layers.0.lstm.weight_ih": 0.0625,
    "layers.5.lstm.weight_hh_reverse": 0.0625,
    "layers.2.lstm.bias_ih": 0.0625,
    "layers.8.linear.weight": 0.076547,
}


def test_initialisation_is_that_of_the_reference():
    seen = set()
    for workload in WORKLOADS:
        for name, parameter in full(workload).named_parameters():
            if name in BOUNDS:
                seen.add(name)
                bound = BOUNDS[name]
                assert 0.95 * bound < parameter.abs().max() <= bound * (1 + 1e-4)
                assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)  # uniform
            elif parameter.ndim == 1 and "lstm" not in name:
                assert not parameter.any(), f"{name} does not start at 0"
    assert seen == set(BOUNDS)


def test_kinds_of_parameters():
    kinds = {name: kind for w in WORKLOADS for name, kind in parameter_kinds(small(w)).items()}
    expected = {
        "subsampling.conv1.weight": ParameterKind.CONV_WEIGHT,
        "blocks.0.attention.qkv.weight": ParameterKind.ATTENTION_QKV,
        "blocks.0.attention.qkv.bias": ParameterKind.ATTENTION_BIAS,
        "blocks.0.attention.out.weight": ParameterKind.ATTENTION_OUT,
        "blocks.0.attention.norm.scale": ParameterKind.LAYER_NORM_SCALE,
        "blocks.0.convolution.batch_norm.scale": ParameterKind.BATCH_NORM_SCALE,
        "blocks.0.convolution.batch_norm.bias": ParameterKind.BATCH_NORM_BIAS,
        "blocks.0.convolution.depthwise.weight": ParameterKind.CONV_WEIGHT,
        "layers.0.lstm.weight_ih": ParameterKind.WEIGHT,
        "layers.0.lstm.bias_hh_reverse": ParameterKind.BIAS,
        "layers.0.norm.scale": ParameterKind.BATCH_NORM_SCALE,
        "norm.bias": ParameterKind.LAYER_NORM_BIAS,
        "head.weight": ParameterKind.WEIGHT,
    }
    assert {name: kinds[name] for name in expected} == expected


def official_kind(name):
    """AlgoPerf's rule, which goes by what a name contains."""
    kind = ParameterKind
    scale = "scale" in name or "weight" in name
    if "bn" in name:
        return kind.BATCH_NORM_SCALE if scale else kind.BATCH_NORM_BIAS
    if "norm" in name or "ln" in name:
        return kind.LAYER_NORM_SCALE if scale else kind.LAYER_NORM_BIAS
    if "conv" in name:
        return kind.BIAS if "bias" in name else kind.CONV_WEIGHT
    if "attention" in name:
        if "bias" in name:
            return kind.ATTENTION_BIAS
        return next((k for part, k in ATTENTION_NAMES.items() if part in name), kind.WEIGHT)
    return kind.BIAS if "bias" in name else kind.WEIGHT


ATTENTION_NAMES = {"in_proj": ParameterKind.ATTENTION_QKV, "out_proj": ParameterKind.ATTENTION_OUT}

# Our names and AlgoPerf's, part by part.
OFFICIAL_PARTS = {
    LibriSpeechConformer: [
        ("subsampling.conv", "subsample.conv"),
        ("subsampling.linear", "subsample.linear"),
        ("feed_forward", "ff"),
        ("attention.norm", "mhsa.ln"),
        ("attention.qkv", "mhsa.self_attention.in_proj"),
        ("attention.query_scale", "mhsa.self_attention.qs"),
        ("attention.out", "mhsa.self_attention.out_proj"),
        ("convolution.content", "conv.lin1"),
        ("convolution.gate", "conv.lin2"),
        ("convolution.out", "conv.lin3"),
        ("convolution.depthwise", "conv.conv1"),
        ("convolution.batch_norm", "conv.bn"),
        ("convolution.norm", "conv.ln"),
        ("norm", "ln"),
        ("blocks", "conformers"),
        ("head", "lin"),
    ],
    LibriSpeechDeepSpeech: [
        ("subsampling.conv", "subsample.conv"),
        ("subsampling.linear", "subsample.lin"),
        ("feed_forward", "ffns"),
        ("layers", "lstms"),
        (".norm", ".bn_normalization_layer"),
        ("linear", "lin"),
        ("head", "lin"),
    ],
}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_kinds_of_parameters_are_what_algoperfs_rule_makes_of_its_own_names(workload):
    for name, kind in parameter_kinds(small(workload)).items():
        official = name
        for ours, theirs in OFFICIAL_PARTS[workload]:
            if ours in official:
                official = official.replace(ours, theirs)
                if ours.startswith(("attention", "convolution")):
                    break
        assert kind is official_kind(official), (name, official)


@pytest.mark.parametrize(
    ("workload", "close_to", "known"),
    [(LibriSpeechConformer, "gelo", "'gelu'.*: gelu, swish"), (LibriSpeechDeepSpeech, "thanh", "'tanh'.*: relu, tanh")],
)
def test_an_unknown_activation_is_named(workload, close_to, known):
    instance = workload(PlainSGD(), tiny=True)
    instance.spec = dataclasses.replace(instance.spec, model={**instance.spec.model, "activation": close_to})
    with pytest.raises(BadInputError, match=rf"Unknown activation '{close_to}'\. Did you mean {known}"):
        instance.build_model()
