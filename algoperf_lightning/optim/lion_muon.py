"""LionMuon: one Muon step per period, Lion steps otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.foreach import Group, State, Tensors
from algoperf_lightning.optim.matrix_optimizer import MatrixOptimizer
from algoperf_lightning.optim.orthogonal import DTYPES, orthogonal_each


class LionMuon(MatrixOptimizer):
    """Updates with the orthogonalised momentum every ``period`` steps and with its sign in between.

    With gradient g and number of previous gradients k = 0, 1, ... of a matrix ``(m, n)``::

        u = b1 M + (1 - b1) g;  M <- b2 M + (1 - b2) g
        where the period divides k:  r = lr,               d = 0.2 sqrt(max(m, n)) orthogonal(u)
        otherwise:                   r = lr * lion_ratio,  d = sign(u)
        p <- p (1 - r * weight_decay) - r d

    The first step of each period is a Muon step. With equal betas, the method is SignMuon. Other groups and tensors are
    updated with ``torch.optim.AdamW`` and the betas, eps and weight decay of the group.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate of the Muon steps and of AdamW.
        betas: Decay rates, each in [0, 1).
        eps: eps of AdamW.
        weight_decay: Decoupled weight decay.
        lion_ratio: Learning rate of the Lion steps as a multiple of ``lr``.
        period: Number of steps from one Muon step to the next.
        newton_schulz_steps: Number of Newton-Schulz iterations.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.
        matrices: Whether tensors with two or more axes in a group use this rule instead of AdamW.
        shard: Whether to shard the orthogonalisation over the ranks.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: LionMuon 2026, https://arxiv.org/abs/2605.19811.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        lion_ratio: float = 0.05,
        period: int = 2,
        newton_schulz_steps: int = 5,
        newton_schulz_dtype: str = "float32",
        matrices: bool = True,
        *,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        options = {
            "lion_ratio": lion_ratio,
            "period": period,
            "newton_schulz_steps": newton_schulz_steps,
            "newton_schulz_dtype": newton_schulz_dtype,
        }
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **options}
        super().__init__(params, defaults, matrices=matrices, shard=shard, process_group=process_group)

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["lion_ratio"] >= 0, options, "lion_ratio", "not be negative")
        for name in ("period", "newton_schulz_steps"):
            self.require(options[name] >= 1, options, name, "be 1 or more")
        dtypes = f"be one of {', '.join(DTYPES)}"
        self.require(options["newton_schulz_dtype"] in DTYPES, options, "newton_schulz_dtype", dtypes)

    def update_matrices(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        for p, state in zip(parameters, states, strict=True):
            if not state:
                state.update({"step": 0, "momentum_buffer": torch.zeros_like(p)})
        beta1, beta2 = group["betas"]
        momenta = [state["momentum_buffer"] for state in states]
        directions = list(torch._foreach_lerp(momenta, gradients, 1 - beta1))
        torch._foreach_lerp_(momenta, gradients, 1 - beta2)
        for by_sign in (False, True):
            chosen = [i for i, state in enumerate(states) if (state["step"] % group["period"] != 0) == by_sign]
            if chosen:
                rate = group["lr"] * (group["lion_ratio"] if by_sign else 1)
                moved, turned = [parameters[i] for i in chosen], [directions[i] for i in chosen]
                updates = list(torch._foreach_sign(turned)) if by_sign else self._orthogonal(group, turned)
                torch._foreach_mul_(moved, 1 - rate * group["weight_decay"])
                torch._foreach_add_(moved, updates, alpha=-rate)
        for state in states:
            state["step"] += 1

    def _orthogonal(self, group: Group, directions: list[Tensor]) -> Tensors:
        dtype = DTYPES[group["newton_schulz_dtype"]]
        updates = orthogonal_each(directions, "classic", group["newton_schulz_steps"], dtype, share=self._share)
        torch._foreach_mul_(updates, [0.2 * max(len(o), o.numel() / len(o)) ** 0.5 for o in updates])
        return updates
