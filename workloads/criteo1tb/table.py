"""An embedding table of gigabytes."""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

LARGE = 2**28
"""Tables on the CPU with at least this number of bytes reuse the memory of their gradient."""


class HashTable(nn.Embedding):
    """An embedding that takes ids modulo its number of rows. Its gradient is dense.

    A large table on the CPU reuses the memory of its gradient. Otherwise a gradient of 2 GiB would be allocated at
    every step, which takes the operating system longer than the computation of the step. On a GPU, torch reuses memory
    itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._memory = _GradientMemory()

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids, integers of any type ``(...)``, to rows of the table ``(..., embedding_dim)``, of its type."""
        rows = ids % self.num_embeddings
        weight = self.weight
        on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
        if on_cpu and weight.nbytes >= LARGE and not torch.compiler.is_compiling():
            looked_up: Tensor = _Lookup.apply(weight, rows, self._memory)  # type: ignore[no-untyped-call]
            return looked_up
        return F.embedding(rows, weight)


class _Lookup(torch.autograd.Function):
    """``F.embedding`` with reused memory for its gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, memory: _GradientMemory) -> Tensor:
        """Return the rows."""
        ctx.save_for_backward(rows)
        ctx.shape, ctx.memory = tuple(weight.shape), memory
        return F.embedding(rows, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the table."""
        (rows,) = ctx.saved_tensors
        zeros: Tensor = ctx.memory.zeros(ctx.shape)
        return zeros.index_add_(0, rows.flatten(), gradients[0].float().flatten(0, -2)), None, None


class _GradientMemory:
    """Memory that is reused when no tensor refers to it; copies of this object start without memory."""

    def __init__(self) -> None:
        self._free: deque[NDArray[np.float32]] = deque(maxlen=1)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Return an exclusive float32 tensor of zeros."""
        array = None
        with suppress(IndexError):  # instead of checking first, because another thread may take it in between
            array = self._free.pop()
        if array is None or array.shape != shape:
            array = np.empty(shape, np.float32)
        # Only torch refers to this view. Tensors and arrays that share its memory keep it alive, so its finalizer runs
        # when the memory is free. A late finalizer only costs time.
        view = array.view()
        weakref.finalize(view, self._free.append, array).atexit = False
        return torch.from_numpy(view).zero_()

    def __reduce__(self) -> tuple[type[_GradientMemory], tuple[()]]:
        return _GradientMemory, ()
