"""Both speech models against the benchmark's numbers: outputs, losses, gradients, stages."""

import math

import pytest
import torch
from golden import fill_a
from librispeech_golden import (
    FEATURE_LENGTHS,
    FEATURES,
    SMALL,
    WAVE_LENGTHS,
    WAVES,
    WORKLOADS,
    close,
    fill_strong,
    full,
    labels,
    small,
)
from torch import nn

from algoperf_lightning.workloads import LibriSpeechConformer, LibriSpeechDeepSpeech
from algoperf_lightning.workloads.librispeech.conformer import positions
from algoperf_lightning.workloads.librispeech.ctc import ctc_loss
from algoperf_lightning.workloads.librispeech.layers import Subsampling


def losses_of(logits, lengths):
    batch = labels(logits.shape[-1])
    loss = ctc_loss(logits, lengths, batch)
    assert loss.weight.tolist() == [6, 4]
    return loss.per_example


# Outputs at full size

FULL = {
    LibriSpeechConformer: {
        "features": (
            [-0.211477, 0.227277, -0.191695, 0.212062, -0.219257, 0.180683, -0.200752, 0.199324],
            [-0.211389, 0.227195, -0.19162, 0.211993, -0.219197, 0.18063, -0.200707, 0.199287],
            0.142981,
            [79.7316, 62.1289],
        ),
        "audio": (
            [-0.211474, 0.227275, -0.191694, 0.212063, -0.21926, 0.180687, -0.200757, 0.19933],
            None,
            0.145389,
            [155.734, 120.376],
        ),
    },
    LibriSpeechDeepSpeech: {
        "features": (
            [0.790646, -0.78151, 0.749994, -0.772761, 0.744274, -0.702137, 0.71157, -0.6649],
            [0.79175, -0.782621, 0.751103, -0.773862, 0.745359, -0.7032, 0.712604, -0.665899],
            1.77726,
            [79.0050, 59.1519],
        ),
        "audio": (
            [0.790506, -0.781379, 0.749873, -0.772651, 0.744174, -0.702049, 0.711495, -0.664838],
            None,
            1.81194,
            [150.745, 113.492],
        ),
    },
}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_full_size_is_that_of_the_reference(workload):
    model = full(workload).eval()
    fill_a(model)
    for case, (first, second, std, losses) in FULL[workload].items():
        with torch.no_grad():
            if case == "features":
                logits, lengths = model.from_features(FEATURES, FEATURE_LENGTHS)
            else:
                logits, lengths = model(WAVES, WAVE_LENGTHS)
        assert lengths.tolist() == ([13, 10] if case == "features" else [25, 19])
        assert close(logits[0, 0, :8], first)
        assert second is None or close(logits[1, 0, :8], second)
        assert logits.double().std(correction=0).item() == pytest.approx(std, rel=1e-4)
        assert losses_of(logits, lengths).tolist() == pytest.approx(losses, rel=1e-4)


# Outputs at small size


@pytest.mark.parametrize("row", SMALL, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}{'-train' * row[3]}")
def test_outputs_losses_and_gradients_are_those_of_the_reference(row):
    fill, workload, variant, training, mean, std, losses, norm, first = row
    fill = {"sine": fill_a, "strong": fill_strong}[fill]
    workload = {"conformer": LibriSpeechConformer, "deepspeech": LibriSpeechDeepSpeech}[workload]
    model = small(workload, variant).train(training)
    fill(model)
    logits, lengths = model.from_features(FEATURES, FEATURE_LENGTHS)
    per_example = losses_of(logits, lengths)
    (per_example.sum() / 10).backward()
    assert close(logits[0, 0, :8], first)
    assert logits.double().mean().item() == pytest.approx(mean, abs=1e-5 * max(1, std))
    assert logits.double().std(correction=0).item() == pytest.approx(std, rel=1e-4)
    assert per_example.tolist() == pytest.approx(losses, rel=1e-4)
    gradient = torch.stack([p.grad.double().square().sum() for p in model.parameters()]).sum().sqrt()
    assert gradient.item() == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize(
    ("workload", "first", "std", "losses"),
    [
        (
            LibriSpeechConformer,
            [3.11397e-05, 0.0462533, 0.0831143, 0.0871257, 0.0505568, -0.0101177, -0.0636795, -0.0847236],
            0.0765443,
            [51.2787, 39.5771],
        ),
        (
            LibriSpeechDeepSpeech,
            [-0.156865, -0.319978, -0.388609, -0.333105, -0.160637, 0.0768458, 0.295031, 0.410323],
            0.256543,
            [50.5353, 40.1305],
        ),
    ],
)
def test_small_size_from_audio_is_that_of_the_reference(workload, first, std, losses):
    model = small(workload).eval()
    fill_a(model)
    logits, lengths = model(WAVES, WAVE_LENGTHS)
    assert close(logits[0, 0, :8], first)
    assert logits.double().std(correction=0).item() == pytest.approx(std, rel=1e-4)
    assert losses_of(logits, lengths).tolist() == pytest.approx(losses, rel=1e-4)


def test_running_statistics_are_those_of_the_reference():
    expected = {
        (LibriSpeechConformer, "blocks.0.convolution.batch_norm"): (
            [-3.25501e-05, -5.62498e-05, 5.52896e-07, -8.31372e-05],
            [0.999008, 0.999002, 0.999001, 0.999003],
        ),
        (LibriSpeechConformer, "blocks.1.convolution.batch_norm"): (
            [-0.000117659, 2.4597e-05, -2.38208e-06, -5.85523e-05],
            None,
        ),
        (LibriSpeechDeepSpeech, "layers.0.norm"): (
            [-0.000840609, 0.000311407, 0.000888219, -0.000507206],
            [0.999018, 0.999003, 0.999008, 0.999007],
        ),
        (LibriSpeechDeepSpeech, "layers.3.norm"): (
            [0.000367489, 0.00127647, 0.000994933, -0.000810452],
            [1.00061, 0.99968, 0.999039, 0.999125],
        ),
    }
    for (workload, name), (mean, var) in expected.items():
        model = small(workload).train()
        fill_strong(model)
        model.from_features(FEATURES, FEATURE_LENGTHS)
        norm = dict(model.named_modules())[name]
        assert close(norm.running_mean[:4], mean)
        assert var is None or close(norm.running_var[:4], var, 5e-6)


# Stages


def stages(model, names):
    """What the modules of these names return."""
    outputs = {}
    modules = dict(model.named_modules())
    for name in names:
        modules[name].register_forward_hook(lambda module, inputs, output, name=name: outputs.update({name: output}))
    model.from_features(FEATURES, FEATURE_LENGTHS)
    return outputs


def test_stages_of_the_conformer_are_those_of_the_reference():
    model = small(LibriSpeechConformer).eval()
    fill_strong(model)
    names = ["dropout", "blocks.0.feed_forward1", "blocks.0.attention", "blocks.0.convolution", "blocks.0", "blocks.1"]
    out = stages(model, names)
    x = out["dropout"]
    assert close(x[0, 0, :4], [-1.0354, 0.210376, 0.870051, -0.484079])
    x = x + 0.5 * out["blocks.0.feed_forward1"]
    assert close(x[0, 0, :4], [-0.42914, 0.177494, 1.64928, 0.062979])
    x = x + out["blocks.0.attention"]
    assert close(x[0, 0, :4], [1.12086, -0.593039, 1.29969, -0.444127])
    x = x + out["blocks.0.convolution"]
    assert close(x[0, 0, :4], [1.64708, -1.16683, 1.21202, -0.449785])
    assert close(out["blocks.0"][0, 0, :4], [1.14465, -0.521467, 0.794238, 0.00684098])
    assert close(out["blocks.1"][0, 0, :4], [1.22245, -1.215, 0.789604, 0.466876])


def test_stages_of_deepspeech_are_those_of_the_reference():
    model = small(LibriSpeechDeepSpeech).eval()
    fill_strong(model)
    out = stages(model, ["dropout", *(f"layers.{number}" for number in range(4))])
    x = out["dropout"]
    expected = [
        ([-1.0354, 0.210376, 0.870051, -0.484079], 0.424327),
        ([-0.891982, 0.170698, 0.942842, -0.585607], 0.46255),
        ([-0.879586, 0.441811, 0.786418, -0.761524], 0.572783),
        ([-0.0609714, 0.44535, 0.786418, -0.761524], 0.694617),
        ([-0.0609714, 0.44535, 0.786418, 0.0550398], 0.694246),
    ]
    for number, (first, std) in enumerate(expected):
        assert close(x[0, 0, :4], first)
        assert x.double().std(correction=0).item() == pytest.approx(std, rel=1e-4)
        if number < 4:
            x = x + out[f"layers.{number}"]


def test_positions_are_those_of_the_reference():
    encoding = positions(4, 32)
    assert close(encoding[1, :4], [0.841471, 0.515139, 0.288696, 0.157827], 1e-5)
    assert close(encoding[1, 16:20], [0.540302, 0.857107, 0.957421, 0.987467], 1e-5)


@pytest.mark.parametrize(("frames", "left"), [(1998, 500), (98, 25), (50, 13), (7, 2)])
def test_subsampled_lengths(frames, left):
    out, lengths = Subsampling(2, nn.ReLU())(torch.zeros(2, frames, 80), torch.tensor([frames, frames // 2 + 1]))
    assert out.shape == (2, left, 2)
    assert lengths.tolist() == [left, math.ceil((frames // 2 + 1) / 4)]
