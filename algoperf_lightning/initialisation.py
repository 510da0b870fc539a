"""How weights are drawn at the start, where torch has no function for it."""

from __future__ import annotations

import math

from torch import Tensor, nn

CUT_NORMAL_STD = 0.87962566103423978
"""Standard deviation of a standard normal distribution that is cut at -2 and 2."""


def lecun_normal_(weight: Tensor) -> Tensor:
    """Draw a weight from a cut normal distribution of mean 0 and variance 1 / fan_in, in place, and return it.

    With ``s = sqrt(1 / fan_in) / CUT_NORMAL_STD``, the values are those of N(0, s^2) within two standard deviations,
    ``[-2 s, 2 s]``. The cut makes the distribution narrower by the factor :data:`CUT_NORMAL_STD`; dividing by it gives
    back the variance that is meant. The gain is 1. It is what ``jax.nn.initializers.lecun_normal`` draws from, the
    default of linear layers and convolutions in flax.

    Args:
        weight: Of a linear layer ``(out, in)`` or a convolution ``(out, in / groups, ...)``; fan_in is the number of
            elements of ``weight[0]``. For a transposed convolution ``(in, out, ...)`` that counts the channels that
            leave, as torch's own initialisers do.

    Raises:
        ValueError: If it has fewer than two axes, and so no fan_in.

    Reference: Y. LeCun, L. Bottou, G. Orr, K.-R. Müller, Efficient BackProp, 1998,
    http://leon.bottou.org/papers/lecun-98x.
    """
    if weight.ndim < 2:
        raise ValueError(f"Expected a weight of two axes or more, but its shape is {tuple(weight.shape)}.")
    std = math.sqrt(1 / weight[0].numel()) / CUT_NORMAL_STD
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def glorot_normal_(weight: Tensor) -> Tensor:
    """Draw a weight from a cut normal distribution of mean 0 and variance 2 / (fan_in + fan_out), in place; return it.

    With ``s = sqrt(2 / (fan_in + fan_out)) / CUT_NORMAL_STD``, the values are those of N(0, s^2) in ``[-2 s, 2 s]``, as
    TensorFlow draws them. ``torch.nn.init.xavier_normal_`` has the same variance and no cut.

    Args:
        weight: Of a linear layer ``(out, in)`` or a convolution ``(out, in, ...)``.

    Raises:
        ValueError: If it has fewer than two axes, and so no fan_in.

    Reference: X. Glorot, Y. Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks, 2010,
    https://proceedings.mlr.press/v9/glorot10a.html.
    """
    if weight.ndim < 2:
        raise ValueError(f"Expected a weight of two axes or more, but its shape is {tuple(weight.shape)}.")
    fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
    std = math.sqrt(2 / (fan_in + fan_out)) / CUT_NORMAL_STD
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
