"""Front-end, SpecAugment and norms of the LibriSpeech workloads, against the benchmark's numbers."""

from __future__ import annotations

import pytest
import torch
from librispeech_golden import WAVE_LENGTHS, WAVES, close

from algoperf_lightning.workloads.librispeech.frontend import LogMel, SpecAugment, mel_matrix
from algoperf_lightning.workloads.librispeech.layers import LayerNorm, MaskedBatchNorm, valid_frames


@pytest.fixture(scope="module")
def log_mel():
    return LogMel()


def test_waves_are_those_of_the_reference():
    assert close(WAVES[0, :5], [0, 3223.19, 4124.12, 3198.3, 3099.39])
    assert close(WAVES[1, :5], [500, 213.784, -268.327, -122.751, 554.555])


def test_power_spectrum_is_that_of_the_reference(log_mel):
    power = log_mel.power(WAVES, WAVE_LENGTHS)
    expected = [8.88178e-16, 1.93454e-07, 1.12489e-06, 2.07e-06, 8.37495e-07, 1.02635e-06, 1.84998e-05, 6.23903e-05]
    assert torch.allclose(power[0, 0, :8], torch.tensor(expected), rtol=1e-4, atol=2e-9)
    assert power[0, 0, 14].item() == pytest.approx(17.6659, rel=1e-5)
    assert power.double().mean().item() == pytest.approx(0.252920, rel=1e-5)


def test_features_are_those_of_the_reference(log_mel):
    features, lengths = log_mel(WAVES, WAVE_LENGTHS)
    assert features.shape == (2, 98, 80)
    assert lengths.tolist() == [98, 75]
    raw = features * log_mel.std + log_mel.mean
    expected = [-11.5129, -11.5129, -10.6227, -9.85301, -9.44993, -11.5129, -7.54818, -4.66997]
    assert close(raw[0, 0, :8], expected, 1e-5)
    expected = [2.69995, 2.46, 0.87602, -2.45249, -7.27332, -8.63291, -8.81574, -10.1371]
    assert close(raw[0, 0, 10:18], expected, 1e-5)
    assert raw.double().mean().item() == pytest.approx(-9.99, abs=1e-4)
    assert raw.double().std(correction=0).item() == pytest.approx(3.63259, rel=1e-5)
    assert (raw < -11.5128).float().mean().item() == pytest.approx(0.7710, abs=1e-4)
    rows = {
        (0, 0): [-1.13763, -1.22134, -1.00947, -0.798100, -0.661556, -1.19246, -0.161251, 0.561621],
        (1, 20): [0.74482, 1.49637, 1.67014, 1.8335, 1.75602, 1.13213, 0.492497, -0.435033],
        (1, 74): [-0.177747, -0.219358, -0.192866, -0.109584, 0.0568097, 0.181934, 0.213216, 0.271961],
        (1, 75): [-1.13763, -1.22134, -1.24998, -1.24229, -1.21117, -1.19246, -1.23505, -1.25631],
    }
    for place, expected in rows.items():
        assert close(features[place][:8], expected, 2e-5)
    assert features.double().mean().item() == pytest.approx(-0.992479, rel=1e-5)
    assert features.double().std(correction=0).item() == pytest.approx(0.982522, rel=1e-5)


def test_mel_matrix_is_that_of_the_reference():
    matrix = mel_matrix()
    assert matrix.shape == (257, 80)
    assert matrix.double().sum().item() == pytest.approx(234.9484, abs=1e-4)
    assert int((matrix > 0).sum()) == 471
    for (row, band), expected in {
        (5, 0): 0.695546,
        (13, 10): 0.292338,
        (62, 40): 0.776812,
        (236, 79): 0.964247,
    }.items():
        assert matrix[row, band].item() == pytest.approx(expected, abs=1e-6)
    assert not matrix[256].any()


def test_mel_matrix_is_that_of_kaldi():
    try:
        from torchaudio.compliance import kaldi
    except (ImportError, OSError, RuntimeError) as error:  # it may be built for another torch
        pytest.skip(f"torchaudio cannot be imported: {error}")
    theirs, _ = kaldi.get_mel_banks(80, 512, 16_000.0, 125.0, 7_600.0, 100.0, -500.0, 1.0)
    assert torch.allclose(mel_matrix()[:256], theirs.T, atol=3e-5)


def test_constants_are_those_of_the_reference(log_mel):
    assert log_mel.mean.double().sum().item() == pytest.approx(-520.669502, abs=1e-5)
    assert log_mel.std.double().sum().item() == pytest.approx(286.177606, abs=1e-5)
    assert log_mel.window.sum().item() == pytest.approx(200)
    assert log_mel.window[1].item() == pytest.approx(6.16908e-05, rel=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(320_000, 1998), (16_000, 98), (401, 1), (560, 1), (561, 2)])
def test_number_of_frames(log_mel, samples, frames):
    features, lengths = log_mel(torch.zeros(1, samples, dtype=torch.int16), torch.tensor([samples]))
    assert features.shape[1] == lengths.item() == frames


def test_integers_and_what_lies_behind_the_end_make_no_difference(log_mel):
    audio = WAVES.round().to(torch.int16)
    noisy = audio.clone()
    noisy[1, 12_000:] = torch.randint(-30_000, 30_000, (4_000,), dtype=torch.int16)
    expected = log_mel(audio.float(), WAVE_LENGTHS)[0]
    assert torch.equal(log_mel(audio, WAVE_LENGTHS)[0], expected)
    assert torch.equal(log_mel(noisy, WAVE_LENGTHS)[0], expected)


def test_features_keep_their_precision_under_autocast(log_mel):
    expected = log_mel(WAVES, WAVE_LENGTHS)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(log_mel(WAVES, WAVE_LENGTHS)[0], expected)


# SpecAugment


@pytest.mark.parametrize(
    ("counts", "frames", "in_time", "in_frequency"),
    [
        pytest.param((2, 10), 1998, 0.221, 0.304, id="2-10-long"),
        pytest.param((2, 10), 500, 0.219, 0.299, id="2-10-short"),
        pytest.param((4, 15), 1998, 0.314, 0.491, id="4-15-long"),
        pytest.param((4, 15), 500, 0.301, 0.491, id="4-15-short"),
    ],
)
def test_masked_shares_are_those_of_the_reference(counts, frames, in_time, in_frequency):
    torch.manual_seed(0)
    examples = 300
    features = torch.ones(examples, frames + 100, 80, dtype=torch.uint8)  # bytes, because there are many
    kept = SpecAugment(*counts)(features, torch.full((examples,), frames))
    time, frequency = kept.amax(2) == 0, kept[:, frames - 1 :].amax(1) == 0
    assert time[:, :frames].float().mean().item() == pytest.approx(in_time, abs=0.012)
    assert not time[:, frames:].any()
    assert frequency.float().mean().item() == pytest.approx(in_frequency, abs=0.025)
    assert kept.max() == 1


@pytest.mark.parametrize(("frames", "widest"), [(500, 24), (100, 4), (9, 0)])
def test_one_mask_is_one_stretch_within_what_is_valid(frames, widest):
    torch.manual_seed(0)
    kept = SpecAugment(0, 1)(torch.ones(2_000, 500, 80), torch.full((2_000,), frames))
    masked = kept[..., 0] == 0
    edges = torch.diff(masked.int(), prepend=torch.zeros(2_000, 1, dtype=torch.int32)).clamp(min=0).sum(1)
    assert edges.max() <= 1
    assert masked.sum(1).max() == widest  # floor(u 0.05 L) < 0.05 L
    assert not masked[:, frames:].any()


def test_nothing_is_masked_in_evaluation():
    features = torch.ones(2, 50, 80)
    assert SpecAugment(2, 10).eval()(features, torch.tensor([50, 37])) is features


# Norms


def test_batch_norm_counts_valid_frames_only():
    torch.manual_seed(0)
    norm = MaskedBatchNorm(4, 0.001, synchronised=False)
    torch.nn.init.normal_(norm.scale)
    torch.nn.init.normal_(norm.bias)
    x, lengths = torch.randn(3, 7, 4), torch.tensor([7, 3, 5])
    valid = valid_frames(lengths, 7)
    flat = x[valid]
    expected = (flat - flat.mean(0)) / (flat.var(0, correction=0) + 0.001).sqrt() * (1 + norm.scale) + norm.bias
    out = norm(x, valid)
    assert torch.allclose(out[valid], expected, atol=1e-5)
    assert not out[~valid].any()
    assert torch.allclose(norm.running_mean, 0.001 * flat.mean(0), atol=1e-7)
    assert torch.allclose(norm.running_var, 0.999 + 0.001 * flat.var(0, correction=0), atol=1e-6)


def test_layer_norm_adds_one_to_its_scale():
    torch.manual_seed(0)
    norm, x = LayerNorm(6), torch.randn(2, 3, 6)
    torch.nn.init.normal_(norm.scale)
    expected = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt() * (1 + norm.scale)
    assert torch.allclose(norm(x), expected, atol=1e-5)
