"""PSGD with a Kronecker-factored preconditioner."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors

_SCHEDULE = "schedule"
_LARGEST_RMS = 1.1
_BALANCED = 0.01  # fraction of updates that balance the factors first


class PSGDKron(ForeachOptimizer):
    """Momentum preconditioned by triangular factors, which are fitted with random probes.

    With gradient g and one factor per axis, written here for a matrix with the factors Q and R::

        m <- b m + (1 - b) g;  u = m / (1 - b^t)
        at some steps, with V from a normal distribution:
            u <- u + sqrt(e) mean|u| V, e being the precision of u's type;  A = Q u R^T;  B = Q^-T V R^-1
            Q <- Q - r triu(A A^T - B B^T) Q / |A A^T + B B^T|, and R likewise with A^T A and B^T B
        d = Q^T Q u R^T R;  d <- d min(1, 1.1 / RMS(d))
        p <- p - lr (d + weight_decay p), without decay where p has fewer than two axes

    where | | is a lower bound of the spectral norm, computed with one power iteration. Factors are diagonal, with
    element-wise products, for axes of size 1, for axes longer than ``max_size_triangular``, and in tensors with fewer
    than two axes.

    Factors are fitted at every step up to step 500. After that, the fraction of steps that fit them decreases
    exponentially to 0.03 at step 4,000. Before 1 % of these updates on average, the factors of a matrix are rescaled to
    have equal largest elements.

    Random numbers depend only on ``seed`` and the step. All ranks draw the same numbers, and a resumed run continues
    the sequence. ``kron_torch`` uses the same update rule with different random numbers.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        beta: b, in [0, 1).
        weight_decay: Decoupled weight decay.
        precond_lr: r, the learning rate of the factors.
        precond_init_scale: Scale of the initial preconditioner: the product of the factors is this value times the
            identity.
        max_size_triangular: Maximum length of an axis with a triangular factor.
        update_probability: Fraction of steps that fit the factors, in (0, 1]; None means the schedule above.
        flatten_kernels: Whether a tensor with more than two axes is flattened to a matrix of the first axis by all
            other axes. If False, it is reshaped as in ``kron_torch``. For most kernels, that gives all other axes by
            the last axis, which is spatial.
        seed: Seed of the random numbers.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Li 2018, https://arxiv.org/abs/1512.04202; Pooladzandi and Li 2024, https://arxiv.org/abs/2402.04553.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-4,
        beta: float = 0.9,
        weight_decay: float = 0.0,
        precond_lr: float = 0.1,
        precond_init_scale: float = 1.0,
        max_size_triangular: int = 8192,
        update_probability: float | None = None,
        flatten_kernels: bool = True,
        seed: int = 0,
    ) -> None:
        self.update_probability, self.seed = update_probability, seed
        options = {
            "precond_lr": precond_lr,
            "precond_init_scale": precond_init_scale,
            "max_size_triangular": max_size_triangular,
            "flatten_kernels": flatten_kernels,
        }
        super().__init__(params, {"lr": lr, "beta": beta, "weight_decay": weight_decay, **options})
        named = {"update_probability": update_probability}
        fits = update_probability is None or 0 < update_probability <= 1
        self.require(fits, named, "update_probability", "be in (0, 1] or None")
        self._fits, self._balances = True, False

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(0 <= options["beta"] < 1, options, "beta", "be in [0, 1)")
        self.require(options["precond_lr"] >= 0, options, "precond_lr", "not be negative")
        self.require(options["precond_init_scale"] > 0, options, "precond_init_scale", "be positive")
        self.require(options["max_size_triangular"] >= 0, options, "max_size_triangular", "not be negative")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step and return the result of the closure."""
        states: dict[Any, Any] = self.state
        count = states.setdefault(_SCHEDULE, {"step": 0, "since_fit": 0})
        count["since_fit"] += 1
        self._fits = count["since_fit"] >= 1 / self._probability(count["step"])
        if self._fits:
            count["since_fit"] = 0
        draws = random.Random(f"{self.seed} {count['step']}")
        self._balances = self._fits and draws.random() < _BALANCED
        self._generators: dict[Any, torch.Generator] = {}
        count["step"] += 1
        return super().step(closure)

    def init_state(self, parameter: Tensor) -> State:
        """Return a step count. Momentum and factors are added with the first gradient."""
        return {"step": 0}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        matrices = [_merged(gradient, group["flatten_kernels"]) for gradient in gradients]
        for matrix, state in zip(matrices, states, strict=True):
            if "factors" not in state:
                state["momentum_buffer"] = torch.zeros_like(matrix, memory_format=torch.contiguous_format)
                state["factors"] = _first_factors(matrix, group)
            state["step"] += 1
        momenta = [state["momentum_buffer"] for state in states]
        torch._foreach_lerp_(momenta, matrices, 1 - group["beta"])
        ahead = list(torch._foreach_div(momenta, [1 - group["beta"] ** state["step"] for state in states]))
        for u, state in zip(ahead, states, strict=True):
            if self._balances and u.ndim > 1:
                _balance(state["factors"])
            if self._fits:
                probe = self.probe(u)
                u.add_(probe * (torch.finfo(u.dtype).eps ** 0.5 * u.abs().mean()))
                _fit(state["factors"], u, probe, group["precond_lr"])
        directions = [_preconditioned(u, state["factors"]) for u, state in zip(ahead, states, strict=True)]
        _clip(directions)
        directions = [d.view(p.shape) for d, p in zip(directions, parameters, strict=True)]
        decayed = [i for i, p in enumerate(parameters) if p.ndim >= 2]
        if decayed and group["weight_decay"]:
            torch._foreach_mul_([parameters[i] for i in decayed], 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])

    def probe(self, like: Tensor) -> Tensor:
        """Return samples from a standard normal distribution with the shape and dtype of a tensor."""
        if like.device not in self._generators:
            states: dict[Any, Any] = self.state
            seed = self.seed * 1_000_003 + states[_SCHEDULE]["step"]
            self._generators[like.device] = torch.Generator(like.device).manual_seed(seed)
        generator = self._generators[like.device]
        return torch.randn(like.shape, device=like.device, generator=generator).to(like.dtype)

    def _probability(self, step: int) -> float:
        if self.update_probability is not None:
            return self.update_probability
        return min(1.0, max(0.03, math.exp(-0.001 * (step - 500))))


def _merged(tensor: Tensor, flatten: bool) -> Tensor:
    """Return a tensor with more than two axes as a matrix."""
    if tensor.ndim <= 2:
        return tensor
    rows, columns = tensor.shape[0], tensor.shape[-1]
    if flatten or columns - tensor.numel() / columns > tensor.numel() / rows - rows:
        return tensor.flatten(1)
    return tensor.flatten(0, -2)


def _first_factors(matrix: Tensor, group: Group) -> Tensors:
    scale = group["precond_init_scale"] ** (1 / max(1, matrix.ndim))
    factors = []
    for size in matrix.shape or (1,):
        diagonal = matrix.ndim < 2 or size == 1 or size > group["max_size_triangular"]
        ones = matrix.new_full((size,), scale)
        factors.append(ones if diagonal else ones.diag())
    return factors


def _applied(tensor: Tensor, factors: Sequence[Tensor], transposed: bool = False) -> Tensor:
    """Multiply every axis of a tensor by its factor, or by the transposed factor, from the left."""
    for axis, factor in enumerate(factors):
        if factor.ndim == 1:
            tensor = tensor * (factor[:, None] if axis == 0 and tensor.ndim == 2 else factor.view(-1))
        elif axis == 0:
            tensor = (factor.mT if transposed else factor) @ tensor
        else:
            tensor = tensor @ (factor if transposed else factor.mT)
    return tensor


def _preconditioned(u: Tensor, factors: Sequence[Tensor]) -> Tensor:
    return _applied(_applied(u, factors), factors, transposed=True).view(u.shape)


def _unapplied(probe: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Return B: the probe with the inverse transposed factor applied along every axis from the left."""
    for axis, factor in enumerate(factors):
        if factor.ndim == 1:
            probe = probe / (factor[:, None] if axis == 0 and probe.ndim == 2 else factor.view(-1))
        elif axis == 0:
            probe = _solved(factor.mT, probe, upper=False)
        else:
            probe = _solved(factor, probe, upper=True, left=False)
    return probe


def _solved(factor: Tensor, probe: Tensor, **how: bool) -> Tensor:
    """Solve a triangular system. Uses float32 for half precision, because PyTorch has no solver for it."""
    dtype = torch.promote_types(probe.dtype, torch.float32)
    solved: Tensor = torch.linalg.solve_triangular(factor.to(dtype), probe.to(dtype), **how)
    return solved.to(probe.dtype)


def _fit(factors: Tensors, u: Tensor, probe: Tensor, rate: float) -> None:
    """Update the factors by one step toward ``E[u u^T] P = P^-1``, where P is their product."""
    applied, unapplied = _applied(u, factors), _unapplied(probe, factors)
    for axis, factor in enumerate(factors):
        first, second = (_gram(tensor, axis, factor.ndim == 1) for tensor in (applied, unapplied))
        change, total = first - second, first + second
        largest = total.abs().max()
        tiny = torch.finfo(total.dtype).tiny
        if factor.ndim == 1:
            factor.sub_(change * factor * (rate / largest.clamp(min=tiny)))
        else:
            bound = torch.where(largest > 0, _norm_bound(total, largest), largest)
            factor.sub_((change.triu() * (rate / bound.clamp(min=tiny))) @ factor)


def _gram(tensor: Tensor, axis: int, diagonal: bool) -> Tensor:
    """Return the inner products of slices along an axis, ``(size, size)``, or only the diagonal, ``(size,)``."""
    if tensor.ndim < 2:
        return tensor.square().view(-1)
    if diagonal:
        return tensor.square().sum(1 - axis)
    return tensor @ tensor.mT if axis == 0 else tensor.mT @ tensor


def _norm_bound(matrix: Tensor, largest: Tensor) -> Tensor:
    """Bound the spectral norm of a symmetric matrix from below with one power iteration from its longest column."""
    scaled = matrix / largest
    column = scaled.index_select(1, scaled.square().sum(0).argmax()).view(-1)
    vector = column @ scaled
    bound: Tensor = (scaled @ (vector / vector.norm())).norm() * largest
    return bound


def _balance(factors: Tensors) -> None:
    lengths = torch.stack([factor.abs().max() for factor in factors])
    mean = lengths.log().mean().exp()
    torch._foreach_mul_(factors, list((mean / lengths).unbind()))


def _clip(directions: Tensors) -> None:
    norms = torch._foreach_norm(directions)
    torch._foreach_div_(norms, [d.numel() ** 0.5 for d in directions])
    torch._foreach_add_(norms, 1e-12)
    factors = list(torch._foreach_reciprocal(norms))
    torch._foreach_mul_(factors, _LARGEST_RMS)
    torch._foreach_clamp_max_(factors, 1.0)
    torch._foreach_mul_(directions, factors)
