"""Splits of the photograph data sets of DeepOBS: CIFAR-10, CIFAR-100 and SVHN."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data.examples import Examples
from algoperf_lightning.spec import WorkloadSpec

from .examples import DistortedImages, StandardisedImages
from .splits import LeakyFiles, evaluated, held_out_first

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images uint8 ``(N, 3, 32, 32)`` and labels int64 ``(N,)``."""


def photographs(
    split: str,
    spec: WorkloadSpec,
    train: Part,
    test: Part,
    seed: int,
    distorted: type[DistortedImages],
    files: list[int],
) -> Examples:
    """Return one split; ``train`` is distorted.

    If ``faithful`` is set in the ``data`` of the spec, the training files are shuffled in each pass, so validation
    images are used for training (:class:`~.splits.LeakyFiles`). ``eval_train`` then consists of the first images of the
    first pass, with the same distortions in each evaluation. Evaluation splits end with their last complete batch.

    Args:
        split: The name of the split.
        spec: Spec of the workload.
        train: Content of the training files.
        test: Content of the test file.
        seed: Seed of the orders and of ``eval_train``.
        distorted: Class of the training examples.
        files: Number of images in each of the files that DeepOBS shuffles.
    """
    images, targets = test if split == "test" else train
    counts = len(train[1]), len(test[1])
    if split == "test" or not spec.data.get("faithful"):
        rows = held_out_first(split, spec, *counts, seed)
        return (distorted if split == "train" else StandardisedImages)(images[rows], targets[rows])
    order, kept = LeakyFiles(files, counts[1], seed), evaluated(spec, counts[1])
    if split == "train":
        return distorted(images, targets, order)
    if split == "validation":
        chosen = order.validation()[:kept]
        return StandardisedImages(images[chosen], targets[chosen])
    chosen = order.take(0, min(kept, len(order)))
    return distorted(images[chosen], targets[chosen])
