"""LibriSpeech with a Conformer."""

from __future__ import annotations

from torch import nn

from .conformer import Conformer
from .spec import CONFORMER
from .workload import SpeechWorkload


class LibriSpeechConformer(SpeechWorkload):
    """Speech recognition on LibriSpeech with a Conformer of four blocks, trained by CTC.

    Batches and metrics are those of :class:`~.workload.SpeechWorkload`. Batch norm statistics are per device, as in
    AlgoPerf's PyTorch code; running statistics are averaged over the ranks before an evaluation.

    Variants: ``attention_temperature`` (the output of attention is multiplied by 1.6), ``layernorm`` (no layer norm at
    the end of the blocks), ``gelu`` (instead of swish).

    Reference: V. Panayotov et al., LibriSpeech, 2015, https://doi.org/10.1109/ICASSP.2015.7178964 (the data); A. Gulati
    et al., Conformer, 2020, https://arxiv.org/abs/2005.08100 (the model); Dahl et al., Benchmarking Neural Network
    Training Algorithms, 2023, https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = CONFORMER

    def build_model(self) -> nn.Module:
        """Return the network."""
        return Conformer(**self.spec.model, dropout=self.dropout or 0.0)

    def agree_on_buffers(self) -> None:
        """Average the running statistics of batch norm, which each rank has, over the ranks, as in AlgoPerf."""
        for name, buffer in self.network.named_buffers():
            if "running_" in name:
                buffer.copy_(self.trainer.strategy.reduce(buffer, reduce_op="mean"))
