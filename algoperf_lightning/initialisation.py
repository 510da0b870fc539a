"""Weight initialisers that PyTorch does not provide."""

from __future__ import annotations

import math

from torch import Tensor, nn

CUT_NORMAL_STD = 0.87962566103423978
"""Standard deviation of a standard normal distribution truncated to [-2, 2]."""


def lecun_normal_(weight: Tensor) -> Tensor:
    """Fill a weight from a truncated normal distribution with mean 0 and variance 1 / fan_in, and return it.

    With ``s = sqrt(1 / fan_in) / CUT_NORMAL_STD``, the values are drawn from N(0, s^2) truncated to two standard
    deviations, ``[-2 s, 2 s]``. The truncation reduces the standard deviation by the factor :data:`CUT_NORMAL_STD`, and
    the division by it compensates for that. The gain is 1. This is the distribution of
    ``jax.nn.initializers.lecun_normal``, the default of linear layers and convolutions in flax.

    Args:
        weight: Weight of a linear layer ``(out, in)`` or a convolution ``(out, in / groups, ...)``. fan_in is the
            number of elements of ``weight[0]``. For a transposed convolution ``(in, out, ...)``, this counts the output
            channels, as in the initialisers of PyTorch.

    Raises:
        ValueError: If the weight has fewer than two axes and therefore no fan_in.

    Reference: Y. LeCun, L. Bottou, G. Orr, K.-R. Müller, Efficient BackProp, 1998,
    http://leon.bottou.org/papers/lecun-98x.
    """
    if weight.ndim < 2:
        raise ValueError(f"Expected a weight of two axes or more, but its shape is {tuple(weight.shape)}.")
    std = math.sqrt(1 / weight[0].numel()) / CUT_NORMAL_STD
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def glorot_normal_(weight: Tensor) -> Tensor:
    """Fill a weight from a truncated normal with mean 0 and variance 2 / (fan_in + fan_out), and return it.

    With ``s = sqrt(2 / (fan_in + fan_out)) / CUT_NORMAL_STD``, the values are drawn from N(0, s^2) truncated to ``[-2
    s, 2 s]``, as in TensorFlow. ``torch.nn.init.xavier_normal_`` has the same variance without truncation.

    Args:
        weight: Weight of a linear layer ``(out, in)`` or a convolution ``(out, in, ...)``.

    Raises:
        ValueError: If the weight has fewer than two axes and therefore no fan_in.

    Reference: X. Glorot, Y. Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks, 2010,
    https://proceedings.mlr.press/v9/glorot10a.html.
    """
    if weight.ndim < 2:
        raise ValueError(f"Expected a weight of two axes or more, but its shape is {tuple(weight.shape)}.")
    fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
    std = math.sqrt(2 / (fan_in + fan_out)) / CUT_NORMAL_STD
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
