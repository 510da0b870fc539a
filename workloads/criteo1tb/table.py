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
"""Bytes from which on a table on the CPU keeps the memory of its gradient."""


class HashTable(nn.Embedding):
    """An embedding that takes ids of any size, modulo the number of its rows. Its gradient is dense.

    A large one on the CPU keeps the memory of its gradient from step to step. A gradient of 2 GiB would else be new
    memory at every step, and for the system to hand that out takes longer than to compute the step. On a GPU torch
    keeps its memory anyhow.
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
    """Memory that is reused when no tensor refers to it; a copy of this object has none."""

    def __init__(self) -> None:
        self._free: deque[NDArray[np.float32]] = deque(maxlen=1)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor of zeros that nobody else has, float32 of a shape."""
        array = None
        with suppress(IndexError):  # rather than to look first, as another thread may take it in between
            array = self._free.pop()
        if array is None or array.shape != shape:
            array = np.empty(shape, np.float32)
        # Only torch holds this view. Tensors and arrays that share its memory keep it alive, so its finalizer marks
        # the moment at which the memory is free. A late finalizer only costs time.
        view = array.view()
        weakref.finalize(view, self._free.append, array).atexit = False
        return torch.from_numpy(view).zero_()

    def __reduce__(self) -> tuple[type[_GradientMemory], tuple[()]]:
        return _GradientMemory, ()
