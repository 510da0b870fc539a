"""LionMuon: Muon in one step of a period, Lion in the others."""

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
    """Steps by the orthogonal matrix of a momentum every ``period`` steps, and by its sign in between.

    With gradient g, and k = 0, 1, ... the number of previous gradients of a matrix ``(m, n)``::

        u = b1 M + (1 - b1) g;  M <- b2 M + (1 - b2) g
        where the period divides k:  r = lr,               d = 0.2 sqrt(max(m, n)) orthogonal(u)
        otherwise:                   r = lr * lion_ratio,  d = sign(u)
        p <- p (1 - r * weight_decay) - r d

    so the first step of each period is Muon's. With equal betas, this is SignMuon. Other groups and tensors
    are updated as by ``torch.optim.AdamW``, with the group's betas, eps and weight decay.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate of the orthogonal steps, and of AdamW.
        betas: Decay rates, each in [0, 1).
        eps: AdamW's.
        weight_decay: Decoupled weight decay.
        lion_ratio: Learning rate of the steps by sign, as a multiple of ``lr``.
        period: Steps from one orthogonal step to the next.
        newton_schulz_steps: Iterations of the orthogonalisation.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.
        matrices: Whether a group's tensors of two axes or more are updated by this rule, or by AdamW.
        shard: Whether the ranks share the orthogonalisation.
        process_group: The ranks that share; None is all of them.

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
        """Make a step."""
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
