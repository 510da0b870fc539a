"""Data of quadratic_deep: normal numbers from a fixed generator."""

from __future__ import annotations

import numpy as np
import torch

from algoperf_lightning.data import Examples, TensorExamples, WorkloadData
from algoperf_lightning.rng import frozen_generator

from .model import SIZE

SEEDS = {"train": 42, "eval_train": 42, "validation": 44, "test": 43}

DEVIATION = 0.6


class QuadraticData(WorkloadData):
    """Three sets of 1,000 samples of N(0, 0.6^2) in 100 dimensions, the same in every trial.

    ``eval_train`` is all of ``train``. In the variants ``faithful``, evaluations omit the last incomplete batch, as in
    DeepOBS; ``eval_train`` is then the same number of samples of ``train``, chosen once by the trial's seed.
    """

    def open(self, split: str) -> Examples:
        """Return one split."""
        count = self.spec.splits["train"]
        samples = np.random.RandomState(SEEDS[split]).normal(0, DEVIATION, (count, SIZE)).astype(np.float32)
        if split == "eval_train":
            samples = samples[frozen_generator(self.seed, "eval_train").permutation(count)]
        return TensorExamples(inputs=torch.from_numpy(samples[: self.spec.splits[split]]))
