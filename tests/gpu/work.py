"""The work of a step: floating-point operations of its products, and bytes that its operators read and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

_RNN_GRADIENT = 2
"""The backward pass of a recurrent layer has two products for each of the forward pass."""


def _rnn_flops(inputs: Any, weights: Any, weight_stride0: int, *args: Any, **kwargs: Any) -> int:
    """Of ``aten::_cudnn_rnn``: each weight matrix is multiplied once at each time step of each sequence."""
    rows = inputs[0] * inputs[1] if len(inputs) == 3 else inputs[0]
    return sum(2 * rows * shape[0] * shape[1] for shape in weights if len(shape) == 2)


def _rnn_backward_flops(inputs: Any, weights: Any, *args: Any, **kwargs: Any) -> int:
    return _RNN_GRADIENT * _rnn_flops(inputs, weights, 0)


def count_flops(step: Callable[[], Any]) -> int:
    """Return the floating-point operations of matrix products, convolutions and attention in a step, two for each
    multiplication with its addition; element-wise work is not counted."""
    custom = {torch.ops.aten._cudnn_rnn: _rnn_flops, torch.ops.aten._cudnn_rnn_backward: _rnn_backward_flops}
    with FlopCounterMode(display=False, custom_mapping=custom) as counter:
        step()
    return int(counter.get_total_flops())


class BytesMoved(TorchDispatchMode):
    """Counts the bytes that operators read and write, were nothing kept in a cache between them.

    Operators that return another view of their input, or memory that is not yet written, move nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.name():
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result
