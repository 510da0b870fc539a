"""Weight penalty in the objective of some workloads."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def kernel_penalty(model: nn.Module, factor: float) -> Tensor:
    """Return ``factor / 2`` times the sum of squared weights of convolutions and linear layers as a scalar.

    Biases and norms are excluded. The gradient is ``factor`` times the weights.
    """
    kernels = [module.weight for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    return 0.5 * factor * torch.stack([kernel.float().square().sum() for kernel in kernels]).sum()
