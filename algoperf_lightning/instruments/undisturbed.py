"""A block for measurements that do not affect training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from algoperf_lightning.rng import forked_rng


@contextmanager
def undisturbed(seed: int) -> Iterator[None]:
    """Make a block for measurements that do not affect training.

    Random states are restored at its end, compiled models run eagerly without recompilation, autocast is off, and
    attention is computed by a kernel with second derivatives. Within it, only compute gradients with
    ``torch.autograd.grad``.

    Args:
        seed: Seed of the block's random numbers.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cuda", "cpu") if torch.cuda.is_initialized() else ("cpu",):  # type: ignore[no-untyped-call]
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(forked_rng(seed))
        yield
