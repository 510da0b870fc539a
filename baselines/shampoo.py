"""Distributed Shampoo, winner of AlgoPerf's external-tuning ruleset in v0.5 and v0.6."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.contract import EVERY_ROLE, Contract
from algoperf_lightning.optim import Shampoo as ShampooOptimizer
from algoperf_lightning.optim.shampoo import Graft, Refresh
from algoperf_lightning.roles import Role
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .batch_sizes import SHAMPOO
from .recipe import NO_FLOAT16, Recipe
from .schedules import warmup_cosine_schedule


def _point(learning_rate: float, one_minus_beta1: float, one_minus_beta2: float, decay: float, **others: Any) -> Any:
    return {
        "learning_rate": learning_rate,
        "one_minus_beta1": one_minus_beta1,
        "one_minus_beta2": one_minus_beta2,
        "weight_decay": decay,
        "one_minus_momentum": 1.0,
        "inv_root_override": 0,
        "grafting_type": "ADAM",
        "use_nadam": True,
        "warmup_factor": 0.02,
        "label_smoothing": 0.1,
        "dropout_rate": 0.0,
        "step_hint_factor": 1.0,
        **others,
    }


@with_arguments
class Shampoo(Recipe):
    """Distributed Shampoo with linear warm-up and cosine decay to 0; all parameters are decayed.

    The search space is the winner's list of five points, the default its first; v0.5 and v0.6 had the same code and
    points. The older Shampoo of the benchmark paper existed in JAX only, with other blocks, roots and grafting, and is
    not included.

    Tensors with an axis of a million rows or more (the table of embeddings of ``criteo1tb``) have no preconditioners.
    Their step length is Adam's in every point, as in the entry, also in the third, whose grafting type is SGD.

    Deviations: the dropout rate of a point reaches the model, as in v0.5; in v0.6 it did not. Past the horizon, which
    the second point reaches at 0.6 of the step hint, the learning rate stays 0, while the entry's increases again.
    Ranks share only the computation of inverse roots, not the update and its state. ``one_minus_momentum`` 1 stands for
    ``use_momentum`` false. As in the entry, and unlike in Meta's current package, Nadam's numerator is divided by
    1 - beta1^t, not 1 - beta1^(t+1). (That package is not on PyPI and needs Python 3.12, so this is our own code.)

    Args:
        one_minus_beta1: 1 minus the decay rate of the first moment; 1 is no first moment.
        one_minus_beta2: 1 minus the decay rate of preconditioners and second moment.
        weight_decay: Added to the direction, before momentum.
        one_minus_momentum: 1 minus the (Nesterov) momentum of the directions; 1 is no momentum.
        inv_root_override: Root of the inverse, the same for tensors of all orders; 0 selects twice the order.
        grafting_type: The algorithm whose step length each block uses: Adam or SGD.
        use_nadam: Whether to use a Nesterov-like first moment.
        warmup_factor: Share of the horizon spent warming up.
        step_hint_factor: Steps until the learning rate is 0, as a share of the step hint.
        refresh: How a root is updated when it is due. ``fixed`` decomposes its matrix; ``foam`` (FOAM) keeps the
            eigenbasis with more damping if this covers its error.
        max_damping: Largest damping of a kept eigenbasis.
        foam_tolerance: Relative error of a root that the damping covers.
        precondition_frequency: Steps before the first inverse roots, and from one to the next.
        max_preconditioner_dim: Longest axis of a block.
        epsilon: Added to eigenvalues, and to the root of the second moment.
        shard: Whether ranks share the computation of roots, which gives the same result in less time.

    Reference: Shi et al. 2023, https://arxiv.org/abs/2309.06497; Gupta et al. 2018, https://arxiv.org/abs/1802.09568;
    Kasimbeg et al. 2025, https://arxiv.org/abs/2502.15015; FOAM 2026, https://arxiv.org/abs/2606.02365.
    """

    contract = Contract(
        # If a kernel is cut into small blocks, each of its axes has factors that mix columns.
        symmetries={"sign": tuple(role for role in EVERY_ROLE if role is not Role.CONVOLUTION), "scale": EVERY_ROLE},
        exempt=NO_FLOAT16,
        # The first factors of longer axes have less than full rank, so rounding decides their roots.
        options={"precondition_frequency": 3, "max_preconditioner_dim": 2},
    )

    batch_sizes = SHAMPOO
    search_space: ClassVar[list[dict[str, Any]]] = [
        _point(
            0.0017486387539278373,
            0.06733926164,
            0.00448403102,
            0.08121616522670176,
            label_smoothing=0.0,
            dropout_rate=0.1,
        ),
        _point(
            0.0014381744028656841,
            0.025337537053408913,
            0.02508024059481679,
            0.00019716633625688372,
            warmup_factor=0.05,
            label_smoothing=0.2,
            step_hint_factor=0.6,
        ),
        _point(
            4.199449275251465,
            1.0,
            0.0023701743773090066,
            6.404237434173623e-05,
            one_minus_momentum=0.03150207249544311,
            grafting_type="SGD",
            use_nadam=False,
        ),
        _point(
            0.0012,
            0.016610699316537858,
            0.005888216674053163,
            0.00040349948255455174,
            one_minus_momentum=0.5,
            inv_root_override=2,
            dropout_rate=0.1,
        ),
        _point(0.001308209823469072, 0.02686663061, 0.00187670778, 0.16375311233774334, warmup_factor=0.1),
    ]

    learning_rate: float = 0.0017486387539278373
    one_minus_beta1: float = 0.06733926164
    one_minus_beta2: float = 0.00448403102
    weight_decay: float = 0.08121616522670176
    one_minus_momentum: float = 1.0
    inv_root_override: int = 0
    grafting_type: Graft = "ADAM"
    use_nadam: bool = True
    warmup_factor: float = 0.02
    label_smoothing: float = 0.0
    dropout_rate: float | None = 0.1
    step_hint_factor: float = 1.0
    precondition_frequency: int = 100
    max_preconditioner_dim: int = 1024
    epsilon: float = 1e-8
    refresh: Refresh = "fixed"
    max_damping: float = 3e-7
    foam_tolerance: float = 0.75
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> ShampooOptimizer:
        """Return Shampoo."""
        return ShampooOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            betas=(1 - self.one_minus_beta1, 1 - self.one_minus_beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            momentum=1 - self.one_minus_momentum,
            nadam=self.use_nadam,
            grafting_type=self.grafting_type,
            inv_root_override=self.inv_root_override,
            precondition_frequency=self.precondition_frequency,
            max_preconditioner_dim=self.max_preconditioner_dim,
            refresh=self.refresh,
            max_damping=self.max_damping,
            foam_tolerance=self.foam_tolerance,
            shard=self.shard,
        )

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the schedule over the share of the step hint, which the entry does not round."""
        horizon = self.step_hint_factor * step_hint
        return warmup_cosine_schedule(optimizer, horizon=horizon, warmup_factor=self.warmup_factor)
