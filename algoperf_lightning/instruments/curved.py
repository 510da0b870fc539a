"""Instruments of curvature, at the parameters before a step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from algoperf_lightning.instruments.curvature import Product, Spectrum, lanczos, preconditioned
from algoperf_lightning.instruments.gauss_newton import GaussNewton
from algoperf_lightning.instruments.look import Look, Step, Value
from algoperf_lightning.instruments.noise import Moments, tic_diagonal, tic_trace
from algoperf_lightning.instruments.probe import Probe, UnmeasurableError

_PROBES, _LANCZOS = 16, 12
_ACCURACY = 3e-4
"""Lanczos stops at this estimated relative error; the real one was below 1e-3 for 600 random starts on two networks."""
_SAMPLES = 8
"""Number of samples of the Gauss-Newton diagonal."""
_START = 1_000_000
"""Index of the random signs with which Lanczos starts; those of traces are numbered from 0."""


def hessian_trace(look: Look) -> Mapping[str, Value]:
    """Return the trace of the Hessian with its standard error, and the contributions of the layers."""
    mean, error, by_layer = _trace(look.probe, look.probe.hessian_product)
    return {"hessian_trace": mean, "hessian_trace_error": error, "hessian_traces": by_layer}


def gauss_newton_trace(look: Look) -> Mapping[str, Value]:
    """Return the trace of the Gauss-Newton matrix with its standard error, and the contributions of the layers.

    Estimated from samples of its diagonal, each a backward pass, if the root of the outputs' Hessian is known for the
    loss; otherwise like the Hessian's.
    """
    try:
        mean, error, by_layer = _of_samples(look.probe, _diagonal(look)[1])
    except UnmeasurableError:
        mean, error, by_layer = _trace(look.probe, GaussNewton(look.probe).product)
    return {"gauss_newton_trace": mean, "gauss_newton_trace_error": error, "gauss_newton_traces": by_layer}


def tic(look: Look) -> Mapping[str, Value]:
    """Return the Takeuchi information criterion, from the diagonal of the Gauss-Newton matrix and from its trace."""
    diagonal = _diagonal(look)[0]
    moments = _of_examples(look.probe.moments)
    return {
        "tic_diagonal": tic_diagonal(moments, diagonal),
        "tic_trace": tic_trace(moments, float(diagonal.sum())),
    }


def _diagonal(look: Look) -> tuple[Tensor, Tensor]:
    """Return an estimate of the Gauss-Newton diagonal, ``(D,)``, and its samples' sums by layer, (samples, layers)."""
    shared = look.probe.shared
    if "diagonal" not in shared:
        mean, sums = torch.zeros_like(look.probe.gradient), []
        for sample in GaussNewton(look.probe).diagonals(look.loss_type, _SAMPLES):
            mean += sample / _SAMPLES
            sums.append(_sums(look.probe, sample))
        shared["diagonal"] = mean, torch.stack(sums)
    found: tuple[Tensor, Tensor] = shared["diagonal"]
    return found


def eigenvalues(look: Look) -> Mapping[str, Value]:
    """Return the largest and the smallest eigenvalue of the Hessian, estimated by Lanczos, with error bounds."""
    if not math.isfinite(look.probe.loss):
        return {"largest_eigenvalue": math.nan, "smallest_eigenvalue": math.nan}
    found = _spectrum(look)
    return {
        "largest_eigenvalue": found.largest,
        "largest_eigenvalue_error": found.largest_error,
        "smallest_eigenvalue": found.smallest,
        "smallest_eigenvalue_error": found.smallest_error,
    }


def _spectrum(look: Look) -> Spectrum:
    shared = look.probe.shared
    if "spectrum" not in shared:
        start = _start(look.probe, look.probe.gradient)
        shared["spectrum"] = lanczos(look.probe.hessian_product, start, _LANCZOS, _ACCURACY)
    found: Spectrum = shared["spectrum"]
    return found


def stability(look: Look) -> Mapping[str, Value]:
    """Return the largest eigenvalue divided by the stability limit of SGD: 1 is the edge of stability.

    Learning rates may differ between groups. Empty for Adam, whose preconditioner is only known after the step:
    :func:`adam_stability`.

    References: Cohen et al. 2021, https://arxiv.org/abs/2103.00065.

    Raises:
        UnmeasurableError: For other optimizers.
    """
    optimizers = _flat(look.optimizers)
    limit = _limit_of(optimizers)
    if not all(isinstance(each, torch.optim.SGD) for each in optimizers):
        return {}
    if not math.isfinite(look.probe.loss):
        return {"sharpness_to_limit": math.nan}
    scale = _scale(look, {})
    if look.gradient_clip is not None:  # a clipped step of SGD is like one with a smaller learning rate
        scale = scale * min(1.0, look.gradient_clip / max(1e-30, float(look.probe.gradient.norm())))
    if bool((scale == scale[0]).all()):
        return {"sharpness_to_limit": _spectrum(look).largest * float(scale[0]) / limit}
    return {"sharpness_to_limit": _sharpness(look.probe, scale) / limit}


def adam_stability(step: Step) -> Mapping[str, Value]:
    """Return the largest eigenvalue of the preconditioned Hessian before a step of Adam over its stability limit.

    The preconditioner is that of the step itself, which includes the step's gradient. That of the previous step would
    be near 0 for a parameter that had no gradient before.

    References: Cohen et al. 2022, https://arxiv.org/abs/2207.14484.
    """
    optimizers = _flat(step.before.optimizers)
    names = {id(p): name for name, p in step.probe.parameters.items()}
    preconditioners = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                state = optimizer.state.get(p, {})
                if id(p) in names and "exp_avg_sq" in state:
                    preconditioners[names[id(p)]] = _preconditioner(group, state)
    if not preconditioners:
        return {}
    if not math.isfinite(step.loss):
        return {"sharpness_to_limit": math.nan}
    scale = _scale(step.before, preconditioners)
    return {"sharpness_to_limit": _sharpness(step.start, scale) / _limit_of(optimizers)}


def _scale(look: Look, preconditioners: Mapping[str, Tensor]) -> Tensor:
    """Return each parameter's step size over its preconditioner, ``(D,)``; 0 for those without a learning rate."""
    rates, parameters = look.learning_rates, look.probe.parameters
    ones = {name: torch.ones_like(p, dtype=torch.float32) for name, p in parameters.items()}
    return look.probe.flatten(
        {name: rates.get(name, 0.0) / preconditioners.get(name, one) for name, one in ones.items()}
    )


def _sharpness(probe: Probe, scale: Tensor) -> float:
    """Return the largest eigenvalue of the Hessian with respect to scaled parameters."""
    product = preconditioned(probe.hessian_product, 1 / scale.clamp(min=1e-30))
    start = _start(probe, probe.gradient * scale.sqrt())
    return lanczos(product, start, _LANCZOS, _ACCURACY).largest


def _start(probe: Probe, gradient: Tensor) -> Tensor:
    """Return a start vector for Lanczos.

    It is the sum of the gradient, which lies mostly along the largest eigenvectors, and of random signs, because either
    may be nearly orthogonal to the largest eigenvector. Lanczos would then find the second largest eigenvalue.
    """
    signs, size = probe.random_signs(_START), float(gradient.norm())
    return signs / signs.norm() + gradient / size if math.isfinite(size) and size > 0 else signs


def _limit_of(optimizers: Sequence[Optimizer]) -> float:
    """Return the limit for a step size of 1."""
    limits = {_limit(optimizer, group) for optimizer in optimizers for group in optimizer.param_groups}
    if len(limits) != 1:
        raise UnmeasurableError("parameters have different stability limits")
    return limits.pop()


def _limit(optimizer: Optimizer, group: Mapping[str, object]) -> float:
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        betas: object = group["betas"]
        beta = float(betas[0])  # type: ignore[index]
        return (2 + 2 * beta) / (1 - beta)
    if type(optimizer) is torch.optim.SGD and not group["dampening"]:
        momentum = float(group["momentum"])  # type: ignore[arg-type]
        return (2 + 2 * momentum) / (1 + 2 * momentum) if group["nesterov"] else 2 + 2 * momentum
    raise UnmeasurableError(f"no stability limit is known for {type(optimizer).__name__}")


def _preconditioner(group: Mapping[str, object], state: Mapping[str, Tensor]) -> Tensor:
    beta1, beta2 = (float(beta) for beta in group["betas"])  # type: ignore[attr-defined]
    steps = float(state["step"])
    root = (state["exp_avg_sq"].float() / (1 - beta2**steps)).sqrt()
    eps = float(group["eps"])  # type: ignore[arg-type]
    preconditioner: Tensor = (root + eps) * (1 - beta1**steps)
    return preconditioner


def _flat(optimizers: Sequence[Optimizer]) -> list[Optimizer]:
    """Return optimizers, with a joint optimizer replaced by its members."""
    return [each for optimizer in optimizers for each in getattr(optimizer, "optimizers", (optimizer,))]


def _trace(probe: Probe, product: Product) -> tuple[float, float, dict[str, float]]:
    """Return a trace by Hutchinson's method, its standard error, and the contributions of the layers."""
    parts = []
    for number in range(_PROBES):
        signs = probe.random_signs(number)
        parts.append(_sums(probe, signs * product(signs)))
    return _of_samples(probe, torch.stack(parts))


def _sums(probe: Probe, vector: Tensor) -> Tensor:
    """Return the sum over the parameters of each layer."""
    return torch.stack([piece.double().sum() for piece in probe.unflatten(vector).values()])


def _of_samples(probe: Probe, samples: Tensor) -> tuple[float, float, dict[str, float]]:
    """Return a trace, its standard error, and the contributions of the layers from samples, shape (samples, layers)."""
    totals = samples.sum(dim=1).cpu().numpy()
    by_layer = dict(zip(probe.parameters, samples.mean(dim=0).tolist(), strict=True))
    return float(np.mean(totals)), float(np.std(totals, ddof=1)) / math.sqrt(len(totals)), by_layer


def _of_examples(moments: Moments) -> Moments:
    """Return the moments of single examples: the variance of the mean of a group, multiplied by its size."""
    size = moments.group_size
    return replace(moments, group_size=1, spread=moments.spread * size, along=moments.along * size)
