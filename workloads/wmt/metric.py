"""The metric of wmt: BLEU, as reported by the benchmark."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

ORDERS = 4
"""Lengths of the counted n-grams: 1 to 4."""


class Bleu(Metric):
    """Corpus BLEU in [0, 100] of all sentences on all ranks, by sacreBLEU.

    ``update(translations, references)`` takes the same number of each. Tokenisation is 13a and case-sensitive. An order
    without a match counts as 1/2, 1/4, ... of a match, even if no order has a match: this is the formula of sacreBLEU
    1.3, which the benchmark uses, while 2.0 and newer return 0. A corpus without any n-gram of some order scores 0.

    Reference: K. Papineni et al., BLEU: a Method for Automatic Evaluation of Machine Translation, 2002,
    https://aclanthology.org/P02-1040; M. Post, A Call for Clarity in Reporting BLEU Scores, 2018,
    https://aclanthology.org/W18-6319.
    """

    full_state_update: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    matches: Tensor
    totals: Tensor
    lengths: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Counts, which can be summed over ranks: matching n-grams, all n-grams, and words of both sides.
        for name, size in (("matches", ORDERS), ("totals", ORDERS), ("lengths", 2)):
            self.add_state(name, torch.zeros(size, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, translations: list[str], references: list[str]) -> None:
        """Add translations and references."""
        from sacrebleu.metrics.bleu import BLEU

        if not translations:
            return
        score = BLEU(tokenize="13a", max_ngram_order=ORDERS).corpus_score(translations, [references])
        for state, counted in (
            (self.matches, score.counts),
            (self.totals, score.totals),
            (self.lengths, [score.sys_len, score.ref_len]),
        ):
            state += torch.tensor(counted, device=state.device)

    def compute(self) -> Tensor:
        """Return the score; 0 without sentences."""
        from sacrebleu.metrics.bleu import BLEU

        matches, totals = self.matches.tolist(), self.totals.tolist()
        length, reference_length = self.lengths.tolist()
        score = BLEU.compute_bleu(matches, totals, length, reference_length, "exp", max_ngram_order=ORDERS)
        found = score.score
        if not any(matches) and all(totals):  # where sacreBLEU 1.3, unlike 2.0, smooths
            logarithms = (math.log(100 / (2**order * total)) for order, total in enumerate(totals, start=1))
            found = score.bp * math.exp(sum(logarithms) / ORDERS)
        return torch.tensor(found, dtype=torch.float64)
