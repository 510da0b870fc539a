"""Sharpness-aware minimisation with AdamW, a paper baseline of AlgoPerf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import WITHOUT_VARIANTS
from .ranges import RANGES
from .schedules import warmup_cosine_schedule


class Sam(Submission):
    """AdamW with the gradient at the worst point nearby; linear warm-up and cosine decay to 0 over the step hint.

    A step makes two passes over its batch, and is one step of the clock. Batch norms move their statistics in the first
    pass only. The search space is that of the benchmark paper with tuned beta1. The default point is a usual one, not
    the paper's.

    Deviations: where there is clipping (no search space has it), Lightning clips the first gradient too, which does not
    change its direction, all that is used of it. The loss that is shown is that of the second pass. As in the
    benchmark's PyTorch form the two passes draw different dropout masks; in its JAX form the same.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        rho: Distance to the point whose gradient is taken.
        epsilon: Added to the root of the second moment.

    Reference: Foret et al. 2021, https://arxiv.org/abs/2010.01412; Dahl et al. 2023, https://arxiv.org/abs/2306.07179,
    appendix on baselines.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = WITHOUT_VARIANTS
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    search_space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"},
        "one_minus_beta1": {"min": 0.05, "max": 0.43, "scaling": "log"},
        "beta2": {"feasible_points": [0.999]},
        "warmup_factor": {"feasible_points": [0.05]},
        "weight_decay": {"min": 0.01, "max": 0.2, "scaling": "log"},
        "label_smoothing": {"feasible_points": [0.1, 0.2]},
        "dropout_rate": {"feasible_points": [0.0, 0.1]},
        "rho": {"feasible_points": [0.01, 0.02, 0.05]},
    }

    def __init__(
        self,
        learning_rate: float = 2e-3,
        one_minus_beta1: float = 0.1,
        beta2: float = 0.999,
        warmup_factor: float = 0.05,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = None,
        rho: float = 0.05,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = (1 - one_minus_beta1, beta2)
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate
        self.rho = rho
        self.epsilon = epsilon
        self._optimizer: SamOptimizer | None = None

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return SAM and its schedule."""
        self._optimizer = optimizer = SamOptimizer(
            model.parameters(),
            rho=self.rho,
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            fused=True,
        )
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def training_step(self, workload: WorkloadView, batch: Batch) -> Tensor:
        """Return the mean loss; at the second pass of a step, running statistics stay."""
        first_pass = self._optimizer is None or not self._optimizer.at_worst_point
        loss = workload.loss(
            batch, label_smoothing=self.label_smoothing, update_batch_norm=first_pass, dropout=self.dropout
        )
        return workload.mean(loss)


class SamOptimizer(torch.optim.AdamW):
    """AdamW with the gradient at ``p + rho g / |g|``, g the gradient at p, |g| its norm over all parameters.

    ``step`` needs a closure, which it calls twice; each call must compute the loss, and the gradient anew. Under
    data-parallel training both are averaged over the ranks, so all ranks go to the same point.

    Args:
        params: Parameters, or groups of them.
        rho: Distance to the point whose gradient is taken.
        **options: Those of ``torch.optim.AdamW``.

    Raises:
        BadInputError: If ``rho`` is negative.
        ValueError: If an option of AdamW is out of its range.
    """

    def __init__(self, params: Any, rho: float = 0.05, **options: Any) -> None:
        if not rho >= 0:
            raise BadInputError(f"{type(self).__name__}: rho must not be negative, but got {rho}.")
        super().__init__(params, **options)
        self.rho = rho
        self.at_worst_point = False
        """Whether the closure is being called for the second time."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make both passes and the step; return the loss of the first.

        Raises:
            RuntimeError: Without a closure, which Lightning has none of under precision ``16-mixed``.
        """
        if closure is None:
            raise RuntimeError(
                f"{type(self).__name__}.step needs a closure that computes the loss and its gradient, as it calls it "
                "twice. Lightning passes one, but not with precision='16-mixed': use bf16-mixed or 32-true."
            )
        with torch.enable_grad():
            loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        starts = [p.clone() for p in parameters]
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

    def _go_to_worst_point(self, parameters: list[Tensor]) -> None:
        if not parameters:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.stack([n.to(parameters[0].device) for n in torch._foreach_norm(gradients)]).norm()
        scale = torch.where(norm > 0, self.rho / norm, 0.0)  # without waiting for the device
        torch._foreach_add_(parameters, torch._foreach_mul(gradients, scale))
