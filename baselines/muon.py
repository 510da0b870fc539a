"""Muon with NadamW, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .nadamw import nadamw_state, nadamw_update
from .optimizer import ForeachOptimizer, State, values_of
from .ranges import RANGES
from .schedules import warmup_cosine_schedule

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Muon(Submission):
    """Muon for matrices and convolutions, NadamW for embeddings and all that has one axis; cosine decay to 0.

    The default point is the benchmark's JAX entry's, which was scored. Its precision, float32, too.

    Deviations: a convolution's kernel is flattened to output channels by the rest, and scaled by the root of output
    over input channels, as in the entry's PyTorch ports. In JAX its first axis is the kernel's height, so that
    the same code made tiny matrices. Embeddings are known by their kind, not by "embed" in their name. One of the
    PyTorch ports kept its learning rate at 1e-10 of the peak (warm-up of 0 steps); here it starts at the peak.

    Args:
        learning_rate: Peak learning rate of NadamW.
        muon_lr_multiplier: That of Muon, as a multiple of it.
        warmup_factor: Share of the step hint spent warming up.
        muon_beta: Decay rate of Muon's momentum.
        muon_nesterov: Whether it looks one step ahead.
        muon_weight_decay: Decoupled weight decay of Muon's parameters.
        one_minus_beta1: 1 minus the decay rate of NadamW's first moment.
        beta2: Decay rate of NadamW's second moment.
        weight_decay: Decoupled weight decay of NadamW's parameters.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        epsilon: Added to the root of NadamW's second moment.
        newton_schulz_dtype: Precision in which matrices are made orthogonal; ``bfloat16`` is faster on GPUs.

    Reference: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al. 2025,
    https://arxiv.org/abs/2502.16982.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES

    def __init__(
        self,
        learning_rate: float = 0.0001357495179,
        muon_lr_multiplier: float = 28.61130298,
        warmup_factor: float = 0.0,
        muon_beta: float = 0.9560745273,
        muon_nesterov: bool = False,
        muon_weight_decay: float = 0.02397563985,
        one_minus_beta1: float = 0.03413256,
        beta2: float = 0.8629173173,
        weight_decay: float = 0.01275028385,
        label_smoothing: float = 0.0,
        dropout_rate: float | None = 0.0,
        epsilon: float = 1e-8,
        newton_schulz_dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        self.warmup_factor = warmup_factor
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate
        self.muon_options = {
            "lr": learning_rate * muon_lr_multiplier,
            "betas": (muon_beta, 0.0),
            "nesterov": muon_nesterov,
            "weight_decay": muon_weight_decay,
            "newton_schulz_dtype": newton_schulz_dtype,
        }
        self.nadamw_options = {
            "lr": learning_rate,
            "betas": (1 - one_minus_beta1, beta2),
            "eps": epsilon,
            "weight_decay": weight_decay,
        }

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return Muon and its schedule."""
        kinds = workload.parameter_kinds
        groups: list[dict[str, Any]] = [
            {"params": [], "orthogonal": True, **self.muon_options},
            {"params": [], "orthogonal": False, **self.nadamw_options},
        ]
        for name, parameter in model.named_parameters():
            by_muon = parameter.ndim >= 2 and kinds[name] is not ParameterKind.EMBEDDING
            groups[0 if by_muon else 1]["params"].append(parameter)
        optimizer = MuonOptimizer([group for group in groups if group["params"]])
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class MuonOptimizer(ForeachOptimizer):
    """Momentum made orthogonal, and NadamW for what is no matrix, as one optimizer.

    A group with ``orthogonal`` holds tensors of two axes or more, as matrices of the first axis by the rest. With
    gradient g, momentum m and b the first of ``betas``::

        m <- b m + (1 - b) g;  u = b m + (1 - b) g (nesterov) or m
        p <- p - lr * [max(1, sqrt(size of axis 0 / size of axis 1)) orthogonal(u) + weight_decay p]

    where orthogonal(u) comes near U V^T of u = U S V^T by five Newton-Schulz iterations. Matrices of one shape go
    through them together. Other groups are :class:`~algoperf_lightning.baselines.nadamw.NadamWOptimizer`'s.

    ``torch.optim.Muon`` is the same on matrices, in bfloat16, and refuses all others.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1); Muon uses the first.
        eps: Added to the root of NadamW's second moment.
        weight_decay: Decoupled weight decay.
        orthogonal: Whether Muon or NadamW holds.
        nesterov: Whether Muon's momentum looks one step ahead.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.

    Raises:
        BadInputError: If an option is out of its range, or an orthogonal group holds a tensor of fewer than two axes.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        betas: tuple[float, float] = (0.95, 0.0),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        orthogonal: bool = True,
        nesterov: bool = True,
        newton_schulz_dtype: str = "float32",
    ) -> None:
        options = {"orthogonal": orthogonal, "nesterov": nesterov, "newton_schulz_dtype": newton_schulz_dtype}
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "fused": True, **options}
        super().__init__(params, defaults)
        for group in self.param_groups:
            flat = [tuple(p.shape) for p in group["params"] if group["orthogonal"] and p.ndim < 2]
            if flat:
                raise BadInputError(
                    f"MuonOptimizer: an orthogonal group needs tensors of two axes or more, but got {flat}."
                )
        self._by_nadamw = {p for group in self.param_groups if not group["orthogonal"] for p in group["params"]}

    def check_options(self, options: dict[str, Any]) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(
            options["newton_schulz_dtype"] in _DTYPES, options, "newton_schulz_dtype", f"be one of {', '.join(_DTYPES)}"
        )

    def init_state(self, parameter: Tensor) -> State:
        """Return a momentum of 0, or NadamW's moments."""
        if parameter in self._by_nadamw:
            return nadamw_state(parameter)
        return {"momentum_buffer": torch.zeros_like(parameter)}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> None:
        """Make a step."""
        if not group["orthogonal"]:
            nadamw_update(group, parameters, gradients, states)
            return
        keep = group["betas"][0]
        momenta = values_of(states, "momentum_buffer")
        torch._foreach_lerp_(momenta, gradients, 1 - keep)
        directions = torch._foreach_lerp(momenta, gradients, 1 - keep) if group["nesterov"] else momenta
        updates = _orthogonal_together(directions, _DTYPES[group["newton_schulz_dtype"]])
        torch._foreach_mul_(updates, [max(1.0, p.shape[0] / p.shape[1]) ** 0.5 for p in parameters])
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])


def _orthogonal_together(directions: Iterable[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the orthogonal matrix of each tensor, in its shape and precision; one batch for each shape of matrix."""
    directions = list(directions)
    by_shape: dict[Any, list[int]] = defaultdict(list)
    for index, direction in enumerate(directions):
        by_shape[direction.shape[0], direction[0].numel(), direction.device].append(index)
    updates = list(directions)
    for (rows, columns, _), indices in by_shape.items():
        stacked = torch.stack([directions[i].reshape(rows, columns) for i in indices])
        # float64 is for comparisons; training in it is not made worse by a setting that is meant for speed.
        result = orthogonal(stacked.to(dtype) if stacked.dtype is not torch.float64 else stacked)
        for index, matrix in zip(indices, result, strict=True):
            updates[index] = matrix.to(directions[index].dtype).reshape(directions[index].shape)
    return updates


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices ``(N, R, C)`` with all singular values brought near 1, by Newton-Schulz iterations."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
