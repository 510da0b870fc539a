"""LibriSpeech with DeepSpeech."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from .deepspeech import DeepSpeech
from .spec import DEEPSPEECH
from .workload import SpeechWorkload


class LibriSpeechDeepSpeech(SpeechWorkload):
    """Speech recognition on LibriSpeech with six bidirectional LSTM layers, trained by CTC.

    Batches and metrics are those of :class:`~.workload.SpeechWorkload`. Batch norm statistics are those of the global
    batch, unlike the Conformer's.

    Variants: ``tanh`` (instead of ReLU), ``no_resnet`` (no residual connections), ``norm_and_spec_aug`` (layer norm
    instead of batch norm and none before the head, 2 times as many frequency masks and 1.5 times as many time masks).

    Reference: V. Panayotov et al., LibriSpeech, 2015, https://doi.org/10.1109/ICASSP.2015.7178964 (the data); D. Amodei
    et al., Deep Speech 2, 2015, https://arxiv.org/abs/1512.02595 (the model, roughly); Dahl et al., Benchmarking Neural
    Network Training Algorithms, 2023, https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = DEEPSPEECH
    recurrent: ClassVar[bool] = True

    def build_model(self) -> nn.Module:
        """Return the network."""
        return DeepSpeech(**self.spec.model, dropout=self.dropout or 0.0)
