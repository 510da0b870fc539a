"""The model and the loss of imagenet_vit against values of the official PyTorch code."""

from collections import Counter

import numpy as np
import pytest
import torch
from golden import fill_a, fill_c, h
from torch._dynamo.testing import CompileCounter

from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads.imagenet.mixup import mixup
from algoperf_lightning.workloads.imagenet.spec import IMAGENET_VIT
from algoperf_lightning.workloads.imagenet.vit import Mlp, PoolingAttention, SelfAttention, position_embedding
from algoperf_lightning.workloads.imagenet.vit_workload import ImageNetViT

VARIANTS = {"base": None, "glu": "glu", "post_ln": "post_ln", "map": "map"}
K = ParameterKind

# Normalised pixels, as the reference values have them; the model is asked directly.
ELEMENTS = 2 * 3 * 224 * 224
INPUTS_A = torch.from_numpy(np.sin(0.1 * np.arange(ELEMENTS))).float().view(2, 3, 224, 224)
INPUTS_C = torch.from_numpy(h(0, ELEMENTS)).float().view(2, 3, 224, 224)

SINE = {
    "base": [-0.00336642, 0.0360138, 0.0654409, 0.0651630, 0.0273888, -0.0324943, -0.0803200, -0.0840291],
    "glu": [-0.00628645, 0.0333460, 0.0644324, 0.0667338, 0.0311295, -0.0284673, -0.0784171, -0.0856218],
    "post_ln": [-0.0648547, -0.0544034, -0.0141973, 0.0411366, 0.0820171, 0.0803760, 0.0306680, -0.0414764],
    "map": [-0.00642730, 0.0376792, 0.0709934, 0.0718045, 0.0317725, -0.0325774, -0.0848282, -0.0906904],
}
HASH = {
    "base": [0.0398982, 1.67154, 1.97776, 0.225184, -0.223350, -1.01779, -0.778048, -0.627447],
    "glu": [-1.15421, -0.261830, -0.255991, -1.13352, 0.225846, 0.559491, -0.134195, -0.376053],
    "post_ln": [1.09690, 0.105422, 0.828414, 0.609800, -1.58229, 0.870721, 1.08486, 1.34215],
    "map": [0.197204, -0.558636, 0.143312, 1.21138, -1.66274, 0.154876, 1.00233, -0.952327],
}
MOMENTS = {  # mean and standard deviation of all logits, for both fills
    "base": ((0.000188192, 0.0538096), (-0.0134264, 1.02047)),
    "glu": ((0.000186339, 0.0538177), (-0.00122348, 0.856949)),
    "post_ln": ((-2.83727e-05, 0.0578979), (0.0193404, 1.00368)),
    "map": ((0.000200747, 0.0576268), (0.0426171, 1.25793)),
}
LARGEST = {"base": [939, 113], "glu": [127, 31], "post_ln": [945, 861], "map": [332, 80]}
LOSSES = {  # of each example, and summed over the mixed batch; the hash fill, without smoothing
    "base": ([8.43476, 7.09080], 15.2353),
    "glu": ([6.72428, 8.17728], 14.5860),
    "post_ln": ([6.57326, 7.00511], 13.8863),
    "map": ([7.56523, 9.53060], 17.3819),
}
COMMON_SHAPES = {
    (384, 3, 16, 16): 1,
    (384, 384): 49,
    (384, 1536): 12,
    (1000,): 1,
    (1000, 384): 1,
    (1536, 384): 12,
}
SHAPES = {
    "base": {**COMMON_SHAPES, (384,): 112, (1536,): 12},
    "glu": {**COMMON_SHAPES, (384,): 112, (1536,): 24, (1536, 1536): 12},
    "post_ln": {**COMMON_SHAPES, (384,): 110, (1536,): 12},
    "map": {
        **COMMON_SHAPES,
        (384,): 117,
        (1536,): 13,
        (1, 1, 384): 1,
        (384, 384): 51,
        (384, 1536): 13,
        (768,): 1,
        (768, 384): 1,
        (1536, 384): 13,
    },
}
COUNTS = {"base": 22_122_472, "glu": 50_452_456, "post_ln": 22_121_704, "map": 23_896_552}


def make(variant, *, tiny=False, submission=None):
    return ImageNetViT(submission or PlainSGD(), variant=VARIANTS[variant], tiny=tiny)


def small_model(variant="base", dropout=0.0):
    """A model at tiny size whose outputs depend on everything in it."""
    submission = Submission()
    submission.dropout = dropout
    model = make(variant, tiny=True, submission=submission).build_model()
    fill_c(model)
    return model


def pixels(count):
    return 255 * torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


# Model


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_and_losses_are_those_of_the_reference(variant):
    workload = make(variant)
    workload.model = workload.build_model().eval()
    sine, hashes = MOMENTS[variant]
    tolerances = {"rtol": 1e-5, "atol": 5e-6}
    with torch.no_grad():
        fill_a(workload.model)
        logits = workload.network(INPUTS_A)
        torch.testing.assert_close(logits[0, :8], torch.tensor(SINE[variant]), **tolerances)
        assert logits.double().mean().item() == pytest.approx(sine[0], abs=1e-7)
        assert logits.double().std(correction=0).item() == pytest.approx(sine[1], rel=1e-5)
        fill_c(workload.model)
        logits = workload.network(INPUTS_C)
    torch.testing.assert_close(logits[0, :8], torch.tensor(HASH[variant]), **tolerances)
    assert logits.double().mean().item() == pytest.approx(hashes[0], abs=2e-6)
    assert logits.double().std(correction=0).item() == pytest.approx(hashes[1], rel=1e-5)
    assert logits.argmax(1).tolist() == LARGEST[variant]
    workload.model.forward = lambda images: logits  # the loss has its own tests of what it feeds the model
    hard, mixed = LOSSES[variant]
    labels = torch.tensor([5, 42])
    batch = {"inputs": torch.zeros(2, 3, 224, 224), "targets": labels}
    torch.testing.assert_close(workload.loss(batch).per_example, torch.tensor(hard), rtol=1e-5, atol=0)
    loss = workload.loss(mixup(batch, 0.3, 1000))
    assert loss.per_example.sum().item() == pytest.approx(mixed, rel=1e-5)
    if variant == "base":
        for smoothing, hard, mixed in (
            (0.1, [8.33387, 7.12504], 15.1977),
            (0.2, [8.23299, 7.15927], 15.1601),
        ):
            loss = workload.loss(batch, label_smoothing=smoothing)
            torch.testing.assert_close(loss.per_example, torch.tensor(hard), rtol=1e-5, atol=0)
            loss = workload.loss(mixup(batch, 0.3, 1000), label_smoothing=smoothing)
            assert loss.per_example.sum().item() == pytest.approx(mixed, rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_those_of_the_reference(variant):
    with torch.device("meta"):
        model = make(variant).build_model()
    parameters = dict(model.named_parameters())
    assert sum(p.numel() for p in parameters.values()) == COUNTS[variant]
    assert Counter(tuple(p.shape) for p in parameters.values()) == SHAPES[variant]
    assert not list(model.buffers())
    names = list(parameters)
    start = ["pre_logits.weight", "pre_logits.bias", "conv_patch_extract.weight", "conv_patch_extract.bias"]
    assert names[:4] == start
    block = [
        *("layer_norm0.weight", "layer_norm0.bias"),
        *(f"self_attention1.{name}.{part}" for name in ("query", "key", "value", "out") for part in ("weight", "bias")),
        *("layer_norm2.weight", "layer_norm2.bias", "mlp3.linear1.weight", "mlp3.linear1.bias"),
        *(("mlp3.glu_linear.weight", "mlp3.glu_linear.bias") if variant == "glu" else ()),
        *("mlp3.linear2.weight", "mlp3.linear2.bias"),
    ]
    assert names[4 : 4 + 12 * len(block)] == [f"encoder.net.{b}.{name}" for b in range(12) for name in block]
    rest = [] if variant == "post_ln" else ["encoder.encoder_norm.weight", "encoder.encoder_norm.bias"]
    rest += ["head.weight", "head.bias"]
    if variant == "map":
        rest.append("map.probe")
        layers = ("mha.q_proj", "mha.kv_proj", "mha.out_proj", "layer_norm", "mlp.linear1", "mlp.linear2")
        rest += [f"map.{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert names[4 + 12 * len(block) :] == rest


def test_parameter_kinds_are_those_of_the_reference():
    kinds = Counter(parameter_kinds(make("base").build_model()).values())
    attention = {K.ATTENTION_Q: 12, K.ATTENTION_K: 12, K.ATTENTION_V: 12, K.ATTENTION_OUT: 12, K.ATTENTION_BIAS: 48}
    norms = {K.LAYER_NORM_SCALE: 25, K.LAYER_NORM_BIAS: 25}
    assert kinds == {**attention, **norms, K.CONV_WEIGHT: 1, K.WEIGHT: 26, K.BIAS: 27}
    of_map = {name: kind for name, kind in parameter_kinds(small_model("map")).items() if name.startswith("map.")}
    norms = {"map.layer_norm.weight": K.LAYER_NORM_SCALE, "map.layer_norm.bias": K.LAYER_NORM_BIAS}
    plain = {name: K.BIAS if name.endswith("bias") else K.WEIGHT for name in of_map}
    assert of_map == {**plain, **norms}


def test_position_embedding_is_that_of_the_reference():
    embedding = position_embedding(384, 14, 14)
    assert embedding.shape == (1, 196, 384)
    assert embedding.double().sum().item() == pytest.approx(34742.763, rel=1e-7)
    assert embedding.double().mean().item() == pytest.approx(0.461612, rel=2e-6)
    assert embedding.double().std(correction=0).item() == pytest.approx(0.535644, rel=2e-6)
    token = embedding[0, 17, [0, 1, 95, 96, 191, 192, 193, 287, 288, 383]]
    expected = [0.141120, 0.406656, 0.000300000, -0.989992, 1.0, 0.841471, 0.788029, 0.000100000, 0.540302, 1.0]
    torch.testing.assert_close(token, torch.tensor(expected), rtol=2e-6, atol=1e-9)
    assert torch.equal(position_embedding(384, 3, 5)[0, 7], position_embedding(384, 14, 14)[0, 16])  # x = 2, y = 1


def test_initialisation_follows_the_reference():
    torch.manual_seed(0)
    model = make("map").build_model()
    for layer, fan_in in ((model.conv_patch_extract, 768), (model.pre_logits, 384)):
        std = fan_in**-0.5
        assert layer.weight.std().item() == pytest.approx(std, rel=0.01)
        assert 2.2 * std < layer.weight.abs().max().item() <= 2 * std / 0.8796  # cut at +-2 of the wider normal
        assert (layer.bias == 0).all()
    bounds = Counter()
    for module in model.modules():
        if isinstance(module, (SelfAttention, Mlp, PoolingAttention)):
            for layer in module.children():
                if isinstance(layer, torch.nn.Linear):
                    bound = (6 / sum(layer.weight.shape)) ** 0.5
                    assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
                    assert 0.999 * bound < layer.weight.abs().max().item() <= bound
                    bounds[round(bound, 4)] += 1
                    if isinstance(module, SelfAttention):
                        assert (layer.bias == 0).all()
                    else:
                        assert layer.bias.std().item() == pytest.approx(1e-6, rel=0.15)
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == 1e-6
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
    assert bounds == {0.0884: 50, 0.0559: 26, 0.0722: 1}  # square, MLP, keys and values together
    assert model.map.probe.abs().max().item() <= 0.0883884
    assert model.map.probe.std().item() == pytest.approx(0.0883883 / 3**0.5, rel=0.1)
    assert (model.head.weight == 0).all()
    assert (model.head.bias == 0).all()


def test_the_first_loss_is_the_same_for_all_and_moves_only_the_head():
    workload = make("base", tiny=True)
    workload.model = workload.build_model()
    classes = workload.spec.data["classes"]
    loss = workload.loss(mixup({"inputs": pixels(4), "targets": torch.arange(4)}, 0.3, classes)).per_example
    torch.testing.assert_close(loss, torch.full((4,), float(np.log(classes))))
    loss.sum().backward()
    moved = {name for name, p in workload.network.named_parameters() if p.grad.abs().max() > 0}
    assert moved == {"head.weight", "head.bias"} == workload.view.output_parameters


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant):
    model = small_model(variant)
    model(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    for name, parameter in model.named_parameters():
        if not name.endswith("key.bias"):  # softmax does not see it
            assert parameter.grad.abs().max() > 1e-6, name


# Dropout


def test_there_is_none_by_default_and_the_submission_sets_its_rate():
    def rates(model):
        drops = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
        attentions = [module for module in model.modules() if isinstance(module, (SelfAttention, PoolingAttention))]
        return drops | {module.dropout.p for module in attentions}

    assert rates(make("map", tiny=True).build_model()) == {0.0}
    assert rates(small_model("map", dropout=0.1)) == {0.1}


def test_dropout_falls_on_attention_probabilities_in_training_only():
    attention = SelfAttention(8, heads=2, dropout=0.5)
    with torch.no_grad():
        for layer in (attention.query, attention.key, attention.value, attention.out):
            layer.weight.copy_(torch.eye(8))
        attention.value.weight.zero_()  # all values 1: what comes out is the sum of the probabilities
        attention.value.bias.fill_(1.0)
        tokens = torch.randn(4, 64, 8)
        kept = attention.train()(tokens)
        assert torch.allclose(attention.eval()(tokens), torch.ones(4, 64, 8))
    assert kept.std() > 0.05
    assert kept.mean() == pytest.approx(1.0, abs=0.1)
    heads = kept.view(4, 64, 2, 4)
    assert torch.allclose(heads, heads[..., :1].expand_as(heads))  # a probability is dropped for a head as a whole
    assert not torch.allclose(heads[:, :, 0], heads[:, :, 1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_dropout_falls_where_the_reference_has_it(variant, monkeypatch):
    seen = []

    def note(self, values):
        seen.append(tuple(values.shape[1:]))
        return values

    monkeypatch.setattr(torch.nn.Dropout, "forward", note)
    small_model(variant, dropout=0.1)(pixels(2))
    block = [(64, 64), (64, 128), (64, 64)]  # after attention; in the MLP; after it
    pooling = [(1, 128)] if variant == "map" else []
    assert seen == [(64, 64), *block * IMAGENET_VIT.of(tiny=True).model["depth"], *pooling]


# Compilation and precision


@pytest.mark.parametrize("variant", VARIANTS)
def test_model_is_one_graph_compiled_once(variant):
    torch._dynamo.reset()
    counter = CompileCounter()
    model = small_model(variant, dropout=0.1)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for seed in range(3):
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
        torch.manual_seed(seed)
        got = compiled(images)
        torch.manual_seed(seed)
        torch.testing.assert_close(got, model(images), rtol=1e-5, atol=1e-5)
    assert counter.frame_count == 1
    torch._dynamo.reset()


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_gives_nearly_the_same_gradients(variant):
    gradients = []
    for enabled in (False, True):
        workload = make(variant, tiny=True)
        workload.model = small_model(variant)
        batch = mixup({"inputs": pixels(4), "targets": torch.arange(4)}, 0.7, workload.spec.data["classes"])
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = workload.loss(batch, label_smoothing=0.1).per_example
        assert loss.dtype == torch.float32
        loss.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in workload.network.parameters()]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99
