"""A bidirectional LSTM over padded sequences, as one operator that is not compiled.

torch uses packed sequences for unequal lengths. This synchronises the device (lengths are needed on the CPU), is slower
than padded sequences, and breaks the graph of a compiled model. A padded bidirectional LSTM gives different results,
because its backward direction starts in the padding. Here, an additional input channel marks the padding and closes
the input gate there, so the state remains exactly 0 until the backward direction reaches the last valid frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_MARKS = 8
"""Channels that mark padding: one would suffice, but multiples of eight are faster on tensor cores."""

_CLOSED = -1_000.0
"""Added to the input gate before its sigmoid by each mark, so that the gate is 0 in every precision."""


class BidirectionalLSTM(nn.Module):
    """One layer of torch's LSTM in both directions, each with half of the width; initialised as torch does.

    Args:
        width: Input and output channels.
    """

    closed: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // 2
        for direction in ("", "_reverse"):
            for name, shape in (
                ("weight_ih", (4 * hidden, width)),
                ("weight_hh", (4 * hidden, hidden)),
                ("bias_ih", (4 * hidden,)),
                ("bias_hh", (4 * hidden,)),
            ):
                parameter = torch.empty(shape).uniform_(-(hidden**-0.5), hidden**-0.5)
                self.register_parameter(name + direction, nn.Parameter(parameter))
        closed = torch.zeros(4 * hidden, _MARKS)
        closed[:hidden] = _CLOSED  # the gates are input, forget, cell, output
        self.register_buffer("closed", closed, persistent=False)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, T, width)`` to the same shape; frames that are not ``valid``, bool ``(B, T)``, become 0."""
        marks = ~valid[..., None].expand(-1, -1, _MARKS)
        weights: list[Tensor] = [getattr(self, name) for name in self._parameters]
        for position in (0, 4):
            weights[position] = torch.cat([weights[position], self.closed], 1)
        # On the CPU always in float32: not every processor supports bfloat16 recurrences.
        device = x.device.type
        lower = torch.is_autocast_enabled(device) and device != "cpu"
        dtype = torch.get_autocast_dtype(device) if lower else torch.float32
        with torch.autocast(device, enabled=False):
            marked = torch.cat([x.to(dtype), marks.to(dtype)], -1)
            weights = [weight.to(dtype) for weight in weights]
            out: Tensor = _lstm_op(marked, weights) if torch.compiler.is_compiling() else _lstm(marked, weights)
            return out.masked_fill(~valid[..., None], 0).to(x.dtype)


def _lstm(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Run torch's own LSTM (cuDNN's, oneDNN's) on ``(B, T, inputs)`` in both directions."""
    state = x.new_zeros(2, len(x), weights[1].shape[1])
    with warnings.catch_warnings():
        # cuDNN copies a few megabytes of weights at each call; the padding marks are not worth a flat buffer.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        out: Tensor = torch.lstm(x, (state, state), weights, True, 1, 0.0, torch.is_grad_enabled(), True, True)[0]
    return out.contiguous()


# For torch.compile, which does not support LSTMs and would unroll them over time. The backward pass runs the forward
# pass again, because the compiler cannot know the size of the buffers that cuDNN and oneDNN store for it.


@torch.library.custom_op("algoperf_lightning::bidirectional_lstm", mutates_args=())
def _lstm_op(x: Tensor, weights: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return _lstm(x, weights)


@_lstm_op.register_fake
def _(x: Tensor, weights: list[Tensor]) -> Tensor:
    return x.new_empty(*x.shape[:2], 2 * weights[1].shape[1])


@torch.library.custom_op("algoperf_lightning::bidirectional_lstm_backward", mutates_args=())
def _lstm_backward_op(gradient: Tensor, x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    with _autograd_inside_an_operation():
        inputs = [tensor.detach().requires_grad_() for tensor in (x, *weights)]
        out = _lstm(inputs[0], inputs[1:])
        gradients = torch.autograd.grad(out, inputs, gradient)
        # cuDNN's gradients of weights share one buffer, but outputs of an operator must not share memory.
        return [gradient.clone(memory_format=torch.contiguous_format) for gradient in gradients]


@_lstm_backward_op.register_fake
def _(gradient: Tensor, x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, *weights)]


def _save(ctx: Any, inputs: tuple[Tensor, list[Tensor]], output: Tensor) -> None:
    x, weights = inputs
    ctx.save_for_backward(x, *weights)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
    x, *weights = ctx.saved_tensors
    of_x, *of_weights = _lstm_backward_op(gradient, x, weights)
    return of_x, of_weights


_lstm_op.register_autograd(_backward, setup_context=_save)


@contextmanager
def _autograd_inside_an_operation() -> Iterator[None]:
    """Enable recording of gradients, which torch disables inside operators."""
    left_out = torch._C._dispatch_tls_local_exclude_set().remove(torch._C.DispatchKey.AutogradFunctionality)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), left_out), torch.enable_grad():
        yield
