"""Batches of mnist: images as the model receives them."""

from __future__ import annotations

import torch
from torch import Tensor

MEAN = 0.1307
STDDEV = 0.3081


def normalise(images: Tensor) -> Tensor:
    """Return images uint8 ``(N, 28, 28)`` as float32 ``(N, 1, 28, 28)``, from -0.42 (black) to 827.2 (white).

    This reproduces a quirk of AlgoPerf: mean and standard deviation are those of pixels in [0, 1], but are applied to
    pixels in 0..255. The targets were set with inputs of that scale.
    """
    return images.unsqueeze(1).to(torch.float32).sub_(MEAN).div_(STDDEV)
