"""KL-SOAP and KL-Shampoo."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import KLShampoo as KLShampooOptimizer
from algoperf_lightning.optim import KLSoap as KLSoapOptimizer
from algoperf_lightning.optim.kl import KroneckerKL
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .matrix_groups import hidden_and_others
from .recipe import NO_FLOAT16, Recipe
from .search_spaces import paper_space


@with_arguments
class _KL(Recipe):
    """The hyperparameters of both.

    Args:
        beta2: Decay rate of second moments and of the preconditioners.
        factor_beta: Decay rate of the preconditioners; None uses ``beta2``.
        precondition_frequency: Steps between updates of the eigenbasis.
        max_preconditioner_dim: Longer sides of a matrix have a diagonal preconditioner.
        shard: Whether ranks share the computation of bases, which gives the same result in less time.
    """

    contract = Contract(
        exempt=NO_FLOAT16,
        # The first factor of a longer axis has less than full rank here, so rounding decides its basis.
        options={"precondition_frequency": 2, "max_preconditioner_dim": 4},
    )

    optimizer: ClassVar[type[KroneckerKL]]
    search_space = paper_space(
        learning_rate=(3e-4, 3e-2), one_minus_beta1=(0.02, 0.2), beta2=0.98, weight_decay=(0.001, 0.5)
    )

    learning_rate: float = 3e-3
    one_minus_beta1: float = 0.1
    beta2: float = 0.98
    warmup_factor: float = 0.05
    weight_decay: float = 0.01
    factor_beta: float | None = None
    precondition_frequency: int = 10
    max_preconditioner_dim: int = 10_000
    label_smoothing: float = 0.1
    dropout_rate: float | None = None
    epsilon: float = 1e-8
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> KroneckerKL:
        """Return the optimizer, with a separate group for the parameters that AdamW trains."""
        return self.optimizer(
            hidden_and_others(model, self.parameter_roles(workload), {"matrices": True}, {"matrices": False}),
            **self.adam_options,
            factor_beta=self.factor_beta,
            precondition_frequency=self.precondition_frequency,
            max_preconditioner_dim=self.max_preconditioner_dim,
            shard=self.shard,
        )


@with_arguments
class KLSoap(_KL):
    """KL-SOAP for the matrices and convolutions of hidden layers, AdamW for the rest; warm-up, cosine decay to 0.

    SOAP in the eigenbasis of factors that minimise a Kullback-Leibler divergence. Not an entry of the benchmark: betas,
    epsilon and period are those of the authors' code; learning rate, decay and warm-up are those of ``soap``. On a
    public leaderboard of steps to a target loss of a language model, KL-SOAP and SOAP, both with another step length,
    needed 3,125 steps, and Muon 3,250.

    Deviations: a convolution's kernel is a matrix of output channels by the rest; the authors' code supports tensors
    with two and three axes only. Sides longer than ``max_preconditioner_dim`` have a diagonal preconditioner; the
    authors' code has no limit. As in their code, the first gradient of a matrix only initialises its preconditioner.

    Reference: Lin et al. 2026, https://arxiv.org/abs/2509.03378.
    """

    optimizer = KLSoapOptimizer


@with_arguments
class KLShampoo(_KL):
    """KL-Shampoo for the matrices and convolutions of hidden layers, AdamW for the rest; warm-up, cosine decay to 0.

    Shampoo with factors that minimise a Kullback-Leibler divergence, without grafting and without second moments of
    matrices. Not an entry of the benchmark: betas, epsilon and period are those of the authors' code; learning rate,
    decay and warm-up are those of ``soap``.

    Deviations: as in ``kl_soap``, a convolution's kernel is a matrix of output channels by the rest; sides longer
    than ``max_preconditioner_dim`` have a diagonal preconditioner.

    Args:
        beta2: Decay rate of the preconditioners, and of AdamW's second moments.
        epsilon: Limits the product of two inverse roots to its inverse; added to the root of AdamW's second moments.

    Reference: Lin et al. 2026, https://arxiv.org/abs/2509.03378.
    """

    optimizer = KLShampooOptimizer
