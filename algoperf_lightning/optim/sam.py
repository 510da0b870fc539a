"""Sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.foreach import Tensors, copies


class Sam(torch.optim.AdamW):
    """AdamW with the gradient at ``p + rho g / |g|``, where g is the gradient at p and ``|g|`` its global norm.

    ``step`` requires a closure and calls it twice. Each call must recompute the loss and the gradient. In data-parallel
    training, both gradients are averaged over the ranks, so all ranks use the same perturbed point.

    Args:
        params: Parameters or parameter groups.
        rho: Distance to the point at which the gradient is computed.
        **options: Options of ``torch.optim.AdamW``.

    Raises:
        BadInputError: If ``rho`` is negative.
        ValueError: If an option of AdamW is out of its range.

    Reference: Foret et al. 2021, https://arxiv.org/abs/2010.01412.
    """

    def __init__(self, params: Any, rho: float = 0.05, **options: Any) -> None:
        if not rho >= 0:
            raise BadInputError(f"{type(self).__name__}: rho must not be negative, but got {rho}.")
        super().__init__(params, **options)
        self.rho = rho
        self.at_worst_point = False
        """Whether the current closure call is the second one."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform both passes and the update, and return the loss of the first pass.

        Raises:
            RuntimeError: If no closure is given. Lightning passes none with precision ``16-mixed``.
        """
        if closure is None:
            raise RuntimeError(
                f"{type(self).__name__}.step needs a closure that computes the loss and its gradient, as it calls it "
                "twice. Lightning passes one, but not with precision='16-mixed': use bf16-mixed or 32-true."
            )
        with torch.enable_grad():
            loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        starts = copies(parameters)
        self._go_to_worst_point(parameters)
        self.at_worst_point = True
        try:
            with torch.enable_grad():
                closure()
        finally:
            self.at_worst_point = False
            if parameters:
                torch._foreach_copy_(parameters, starts)
        super().step()
        return loss

    def _go_to_worst_point(self, parameters: Tensors) -> None:
        if not parameters:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.stack([n.to(parameters[0].device) for n in torch._foreach_norm(gradients)]).norm()
        scale = torch.where(norm > 0, self.rho / norm, 0.0)  # avoids a device synchronisation
        torch._foreach_add_(parameters, torch._foreach_mul(gradients, scale))
