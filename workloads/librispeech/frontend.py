"""Log-mel features of audio, and SpecAugment. Both run on the device, in the model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLE_RATE = 16_000
HOP = 160
"""Samples from one frame to the next: 10 ms."""

FRAME = 400
"""Samples in a frame: 25 ms."""

FRAME_WITH_NEXT = FRAME + 1
"""Samples required for a frame, as in the benchmark: one more than its length, which pre-emphasis does not use."""

MEL_BINS = 80

_FFT = 512
_PRE_EMPHASIS = 0.97
_MEL_RANGE = (125.0, 7_600.0)
_FLOOR = 1e-5

# Of the log-mel features over the training set; part of the benchmark's definition.
_MEAN = """
-7.60478163 -7.12062263 -6.88642454 -6.87057686 -6.96677208 -7.1084094 -6.95280266 -6.7839942
-6.61955214 -6.48762655 -6.41206598 -6.39404774 -6.42448711 -6.39937115 -6.51582718 -6.71379995
-6.84768772 -6.98850012 -6.92213869 -7.14614868 -7.20404005 -7.05375528 -7.31403828 -7.12232494
-7.30251408 -7.12121439 -7.24257326 -7.17305374 -7.0979414 -7.0887475 -6.98499107 -6.87877321
-6.76027536 -6.63009453 -6.51457691 -6.42450571 -6.3565135 -6.31787634 -6.26607704 -6.24683285
-6.28215265 -6.19083881 -6.2484355 -6.147264 -6.09247255 -6.01710033 -5.92504025 -5.85358334
-5.82091093 -5.81189299 -5.80783749 -5.77146292 -5.74537325 -5.77056551 -5.77656412 -5.78316736
-5.79540873 -5.79948235 -5.80234766 -5.80471182 -5.81681824 -5.88448 -5.97271061 -6.04446602
-6.12848663 -6.22575855 -6.31574965 -6.39061165 -6.49285984 -6.5498457 -6.60543203 -6.6508379
-6.6691761 -6.67268896 -6.68423462 -6.69745779 -6.7547183 -6.79491425 -6.86342096 -6.94186544
"""
_STD = """
3.43532825 3.59629321 3.70124722 3.7369206 3.75351048 3.69362926 3.69224977 3.76415229
3.84197164 3.89998484 3.92942405 3.931741 3.91395855 3.90315986 3.86919999 3.81550813
3.76449704 3.70991063 3.69650865 3.60037661 3.54932261 3.54651213 3.45003605 3.47128129
3.40846109 3.44081354 3.41048813 3.4217639 3.43128514 3.41992092 3.43058062 3.43826652
3.45803666 3.48179913 3.49587107 3.50367928 3.5047574 3.49887347 3.49305606 3.48229432
3.45943046 3.46127701 3.45590639 3.47554231 3.49715495 3.53265572 3.57051992 3.59203124
3.59690738 3.59135008 3.58659315 3.58268094 3.58377433 3.58957911 3.58193135 3.58378696
3.58611846 3.58895898 3.59221482 3.5939455 3.58566308 3.58841133 3.59210229 3.58704901
3.58065701 3.57310677 3.56175327 3.54980731 3.55273747 3.54753661 3.53878498 3.52561784
3.5031836 3.49227262 3.48796463 3.47255945 3.45583892 3.43518281 3.42842937 3.4299171
"""


class LogMel(nn.Module):
    """Normalised logarithms of 80 mel bands, every 10 ms. No parameters.

    The pre-emphasis is that of HTK, per frame; the triangles of the bands are linear in mel, as in TensorFlow and in
    Kaldi. (torchaudio's ``Spectrogram`` has no such pre-emphasis, and its ``MelScale`` uses different triangles.)
    """

    mean: Tensor
    std: Tensor
    window: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        buffers = {
            "mean": torch.tensor([float(number) for number in _MEAN.split()]),
            "std": torch.tensor([float(number) for number in _STD.split()]),
            "window": torch.hann_window(FRAME, periodic=True),
            "mel": mel_matrix(),
        }
        for name, buffer in buffers.items():  # constants, which checkpoints do not need
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map sound to features.

        Args:
            audio: Samples as 16-bit integers (in any type), shape ``(B, N)``.
            lengths: Valid samples of each example, shape ``(B,)``; later samples are ignored.

        Returns:
            Features float32 ``(B, F, 80)`` with F = (N - 401) // 160 + 1, and the number of valid frames ``(B,)``:
            those with at least one valid sample. Other frames are not 0, but contain the features of silence.
        """
        with torch.autocast(audio.device.type, enabled=False):  # bfloat16 is too coarse for the quiet bands
            features = ((self.power(audio, lengths) @ self.mel).clamp(min=_FLOOR).log() - self.mean) / self.std
        frames = (lengths + (HOP - 1)) // HOP
        return features, frames.clamp(max=features.shape[1])

    def power(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Return the power spectrum of each frame, ``(B, F, 257)``."""
        valid = torch.arange(audio.shape[1], device=audio.device) < lengths[:, None]
        scaled = audio.float() * valid * 2.0**-15
        frames = scaled.unfold(1, FRAME_WITH_NEXT, HOP)[..., :FRAME]
        first = frames[..., :1] * (1 - _PRE_EMPHASIS)
        emphasised = torch.cat([first, frames[..., 1:] - _PRE_EMPHASIS * frames[..., :-1]], -1)
        spectrum: Tensor = _power_spectrum(emphasised * self.window)
        return spectrum


# A custom operator, because torch's compiler does not support complex numbers and warns about them.
@torch.library.custom_op("algoperf_lightning::power_spectrum", mutates_args=())
def _power_spectrum(frames: Tensor) -> Tensor:
    return torch.view_as_real(torch.fft.rfft(frames, n=_FFT)).square().sum(-1)


@_power_spectrum.register_fake
def _(frames: Tensor) -> Tensor:
    return frames.new_empty(*frames.shape[:-1], _FFT // 2 + 1)


def mel_matrix() -> Tensor:
    """Return the weight of each of 257 frequencies in each of 80 bands, float32 ``(257, 80)``.

    Band k is a triangle over the edges k, k + 1 and k + 2 of 82 edges, which are equally spaced in mel between 125 Hz
    and 7,600 Hz; mel(f) = 1127 ln(1 + f / 700). The constant component has weight 0.
    """

    def mel(frequency: float) -> float:
        return 1127.0 * math.log(1 + frequency / 700.0)

    bins = torch.linspace(0.0, SAMPLE_RATE / 2, _FFT // 2 + 1)[1:, None]
    position = 1127.0 * torch.log(1 + bins / 700.0)
    edges = torch.linspace(mel(_MEL_RANGE[0]), mel(_MEL_RANGE[1]), MEL_BINS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (position - lower) / (centre - lower)
    falling = (upper - position) / (upper - centre)
    return F.pad(torch.minimum(rising, falling).clamp(min=0), (0, 0, 1, 0))


class SpecAugment(nn.Module):
    """In training, set random intervals of time and of frequency to 0; no effect in evaluation.

    Time masks have up to a twentieth of the example's valid frames, frequency masks up to 26 bands.

    Args:
        frequency_masks: Masks in frequency for each example.
        time_masks: Masks in time for each example.

    Reference: D. S. Park et al., SpecAugment, 2019, https://arxiv.org/abs/1904.08779, and SpecAugment on Large Scale
    Datasets, 2020, https://arxiv.org/abs/1912.05533 (masks as wide as a share of the utterance).
    """

    def __init__(self, frequency_masks: int, time_masks: int) -> None:
        super().__init__()
        self.frequency_masks = frequency_masks
        self.time_masks = time_masks

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features ``(B, F, 80)`` with ``lengths`` ``(B,)`` valid frames to masked ones."""
        if not self.training:
            return features
        batch, frames, bins = features.shape
        chances = torch.rand(2, batch, self.time_masks + self.frequency_masks, device=features.device)
        in_time, in_frequency = chances[..., : self.time_masks], chances[..., self.time_masks :]
        valid = lengths[:, None].float()
        widest = (0.05 * valid).floor().clamp(min=1)
        time_widths = (in_time[0] * (0.05 * valid)).floor().minimum(widest)
        bands = torch.full_like(valid, bins)
        frequency_widths = (in_frequency[0] * 27).floor()
        masked = _covered(frames, valid, time_widths, in_time[1])[:, :, None]
        masked = masked | _covered(bins, bands, frequency_widths, in_frequency[1])[:, None, :]
        return features.masked_fill(masked, 0.0)


def _covered(size: int, valid: Tensor, widths: Tensor, chances: Tensor) -> Tensor:
    """Return which of ``size`` positions are masked, ``(B, size)``; masks are placed at random within ``valid``."""
    starts = (chances * (valid - widths + 1)).floor()
    places = torch.arange(size, device=widths.device)
    return ((places >= starts[..., None]) & (places < (starts + widths)[..., None])).any(1)
