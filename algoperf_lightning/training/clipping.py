"""Operations on gradients between backward pass and step: detection of overflows, and clipping of norms."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch.optim import Optimizer


def overflowed(module: L.LightningModule, optimizer: Optimizer) -> bool:
    """Return whether a gradient scaler has found infinite or NaN gradients, so that it skips the step.

    This synchronises the device, which the scaler also does in the step.
    """
    scaler = _scaler(module)
    return scaler is not None and any(bool(found) for found in scaler._found_inf_per_device(optimizer).values())


def clip_by_norm(module: L.LightningModule, optimizer: Optimizer, limit: float) -> None:
    """Clip the global norm of the gradient of all parameters of an optimizer.

    Lightning refuses this for torch's fused optimizers, which can unscale gradients within their step. This is not
    needed: a scaler that has already unscaled only tells them whether to skip the step.
    """
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        module.clip_gradients(optimizer, gradient_clip_val=limit, gradient_clip_algorithm="norm")
    elif any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
        scaler = _scaler(module)
        if scaler is not None:
            scaler.unscale_(optimizer)
        module.trainer.precision_plugin.clip_grad_by_norm(optimizer, limit)


def _scaler(module: L.LightningModule) -> Any:
    """Return the gradient scaler of a run, None if there is none."""
    scaler = getattr(module.trainer.precision_plugin, "scaler", None)
    return scaler if scaler is not None and scaler.is_enabled() else None
