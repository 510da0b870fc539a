"""The network of librispeech_deepspeech."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from algoperf_lightning.dropout import Dropout
from algoperf_lightning.utilities.inputs import nearest_or_raise

from .frontend import LogMel, SpecAugment
from .layers import LayerNorm, MaskedBatchNorm, Subsampling, linear, valid_frames
from .lstm import BidirectionalLSTM

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"relu": partial(nn.ReLU, inplace=True), "tanh": nn.Tanh}


class DeepSpeech(nn.Module):
    """Maps sound to logits of word pieces: log-mel front-end, convolutional subsampling, LSTMs, feed-forward layers.

    18,393,600 parameters at full size. Initialisation: Xavier uniform for every matrix and convolution, torch's own for
    the LSTMs, 0 for biases and norms.

    Args:
        vocabulary: Number of word pieces; index 0 is the blank.
        width: Channels of all layers.
        lstm_layers: Bidirectional LSTM layers.
        feed_forward_layers: Feed-forward layers after them.
        dropout: Rate after the subsampling and after each feed-forward layer.
        activation: A name in :data:`ACTIVATIONS`, for convolutions and feed-forward layers.
        residual: Whether layers have residual connections around them.
        layer_norm: Layer norm instead of every batch norm, and none before the head.
        batch_norm_momentum: Share of a batch in the running statistics of batch norm.
        frequency_masks: Number of frequency masks of SpecAugment.
        time_masks: Number of time masks of SpecAugment.

    Reference: D. Amodei et al., Deep Speech 2, 2015, https://arxiv.org/abs/1512.02595.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        lstm_layers: int,
        feed_forward_layers: int,
        dropout: float,
        activation: str = "relu",
        residual: bool = True,
        layer_norm: bool = False,
        batch_norm_momentum: float = 0.001,
        frequency_masks: int = 2,
        time_masks: int = 10,
    ) -> None:
        super().__init__()
        nearest_or_raise("activation", activation, ACTIVATIONS)
        self.residual = residual
        self.log_mel = LogMel()
        self.spec_augment = SpecAugment(frequency_masks, time_masks)
        self.subsampling = Subsampling(width, ACTIVATIONS[activation]())
        self.dropout = Dropout(dropout)

        def norm() -> nn.Module:
            if layer_norm:
                return LayerNorm(width)
            return MaskedBatchNorm(width, batch_norm_momentum, synchronised=True)

        self.layers = nn.ModuleList(
            [
                *(RecurrentLayer(norm(), width) for _ in range(lstm_layers)),
                *(FeedForwardLayer(norm(), width, activation, dropout) for _ in range(feed_forward_layers)),
            ]
        )
        self.norm = nn.Identity() if layer_norm else LayerNorm(width)
        self.head = linear(width, vocabulary)

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map sound to logits.

        Args:
            audio: Samples as 16-bit integers, at 16 kHz, ``(B, N)``.
            lengths: Valid samples of each, ``(B,)``.

        Returns:
            Logits ``(B, T, vocabulary)``, a frame for every 40 ms, and the number of valid frames ``(B,)``.
        """
        return self.from_features(*self.log_mel(audio, lengths))

    def from_features(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map log-mel features ``(B, F, 80)`` with ``lengths`` valid frames to logits."""
        x, lengths = self.subsampling(self.spec_augment(features, lengths), lengths)
        x = self.dropout(x)
        valid = valid_frames(lengths, x.shape[1])
        for layer in self.layers:
            x = x + layer(x, valid) if self.residual else layer(x, valid)
        return self.head(self.norm(x)), lengths


class RecurrentLayer(nn.Module):
    """Norm, then a bidirectional LSTM."""

    def __init__(self, norm: nn.Module, width: int) -> None:
        super().__init__()
        self.norm = norm
        self.lstm = BidirectionalLSTM(width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, T, width)`` with ``valid`` frames bool ``(B, T)`` to the same shape, 0 in padding."""
        out: Tensor = self.lstm(_normalised(self.norm, x, valid), valid)
        return out


class FeedForwardLayer(nn.Module):
    """Norm, linear, activation, dropout."""

    def __init__(self, norm: nn.Module, width: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.linear = linear(width, width)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, T, width)`` with ``valid`` frames bool ``(B, T)`` to the same shape, 0 in padding."""
        x = self.activation(self.linear(_normalised(self.norm, x, valid)))
        out: Tensor = self.dropout(x * valid[..., None])
        return out


def _normalised(norm: nn.Module, x: Tensor, valid: Tensor) -> Tensor:
    out: Tensor = norm(x, valid) if isinstance(norm, MaskedBatchNorm) else norm(x)
    return out
