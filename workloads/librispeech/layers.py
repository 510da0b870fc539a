"""Layers of both speech models: norms that respect padding, and the subsampling convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional_collectives
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.parameters import ParameterKind

from .frontend import MEL_BINS


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """Return which frames are not padding, bool ``(B, frames)``, given ``lengths`` ``(B,)``."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer with Xavier-uniform weights and biases of 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class LayerNorm(nn.Module):
    """Layer norm over the last axis, of ``width``; its scale is stored as the offset from 1, so it starts at 0."""

    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {
        "scale": ParameterKind.LAYER_NORM_SCALE,
        "bias": ParameterKind.LAYER_NORM_BIAS,
    }

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(..., width)``."""
        return F.layer_norm(x, self.scale.shape, 1 + self.scale, self.bias, eps=1e-6)


class MaskedBatchNorm(nn.Module):
    """Batch norm over the frames that are not padding; padding becomes 0. Its scale is stored as the offset from 1.

    Variances, including the running ones, are population variances. While ``track_running_stats`` is False, running
    statistics do not change, and training still normalises by the batch.

    Args:
        width: Channels.
        momentum: Share of the batch's statistics in the running ones, at each step.
        synchronised: Whether statistics are those of the global batch under data-parallel training, not each device's.
    """

    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {
        "scale": ParameterKind.BATCH_NORM_SCALE,
        "bias": ParameterKind.BATCH_NORM_BIAS,
    }
    eps = 0.001
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, momentum: float, *, synchronised: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.momentum = momentum
        self.synchronised = synchronised
        self.track_running_stats = True

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Normalise ``(B, T, width)``, in which ``valid`` bool ``(B, T)`` marks frames that are not padding."""
        mask = valid[..., None]
        if self.training:
            with torch.autocast(x.device.type, enabled=False):
                mean, var = self._statistics(x.float(), mask)
            if self.track_running_stats:
                with torch.no_grad():
                    self.running_mean.lerp_(mean.detach(), self.momentum)
                    self.running_var.lerp_(var.detach(), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        factor = (1 + self.scale) * (var + self.eps).rsqrt()
        return torch.where(mask, (x - mean) * factor + self.bias, 0).to(x.dtype)

    def _statistics(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        count = mask.sum().to(x.dtype)
        total = torch.where(mask, x, 0).sum((0, 1))
        if self.synchronised:
            both = sum_over_ranks(torch.cat([total, count[None]]))
            total, count = both[:-1], both[-1]
        mean = total / count
        squares = torch.where(mask, x - mean, 0).square().sum((0, 1))
        if self.synchronised:
            squares = sum_over_ranks(squares)
        return mean, squares / count


def sum_over_ranks(x: Tensor) -> Tensor:
    """Return the differentiable sum of a tensor over all ranks; the tensor itself if there is only one process."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        summed: Tensor = _SumOverRanks.apply(x)  # type: ignore[no-untyped-call]
        return summed
    return x


class _SumOverRanks(torch.autograd.Function):
    """Sum over ranks; each rank's gradient is the sum of the gradients of all ranks.

    Uses functional collectives, because compiled graphs silently drop in-place collectives (including those of
    ``torch.distributed.nn``) from the backward pass.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _all_reduce(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Store nothing; ``torch.func`` requires that this is separate from ``forward``."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Only second derivatives need a graph, and compiled graphs have none.
        again = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        return sum_over_ranks(gradient) if again else _all_reduce(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _all_reduce(tangent)


def _all_reduce(x: Tensor) -> Tensor:
    group = dist.group.WORLD
    assert group is not None
    started = functional_collectives.all_reduce(x.contiguous(), "sum", group)
    summed: Tensor = functional_collectives.wait_tensor(started)  # type: ignore[no-untyped-call]
    return summed


class Subsampling(nn.Module):
    """Two 3 x 3 convolutions of stride 2, then a linear layer: one frame of ``width`` for every four of 80 bands.

    Args:
        width: Channels of the convolutions and of the output.
        activation: Activation after each convolution.
    """

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, stride=2)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2)
        self.linear = linear(MEL_BINS // 4 * width, width)
        self.activation = activation
        for convolution in (self.conv1, self.conv2):
            nn.init.xavier_uniform_(convolution.weight)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features ``(B, F, 80)`` to ``(B, ceil(F / 4), width)``, and lengths in frames ``(B,)`` alike."""
        x = features[:, None]
        for convolution in (self.conv1, self.conv2):
            x = self.activation(convolution(_pad(x)))
            lengths = (lengths + 1) // 2
            x = x * valid_frames(lengths, x.shape[2])[:, None, :, None]
        x = x.permute(0, 2, 3, 1).flatten(2)  # channels are the fastest axis
        return self.linear(x), lengths


def _pad(x: Tensor) -> Tensor:
    """Pad with zeros like TensorFlow's ``SAME`` for stride 2: odd axes by 1 at both ends, even ones by 1 at the end."""
    height, width = x.shape[2:]
    return F.pad(x, (width % 2, 1, height % 2, 1))
