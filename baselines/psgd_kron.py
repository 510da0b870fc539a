"""PSGD Kron."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import PSGDKron as PSGDKronOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import Recipe


@with_arguments
class PSGDKron(Recipe):
    """PSGD with a Kronecker-factored preconditioner for all parameters; warm-up, cosine decay to 0.

    The preconditioner is fitted with random probes, at every step at first and at 3 % of the steps in the end. Not an
    entry of the benchmark: the default point is that of the authors' PyTorch code, with a warm-up of 5 %. Parameters
    with one axis are not decayed.

    Deviations: a convolution's kernel is a matrix of output channels by the rest, where the authors' code makes it one
    of all other axes by the last side of the kernel, unless ``flatten_kernels`` is false. Random numbers differ.

    Args:
        one_minus_beta: 1 minus the decay rate of the momentum.
        weight_decay: Decoupled weight decay of parameters with two axes or more.
        precond_learning_rate: Learning rate of the preconditioner.
        max_size_triangular: Longest axis with a triangular factor; longer ones have a diagonal factor.
        flatten_kernels: Whether the kernel of a convolution is a matrix of output channels by the rest.

    Reference: Li 2018, https://arxiv.org/abs/1512.04202; Pooladzandi and Li 2024, https://arxiv.org/abs/2402.04553.
    """

    contract = Contract(
        exempt={
            "convolution": "A kernel and an equal linear layer get different random probes.",
            "compile": "A step sets attributes of the optimizer, which torch.compile does not trace.",
            "order": "Its random probes are drawn in the order of the parameters.",
        }
    )
    search_space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"min": 3e-5, "max": 3e-3, "scaling": "log"},
        "one_minus_beta": {"feasible_points": [0.05, 0.1]},
        "weight_decay": {"min": 0.005, "max": 1.0, "scaling": "log"},
    }

    learning_rate: float = 3e-4
    one_minus_beta: float = 0.1
    warmup_factor: float = 0.05
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout_rate: float | None = None
    precond_learning_rate: float = 0.1
    max_size_triangular: int = 8192
    flatten_kernels: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> PSGDKronOptimizer:
        """Return PSGD Kron."""
        return PSGDKronOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            beta=1 - self.one_minus_beta,
            weight_decay=self.weight_decay,
            precond_lr=self.precond_learning_rate,
            max_size_triangular=self.max_size_triangular,
            flatten_kernels=self.flatten_kernels,
        )
