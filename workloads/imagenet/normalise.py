"""Normalisation of pixels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from algoperf_lightning.data.examples import Batch

MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue over ImageNet, where white is 1."""

STD = (0.229, 0.224, 0.225)
"""Standard deviation of red, green and blue over ImageNet, where white is 1."""


def normalise(images: Tensor) -> Tensor:
    """Return images as float32: each colour minus its mean, divided by its standard deviation.

    Args:
        images: uint8, or float32 on the same scale of 0 to 255, shape ``(B, 3, H, W)``.
    """
    mean, std = _constants(images.device)
    return images.to(torch.float32, copy=True).sub_(mean).div_(std)


def normalised(batch: Batch) -> Batch:
    """Return the batch with normalised ``inputs``."""
    return {**batch, "inputs": normalise(batch["inputs"])}


@cache  # a copy to a GPU waits for all queued work, so it is done once, not at each step
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # the first call may be an evaluation's
        mean, std = (255 * torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))
    return mean, std
