"""Schedule-Free AdamW, winner of AlgoPerf's self-tuning ruleset in v0.5."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from algoperf_lightning.workload import WorkloadView

from .batch_sizes import SCHEDULE_FREE
from .optimizer import State, average_squares_, values_of
from .schedule_free import ScheduleFree, ScheduleFreeOptimizer

Rules = Literal["v1", "v2"]

_POINT_KEYS = ("label_smoothing", "learning_rate", "one_minus_beta1", "beta2", "weight_decay", "warmup_factor")
_POINTS = (
    (0.2, 0.003, 0.1, 0.9955, 0.08, 0.02),
    (0.4, 0.004, 0.1, 0.9955, 0.08, 0.02),
    (0.4, 0.005, 0.1, 0.62918, 0.08, 0.02),
    (0.1, 0.01, 0.075, 0.99, 0.04, 0.02),
    (0.2, 0.002, 0.1, 0.9955, 0.08, 0.02),
)


class ScheduleFreeAdamW(ScheduleFree):
    """Schedule-Free AdamW: warm-up, no decay of the learning rate, no horizon; evaluated at an average of its weights.

    The search space is the second version's list of five points for external tuning, the default its first. Further
    configs: ``submissions/schedule_free_adamw_self_tuning`` (the second version's self-tuning point) and
    ``submissions/schedule_free_adamw_v1``; the first version's five points are
    ``search_spaces/schedule_free_adamw_v1.json``. The entries' points named dropout rates that, in the second version,
    never reached the model; they are left out, and the workload's own dropout holds.

    Deviations: the model is in training mode in every step, where the second version's entries left it in evaluation
    mode after the first evaluation where a workload did not set it itself (WMT, without dropout from there on). The
    first version's self-tuning entry went back to the initial weights and halved its learning rate if the first
    evaluations did not improve; that is not here. Batch sizes are those of the second version under external tuning.

    Args:
        learning_rate: Learning rate after warm-up.
        one_minus_beta1: Share of the fast weights in the point whose gradient is taken.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up, times 0.75 in the second version.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        version: ``v2`` decays toward the gradient's point and weighs steps by the squared learning rate. ``v1``
            decays toward the average, weighs later steps more, computes second moments in bfloat16, which makes them
            smaller, and lets batch norms move their statistics where the gradient is taken.
        statistics_steps: In which of three steps, counted from 0, ``v2`` moves running statistics of batch norms, by a
            forward pass of its own. External tuning has ``[1, 2]``, self-tuning ``[0]``.
        epsilon: Added to the root of the second moment.

    Reference: Defazio et al. 2024, https://arxiv.org/abs/2405.15682; the entries "Schedule Free AdamW" of the AlgoPerf
    v0.5 and v0.6 leaderboards.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = SCHEDULE_FREE
    search_space: ClassVar[list[dict[str, float]]] = [dict(zip(_POINT_KEYS, point, strict=True)) for point in _POINTS]

    def __init__(
        self,
        learning_rate: float = 0.003,
        one_minus_beta1: float = 0.1,
        beta2: float = 0.9955,
        warmup_factor: float = 0.02,
        weight_decay: float = 0.08,
        label_smoothing: float = 0.2,
        dropout_rate: float | None = None,
        version: Rules = "v2",
        statistics_steps: tuple[int, ...] = (1, 2),
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1 = 1 - one_minus_beta1
        self.beta2 = beta2
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate
        self.version = version
        self.statistics_steps = None if version == "v1" else tuple(statistics_steps)
        self.epsilon = epsilon

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return Schedule-Free AdamW."""
        warmup_scale = 0.75 if self.version == "v2" else 1.0
        self.optimizer = ScheduleFreeAdamWOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            warmup_steps=int(self.warmup_factor * workload.step_hint * warmup_scale),
            version=self.version,
        )
        return self.optimizer


class ScheduleFreeAdamWOptimizer(ScheduleFreeOptimizer):
    """Schedule-free averaging over AdamW without a first moment; see :class:`ScheduleFreeOptimizer`.

    With the gradient g at y, k = 1, 2, ... and ``s = r(k) sqrt(1 - b2^k)``::

        v <- b2 v + (1 - b2) g^2
        v2:  z <- z - s (g / (sqrt(v) + eps) + weight_decay y),  w(k) = r(k)^2
        v1:  z <- z - s (g / (sqrt(v) + eps) + weight_decay x),  w(k) = k^0.75 (largest r so far)^2

    v1 keeps v in bfloat16 and rounds to it after the decay, after the addition, and after the root, as its entries did.
    Rounding loses a part of what is added, so v is smaller than the average of the squares: by a quarter at
    ``b2 = 0.9955`` after 501 gradients of unit variance (mean 0.676, where exact arithmetic has 0.894).

    ``schedulefree.AdamWScheduleFree`` is v2 but for its weight decay, which lacks the factor ``sqrt(1 - b2^k)``, and
    where it adds eps.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate after warm-up.
        beta1: Share of the average in y, in (0, 1).
        beta2: Decay rate of the second moment, in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Weight decay.
        warmup_steps: Steps until the learning rate is reached.
        version: ``v1`` or ``v2``.

    Raises:
        BadInputError: If an option is out of its range, or the version unknown.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2.5e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        version: Rules = "v2",
    ) -> None:
        defaults = {"lr": lr, "beta1": beta1, "betas": (beta2,), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "warmup_steps": warmup_steps, "version": version})

    def check_options(self, options: dict[str, Any]) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["version"] in ("v1", "v2"), options, "version", "be 'v1' or 'v2'")

    def init_state(self, parameter: Tensor) -> State:
        """Return z where the parameter is, and a second moment of 0."""
        dtype = torch.bfloat16 if self.defaults["version"] == "v1" else parameter.dtype
        return {**super().init_state(parameter), "exp_avg_sq": torch.zeros_like(parameter, dtype=dtype)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; torch gives states the precision of parameters, which v1 does not want."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if self.defaults["version"] == "v1":
                state["exp_avg_sq"] = state["exp_avg_sq"].bfloat16()

    def rate(self, group: dict[str, Any]) -> float:
        """Return the learning rate of this step, at least eps."""
        return max(super().rate(group), float(group["eps"]))

    def weight(self, group: dict[str, Any], rate: float) -> float:
        """Return the weight of this step."""
        if group["version"] == "v2":
            return float(rate**2)
        return float((group["k"] + 1) ** 0.75 * group["lr_max"] ** 2)

    def directions(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> list[Tensor]:
        """Move the second moments and return the directions."""
        (beta2,) = group["betas"]
        seconds = values_of(states, "exp_avg_sq")
        if group["version"] == "v1":
            # One tensor after the other: on the CPU, torch's operations on lists round beta2 to bfloat16 too.
            for second, gradient in zip(seconds, gradients, strict=True):
                second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        else:
            average_squares_(seconds, gradients, beta2)
        roots = torch._foreach_sqrt(seconds)
        torch._foreach_add_(roots, group["eps"])
        directions = list(torch._foreach_div(gradients, roots))
        if group["version"] == "v2":
            torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        return directions

    def move(
        self,
        group: dict[str, Any],
        fast: list[Tensor],
        averages: list[Tensor],
        directions: list[Tensor],
        rate: float,
    ) -> None:
        """Move z."""
        size = rate * (1 - group["betas"][0] ** (group["k"] + 1)) ** 0.5
        torch._foreach_add_(fast, directions, alpha=-size)
        if group["version"] == "v1":
            torch._foreach_add_(fast, averages, alpha=-size * group["weight_decay"])
