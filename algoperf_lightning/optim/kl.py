"""KL-Shampoo and KL-SOAP: Kronecker factors that minimise a Kullback-Leibler divergence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.bases import first_bases, iterated_bases
from algoperf_lightning.optim.foreach import Group, State, Tensors
from algoperf_lightning.optim.matrices import outer, rotate
from algoperf_lightning.optim.matrix_optimizer import MatrixOptimizer
from algoperf_lightning.optim.sharding import Share

_FIRST_EIGENVALUE = 0.1


class KroneckerKL(MatrixOptimizer):
    """Base class of KL-Shampoo and KL-SOAP with factors, bases and eigenvalues.

    A matrix ``(m, n)`` has a factor S, a basis Q that tracks the eigenvectors of S, and a vector r of inverse square
    roots of estimated eigenvalues for each side, left (L) and right (R). With gradient g and b = ``factor_beta``::

        at a parameter's first gradient: S_L = (1 - b) g g^T / n, S_R = (1 - b) g^T g / m, Q their eigenvectors,
        r = 0.1^-0.5; p stays
        then, after a step with d: p <- p - lr d;  p <- p (1 - lr * weight_decay),
        S_L <- b S_L + (1 - b) H H^T / n with H = g Q_R diag(r_R), and S_R alike with the other side's Q and r
        D = Q_L^T g Q_R;  r_L <- [b / r_L^2 + (1 - b) mean((D diag(r_R))^2, over columns)]^-0.5, r_R alike
        every ``precondition_frequency`` steps Q by a power iteration and QR

    Both sides use the r and Q of the other side from before the step. The upper bound of r is the length of its side,
    clamped to [10, 4000]. A side longer than ``max_preconditioner_dim`` keeps Q = 1 and has a diagonal factor. The
    authors' code has no such limit.

    Other groups and tensors are updated with ``torch.optim.AdamW``. Convolution kernels are flattened to matrices of
    output channels by all other axes. The authors' code supports only two and three axes.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1).
        eps: See the subclass. In other groups, eps of AdamW.
        weight_decay: Decoupled weight decay.
        factor_beta: Decay rate of factors and eigenvalues; None means the second of ``betas``.
        precondition_frequency: Number of steps between updates of the bases.
        max_preconditioner_dim: Maximum side length with a full factor.
        matrices: Whether tensors with two or more axes in a group use this rule instead of AdamW.
        shard: Whether to shard the computation of the bases over the ranks.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Lin et al. 2026, https://arxiv.org/abs/2509.03378.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        factor_beta: float | None = None,
        precondition_frequency: int = 10,
        max_preconditioner_dim: int = 10_000,
        matrices: bool = True,
        *,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        options = {
            "factor_beta": factor_beta,
            "precondition_frequency": precondition_frequency,
            "max_preconditioner_dim": max_preconditioner_dim,
        }
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **options}
        super().__init__(params, defaults, matrices=matrices, shard=shard, process_group=process_group)

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        beta = options["factor_beta"]
        self.require(beta is None or 0 <= beta < 1, options, "factor_beta", "be in [0, 1) or None")
        for name in ("precondition_frequency", "max_preconditioner_dim"):
            self.require(options[name] >= 1, options, name, "be 1 or more")

    def update_matrices(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        gradients = [gradient.flatten(1) for gradient in gradients]
        frequency = group["precondition_frequency"]
        new = [pair for pair in zip(gradients, states, strict=True) if not pair[1]]
        old = [triple for triple in zip(parameters, gradients, states, strict=True) if triple[2]]
        for gradient, state in new:
            state.update(_first_state(gradient, group))
            self.add_moments(gradient, state)
        first_bases([state for _, state in new], self._share)
        for parameter, gradient, state in old:
            state["step"] += 1
            parameter.sub_(self.direction(gradient, state, group).view(parameter.shape), alpha=group["lr"])
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            _move_factors(gradient, state, group)
        self.turn([state for _, _, state in old if state["step"] % frequency == 0], self._share)

    def turn(self, states: list[State], share: Share) -> None:
        """Update the bases."""
        for state, bases in zip(states, iterated_bases(states, share), strict=True):
            state["bases"] = bases

    @abstractmethod
    def add_moments(self, gradient: Tensor, state: State) -> None:
        """Add zero-initialised moments with the shape ``(m, n)`` of the gradient to a state."""

    @abstractmethod
    def direction(self, gradient: Tensor, state: State, group: Group) -> Tensor:
        """Update the moments and return the direction d, ``(m, n)``."""


class KLShampoo(KroneckerKL):
    """Momentum multiplied on both sides by the inverse roots of coupled factors.

    The factor of each side is averaged after applying the inverse root of the other side. The factors then minimise a
    Kullback-Leibler divergence between Gaussians, and grafting to the step length of Adam is not needed. With E = r_L
    r_R^T::

        m <- b1 m + (1 - b1) g;  d = Q_L [(Q_L^T m Q_R) * E / (1 + eps E)] Q_R^T

    See :class:`KroneckerKL` for the rest of the algorithm and the arguments.

    Reference: Lin et al. 2026, https://arxiv.org/abs/2509.03378.
    """

    def add_moments(self, gradient: Tensor, state: State) -> None:
        """Add the first moment to a state."""
        state["exp_avg"] = torch.zeros_like(gradient, memory_format=torch.contiguous_format)

    def direction(self, gradient: Tensor, state: State, group: Group) -> Tensor:
        """Update the moment and return the direction."""
        state["exp_avg"].lerp_(gradient, 1 - group["betas"][0])
        left, right = state["inverse_roots"]
        scale = torch.outer(left, right)
        turned = rotate(state["exp_avg"], state["bases"]) * (scale / (1 + group["eps"] * scale))
        return _turned_back(turned, state["bases"])


class KLSoap(KroneckerKL):
    """Adam without bias correction in the eigenbasis of the KL-Shampoo factors.

    Both moments are stored in the eigenbasis, and the second moment is not rotated when the basis changes. With G =
    Q_L^T g Q_R::

        m <- b1 m + (1 - b1) G;  v <- b2 v + (1 - b2) G^2;  d = Q_L [m / (sqrt(v) + eps)] Q_R^T

    See :class:`KroneckerKL` for the rest of the algorithm and the arguments.

    Reference: Lin et al. 2026, https://arxiv.org/abs/2509.03378.
    """

    def add_moments(self, gradient: Tensor, state: State) -> None:
        """Add both moments to a state."""
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = torch.zeros_like(gradient, memory_format=torch.contiguous_format)

    def direction(self, gradient: Tensor, state: State, group: Group) -> Tensor:
        """Update the moments and return the direction."""
        beta1, beta2 = group["betas"]
        turned = rotate(gradient, state["bases"])
        state["exp_avg"].lerp_(turned, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(turned, turned, value=1 - beta2)
        return _turned_back(state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"]), state["bases"])

    def turn(self, states: list[State], share: Share) -> None:
        """Update the bases and rotate the first moment accordingly."""
        plain = [_turned_back(state["exp_avg"], state["bases"]) for state in states]
        super().turn(states, share)
        for state, moment in zip(states, plain, strict=True):
            state["exp_avg"] = rotate(moment, state["bases"]).contiguous()


def _turned_back(tensor: Tensor, bases: Tensors) -> Tensor:
    return rotate(tensor, [basis.mT for basis in bases])


def _factor_beta(group: Group) -> float:
    beta: float | None = group["factor_beta"]
    return float(group["betas"][1] if beta is None else beta)


def _first_state(gradient: Tensor, group: Group) -> State:
    full = [size <= group["max_preconditioner_dim"] for size in gradient.shape]
    weight = 1 - _factor_beta(group)
    return {
        "step": 0,
        "factors": [
            outer(gradient, side) * (weight / gradient.shape[1 - side]) if full[side] else gradient.new_empty(0, 0)
            for side in (0, 1)
        ],
        "inverse_roots": [gradient.new_full((size,), _FIRST_EIGENVALUE**-0.5) for size in gradient.shape],
    }


def _move_factors(gradient: Tensor, state: State, group: Group) -> None:
    """Update factors and eigenvalues with the other side's basis and eigenvalues from before the step."""
    beta, roots, bases = _factor_beta(group), state["inverse_roots"], state["bases"]
    nothing = gradient.new_empty(0, 0)
    turned = rotate(gradient, bases)
    moved = []
    for side in (0, 1):
        other = 1 - side
        weights = roots[other][None] if side == 0 else roots[other][:, None]
        if (factor := state["factors"][side]).numel():
            half = rotate(gradient, [nothing, bases[1]] if side == 0 else [bases[0], nothing]) * weights
            factor.lerp_(outer(half, side) / gradient.shape[other], 1 - beta)
        eigenvalues = (turned * weights).square().mean(other)
        limit = float(max(10, min(gradient.shape[side], 4000)))
        moved.append((beta / roots[side].square() + (1 - beta) * eigenvalues).rsqrt().clamp(max=limit))
    state["inverse_roots"] = moved
