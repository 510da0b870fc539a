"""What is done to gradients between backward pass and step: overflows are looked for, and norms are clipped."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch.optim import Optimizer


def overflowed(module: L.LightningModule, optimizer: Optimizer) -> bool:
    """Return whether a gradient scaler has found the gradient to be infinite or NaN, so that it skips the step.

    This waits for the device, as the scaler does anyway when the step is due.
    """
    scaler = _scaler(module)
    return scaler is not None and any(bool(found) for found in scaler._found_inf_per_device(optimizer).values())


def clip_by_norm(module: L.LightningModule, optimizer: Optimizer, limit: float) -> None:
    """Clip the global norm of the gradient of all parameters of an optimizer.

    Lightning refuses to do so for torch's fused optimizers, which can unscale gradients within their step. They need
    not: a scaler that was called before knows that it was, and tells them only whether to skip.
    """
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        module.clip_gradients(optimizer, gradient_clip_val=limit, gradient_clip_algorithm="norm")
    elif any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
        scaler = _scaler(module)
        if scaler is not None:
            scaler.unscale_(optimizer)
        module.trainer.precision_plugin.clip_grad_by_norm(optimizer, limit)


def _scaler(module: L.LightningModule) -> Any:
    """Return the gradient scaler of a run, None where there is none."""
    scaler = getattr(module.trainer.precision_plugin, "scaler", None)
    return scaler if scaler is not None and scaler.is_enabled() else None
