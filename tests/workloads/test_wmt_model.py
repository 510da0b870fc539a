"""The Transformer of wmt, against the reference's golden numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.workloads.wmt.model import Transformer, sinusoids
from algoperf_lightning.workloads.wmt.spec import WMT_SPEC

VARIANTS = (None, *WMT_SPEC.variants)
SMALL = {"vocabulary": 40, "width": 32, "heads": 4, "feed_forward": 32, "layers": 2}

INPUTS = torch.tensor([[4, 11, 18, 25, 32, 39, 9, 16, 2, 0], [9, 16, 23, 30, 37, 2, 0, 0, 0, 0]])
TARGETS = torch.tensor([[4, 15, 26, 37, 11, 22, 33, 2, 0, 0], [7, 18, 29, 3, 14, 25, 36, 10, 21, 2]])
FULL_INPUTS = torch.tensor([[4, 11, 18, 25, 32, 39, 46, 53, 2, 0], [9, 16, 23, 30, 37, 2, 0, 0, 0, 0]])
FULL_TARGETS = torch.tensor([[4, 15, 26, 37, 48, 59, 70, 2, 0, 0], [7, 18, 29, 40, 51, 62, 73, 84, 95, 2]])

# Fill, variant: first logits, mean, standard deviation, loss without and with smoothing, right tokens, gradient norm.
GOLDEN = {
    ("a", None): (
        [0.000274849, -0.000390952, -0.000927131, -0.00115592, -0.00100146, -0.000514957, 0.000142276, 0.000752338],
        (-7.79045e-05, 0.000804554, 66.4040, 66.4035, 0, 0.0066797),
    ),
    ("a", "post_ln"): (
        [-0.000592183, -0.000321478, 5.58127e-05, 0.000414599, 0.000635924, 0.000646406, 0.00044257, 9.19985e-05],
        (3.4043e-05, 0.000462483, 66.3985, 66.3986, 1, 0.00612842),
    ),
    ("a", "attention_temp"): (
        [0.000274849, -0.000390952, -0.000927131, -0.00115592, -0.00100146, -0.000514957, 0.000142276, 0.000752338],
        (-7.79045e-05, 0.000804554, 66.4040, 66.4035, 0, 0.0066797),
    ),
    ("a", "glu_tanh"): (
        [0.00102573, 0.00108684, 0.000787605, 0.000227238, -0.000408471, -0.000908749, -0.00110773, -0.000939438],
        (-3.70284e-06, 0.00078795, 66.3989, 66.3990, 1, 0.00655579),
    ),
    ("b", None): (
        [0.0904012, 0.0994959, -0.235644, -0.223717, 0.198811, -0.0322695, 0.0416607, -0.216137],
        (0.00176369, 0.181684, 67.6013, 67.5103, 0, 0.179544),
    ),
    ("b", "post_ln"): (
        [0.0805241, 0.0273508, -0.12045, -0.15774, 0.132515, -0.0493707, 0.0042635, -0.105096],
        (0.00386206, 0.121373, 67.0755, 67.0211, 0, 0.108805),
    ),
    ("b", "attention_temp"): (
        [0.0900281, 0.100257, -0.236382, -0.224234, 0.198843, -0.0317419, 0.0423967, -0.216916],
        (0.00176836, 0.181762, 67.6016, 67.5107, 0, 0.179394),
    ),
    ("b", "glu_tanh"): (
        [-0.103257, 0.0670751, 0.00534154, 0.00954262, -0.0956171, 0.0976947, 0.0976157, -0.0109773],
        (0.00103191, 0.0732253, 66.6469, 66.6271, 0, 0.104293),
    ),
}
ROW_1 = [0.0895681, 0.101681, -0.238001, -0.225065, 0.199236, -0.0309278, 0.0432204, -0.218571]
ENCODED = [-0.21243, 0.109043, -0.0699587, 0.587982, 0.10941, -0.0905973, 0.162156, 0.0111114]
FULL_ENCODED = [0.0200912, 0.0198927, 0.00163514, -0.01598, -0.0168894, -0.00421673, 0.00804073, 0.0106073]
FULL_LOGITS = [0.00474568, 0.00400443, 0.00316189, 0.00223938, 0.00126023, 0.00024921, -0.000768117, -0.00176602]

# Two packed rows of ten places: ids, positions and segments of source and target.
PACKED = {
    "inputs": [[5, 6, 7, 2, 8, 9, 2, 0, 0, 0], [10, 11, 12, 13, 14, 2, 0, 0, 0, 0]],
    "inputs_position": [[0, 1, 2, 3, 0, 1, 2, 0, 0, 0], [0, 1, 2, 3, 4, 5, 0, 0, 0, 0]],
    "inputs_segmentation": [[1, 1, 1, 1, 2, 2, 2, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]],
    "targets": [[20, 21, 2, 22, 23, 24, 2, 0, 0, 0], [25, 26, 27, 2, 0, 0, 0, 0, 0, 0]],
    "targets_position": [[0, 1, 2, 0, 1, 2, 3, 0, 0, 0], [0, 1, 2, 3, 0, 0, 0, 0, 0, 0]],
    "targets_segmentation": [[1, 1, 1, 2, 2, 2, 2, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]],
}


def packed():
    return {name: torch.tensor(rows) for name, rows in PACKED.items()}


def filled(fill, variant=None, **options):
    """A model in evaluation mode, small unless told otherwise, with the values of fill "a" or "b"."""
    spec = WMT_SPEC.of(variant=variant)
    model = Transformer(**{**spec.model, **(options or SMALL)}).eval()
    start = 0
    with torch.no_grad():
        for parameter in model.parameters():
            k = np.arange(start, start + parameter.numel(), dtype=np.float64)
            values = 0.02 * np.sin(k) if fill == "a" else 0.3 * np.sin(1.2345 * k + k % 97)
            parameter.copy_(torch.from_numpy(values).view_as(parameter))
            start += parameter.numel()
    return model


def summed_loss(logits, targets, smoothing=0.0):
    losses = F.cross_entropy(
        logits.double().flatten(0, 1), targets.flatten(), reduction="none", label_smoothing=smoothing
    )
    return losses[targets.flatten() > 0].sum()


def gradient_norm(model):
    return torch.stack([parameter.grad.double().norm() for parameter in model.parameters()]).norm().item()


@pytest.mark.parametrize(("fill", "variant"), GOLDEN, ids=str)
def test_outputs_losses_and_gradients_are_those_of_the_reference(fill, variant):
    first, (mean, std, plain, smoothed, right, norm) = GOLDEN[fill, variant]
    model = filled(fill, variant)
    logits = model(INPUTS, TARGETS)
    torch.testing.assert_close(logits[0, 0, :8], torch.tensor(first), rtol=1e-4, atol=1e-8)
    assert logits.double().mean().item() == pytest.approx(mean, rel=1e-4)
    assert logits.double().std(correction=0).item() == pytest.approx(std, rel=1e-4)
    assert summed_loss(logits, TARGETS).item() == pytest.approx(plain, rel=2e-6)
    assert summed_loss(logits, TARGETS, 0.1).item() == pytest.approx(smoothed, rel=2e-6)
    assert int(((logits.argmax(-1) == TARGETS) & (TARGETS > 0)).sum()) == right
    (summed_loss(logits, TARGETS) / 18).backward()
    assert gradient_norm(model) == pytest.approx(norm, rel=1e-4)


def test_second_row_and_encoder_are_those_of_the_reference():
    model = filled("b")
    with torch.no_grad():
        torch.testing.assert_close(model(INPUTS, TARGETS)[1, 0, :8], torch.tensor(ROW_1), rtol=1e-4, atol=1e-6)
        encoded = model.encode(INPUTS)
    torch.testing.assert_close(encoded[0, 0, :8], torch.tensor(ENCODED), rtol=1e-4, atol=1e-6)
    assert encoded.double().mean().item() == pytest.approx(0.0197404, rel=1e-4)
    assert encoded.double().std(correction=0).item() == pytest.approx(0.256657, rel=1e-4)


@pytest.mark.slow
def test_full_size_is_that_of_the_reference():
    model = filled("a", layers=6)
    with torch.no_grad():
        encoded = model.encode(FULL_INPUTS)
    torch.testing.assert_close(encoded[0, 0, :8], torch.tensor(FULL_ENCODED), rtol=1e-4, atol=1e-7)
    assert encoded.double().mean().item() == pytest.approx(-9.24183e-06, rel=1e-3)
    assert encoded.double().std(correction=0).item() == pytest.approx(0.0199951, rel=1e-4)
    logits = model(FULL_INPUTS, FULL_TARGETS)
    torch.testing.assert_close(logits[0, 0, :8], torch.tensor(FULL_LOGITS), rtol=1e-4, atol=1e-7)
    assert logits.detach().double().mean().item() == pytest.approx(-1.30855e-06, rel=1e-3)
    assert logits.detach().double().std(correction=0).item() == pytest.approx(0.00452535, rel=1e-4)
    assert summed_loss(logits.detach(), FULL_TARGETS).item() == pytest.approx(186.72489, abs=2e-4)
    assert summed_loss(logits.detach(), FULL_TARGETS, 0.1).item() == pytest.approx(186.72470, abs=2e-4)
    (summed_loss(logits, FULL_TARGETS) / 18).backward()
    assert gradient_norm(model) == pytest.approx(0.00562078, rel=1e-4)


def test_packed_rows_are_those_of_the_reference():
    model, batch = filled("b"), packed()
    with torch.no_grad():
        logits = model(**batch)
        first = [0.0880467, 0.104527, -0.240633, -0.226968, 0.199178, -0.0288632, 0.0457551, -0.221383]
        torch.testing.assert_close(logits[0, 0, :8], torch.tensor(first), rtol=1e-4, atol=1e-6)
        second = [0.0727623, 0.114868, -0.240445, -0.228885, 0.185325, -0.0142631, 0.0635264, -0.223597]
        torch.testing.assert_close(logits[0, 3, :8], torch.tensor(second), rtol=1e-4, atol=1e-6)
        assert logits.double().mean().item() == pytest.approx(0.00150659, rel=1e-4)
        assert logits.double().std(correction=0).item() == pytest.approx(0.170558, rel=1e-4)
        assert summed_loss(logits, batch["targets"]).item() == pytest.approx(41.4688, rel=2e-6)
        batch["targets"][0, 2] = 30
        moved = model(**batch)
    # The decoder's input is shifted over the border of sentences, as in the benchmark.
    assert (moved - logits)[0, 3].abs().max().item() == pytest.approx(0.0186364, rel=1e-4)
    assert torch.equal(moved[0, :3], logits[0, :3])


def test_sentences_of_a_packed_row_see_nothing_of_each_other():
    model, batch = filled("b"), packed()
    with torch.no_grad():
        logits = model(**batch)
        alone = model(torch.tensor([[5, 6, 7, 2]]), torch.tensor([[20, 21, 2]]))
        torch.testing.assert_close(logits[0, :3], alone[0], rtol=1e-5, atol=1e-6)
        batch["inputs"][0, :4] = 33
        batch["targets"][0, :2] = 33
        torch.testing.assert_close(model(**batch)[0, 3:7], logits[0, 3:7], rtol=1e-6, atol=1e-7)


def test_masks_are_those_of_the_reference(monkeypatch):
    model, masks = filled("a"), []
    bias_of = model.bias_of
    monkeypatch.setattr(model, "bias_of", lambda mask: masks.append(mask.int().tolist()[0]) or bias_of(mask))
    model(torch.tensor([[5, 6, 2, 0]]), torch.tensor([[7, 2, 0]]))
    encoder, own, read = masks
    assert encoder == [[1, 1, 1, 0]] * 3 + [[0] * 4]
    assert own == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert read == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]


def test_no_logit_sees_a_later_target_or_padding():
    model = filled("b")
    with torch.no_grad():
        logits = model(INPUTS, TARGETS)
        changed = TARGETS.clone()
        changed[:, 5] = 35
        later = model(INPUTS, changed)
        assert torch.equal(later[:, :6], logits[:, :6])
        assert not torch.allclose(later[:, 6], logits[:, 6])
        wider = model(F.pad(INPUTS, (0, 3)), TARGETS)
    written = TARGETS > 0
    torch.testing.assert_close(wider[written], logits[written], rtol=1e-5, atol=1e-6)


def test_an_unknown_token_within_a_sentence_is_seen_by_nobody():
    model, inputs = filled("b"), INPUTS.clone()
    inputs[0, 3] = 0
    with torch.no_grad():
        encoded = model.encode(inputs)
        model.shared_embedding.weight[0] *= -2
        changed = model.encode(inputs)
    known = inputs > 0
    assert torch.equal(changed[known], encoded[known])
    assert not torch.allclose(changed[0, 3], encoded[0, 3])


@pytest.mark.parametrize(
    ("variant", "count", "tensors", "shapes"),
    [
        (None, 133_521_408, 155, {(1024,): 88, (1024, 1024): 48}),
        ("post_ln", 133_517_312, 151, {(1024,): 84, (1024, 1024): 48}),
        ("attention_temp", 133_521_408, 155, {(1024,): 88, (1024, 1024): 48}),
        ("glu_tanh", 146_116_608, 179, {(1024,): 100, (1024, 1024): 60}),
    ],
)
def test_parameters_are_those_of_the_reference(variant, count, tensors, shapes):
    with torch.device("meta"):
        model = Transformer(**WMT_SPEC.of(variant=variant).model)
    parameters = [tuple(parameter.shape) for parameter in model.parameters()]
    assert (sum(p.numel() for p in model.parameters()), len(parameters)) == (count, tensors)
    assert Counter(parameters) == {**shapes, (2048, 1024): 6, (3072, 1024): 12, (32000, 1024): 1}


def test_kinds_of_parameters_are_those_of_the_reference():
    with torch.device("meta"):
        model = Transformer()
    kind = ParameterKind
    assert Counter(parameter_kinds(model).values()) == {
        kind.EMBEDDING: 1,
        kind.ATTENTION_QKV: 12,
        kind.ATTENTION_Q: 6,
        kind.ATTENTION_KV: 6,
        kind.ATTENTION_OUT: 18,
        kind.LAYER_NORM_SCALE: 32,
        kind.LAYER_NORM_BIAS: 32,
        kind.WEIGHT: 24,
        kind.BIAS: 24,
    }


def test_positions_are_those_of_the_reference():
    table = sinusoids(256, 1024)
    assert table.shape == (256, 1024)
    torch.testing.assert_close(table[1, :4], torch.tensor([0.841471, 0.831686, 0.821818, 0.811879]), rtol=0, atol=1e-6)
    cosines = torch.tensor([0.540302, 0.555246, 0.569751, 0.583826])
    torch.testing.assert_close(table[1, 512:516], cosines, rtol=0, atol=1e-6)
    assert table[255, 511].item() == pytest.approx(0.0254972, abs=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_initial_values_are_distributed_as_in_the_reference(variant):
    torch.manual_seed(0)
    model = Transformer(**{**WMT_SPEC.of(variant=variant).model, "layers": 1, "vocabulary": 500})
    bounds = {(1024, 1024): 0.054127, (3072, 1024): 0.038273, (2048, 1024): 0.044194}
    seen = set()
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        if name == "shared_embedding.weight":
            assert values.mean().item() == pytest.approx(0, abs=0.01)
            assert values.std().item() == pytest.approx(1, abs=0.01)
        elif tuple(values.shape) in bounds:
            bound = bounds[tuple(values.shape)]
            assert values.abs().max().item() == pytest.approx(bound, rel=1e-3)
            assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
            seen.add(tuple(values[0, :3].tolist()))
        elif "linear" in name:
            assert values.std().item() == pytest.approx(1e-6, rel=0.1)
        else:
            assert torch.equal(values, torch.full_like(values, float(name.endswith("weight"))))
    assert len(seen) == sum(parameter.ndim == 2 for parameter in model.parameters()) - 1, "two layers start alike"


def test_an_unknown_activation_is_named():
    with pytest.raises(
        BadInputError, match=r"Unknown activation 'relus'\. Did you mean 'relu'\? Choose from: relu, tanh"
    ):
        Transformer(**SMALL, activation="relus")


def test_dropout_is_one_rate_everywhere_and_off_in_evaluation():
    model = Transformer(**SMALL, dropout=0.3)
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.3] * (1 + 2 * 2 * 2 + 2 + 2 * 2)  # embedding; blocks and feed-forwards; attention weights
    with torch.no_grad():
        assert not torch.equal(model(INPUTS, TARGETS), model(INPUTS, TARGETS))
        model.eval()
        assert torch.equal(model(INPUTS, TARGETS), model(INPUTS, TARGETS))
        off = Transformer(**SMALL, dropout=0.0)
        off.load_state_dict(model.state_dict())
        torch.testing.assert_close(off.train()(INPUTS, TARGETS), model(INPUTS, TARGETS))


def test_compiled_as_one_graph_it_is_not_compiled_again_for_another_batch():
    model = Transformer(**{**SMALL, "layers": 1})
    torch._dynamo.reset()
    model.compile(backend="eager", fullgraph=True)
    batch = packed()
    model(**batch).sum().backward()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(2):
            batch = {name: values.flip(0).clone() for name, values in batch.items()}
            batch["targets"][:, 0] += 1
            model(**batch).sum().backward()
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_in_half_precision_rows_of_padding_stay_finite(dtype):
    model = filled("b")
    with torch.no_grad():
        expected = model(INPUTS, TARGETS)
        with torch.autocast("cpu", dtype):
            logits = model(INPUTS, TARGETS)
    assert logits.dtype == dtype
    torch.testing.assert_close(logits[TARGETS > 0].float(), expected[TARGETS > 0], rtol=0.05, atol=0.02)
    assert torch.isfinite(logits).all()
