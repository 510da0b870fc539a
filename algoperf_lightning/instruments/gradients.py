"""Instruments of losses and gradients, at the parameters before a step."""

from __future__ import annotations

import math
from collections.abc import Mapping

from algoperf_lightning.instruments import noise
from algoperf_lightning.instruments.histograms import counts, joint_counts, nonfinite, symmetric_range
from algoperf_lightning.instruments.look import Look, Value
from algoperf_lightning.instruments.steps import norms, total

_WEIGHT = 0.05
"""Weight of a new value in the means over measured steps."""
_BINS, _GRADIENT_BINS, _PARAMETER_BINS = 100, 40, 50


def loss(look: Look) -> Mapping[str, Value]:
    """Return the objective on the batch, and the learning rates."""
    found: dict[str, Value] = {"loss": look.probe.loss}
    if math.isfinite(look.learning_rate):
        found["learning_rate"] = look.learning_rate
    return found


def gradient_norm(look: Look) -> Mapping[str, Value]:
    """Return the norm of the gradient, in total and by layer, and the number of its elements that are not finite."""
    gradient = look.probe.gradient
    by_layer = norms(look.probe.unflatten(gradient))
    found: dict[str, Value] = {"gradient_norm": total(by_layer), "gradient_norms": by_layer}
    if bad := nonfinite(gradient):
        found["nonfinite_gradients"] = float(bad)
    return found


def weight_norm(look: Look) -> Mapping[str, Value]:
    """Return the norm of the trained parameters, in total and by layer, and the share of others if there are any."""
    by_layer = norms(look.probe.parameters)
    sizes = [(p.numel(), p.requires_grad) for p in look.probe.model.parameters()]
    fixed = sum(size for size, trained in sizes if not trained) / sum(size for size, _ in sizes)
    found: dict[str, Value] = {"weight_norm": total(by_layer), "weight_norms": by_layer}
    return found | ({"untrained_share": fixed} if fixed else {})


def distance(look: Look) -> Mapping[str, Value]:
    """Return the distance from the initial parameters, in total and by layer."""
    by_layer = norms({name: p.detach() - look.first[name] for name, p in look.probe.parameters.items()})
    return {"distance": total(by_layer), "distances": by_layer}


def clipping(look: Look) -> Mapping[str, Value]:
    """Return the norm of the gradient divided by its clipping threshold; empty without clipping."""
    if look.gradient_clip is None:
        return {}
    return {"clip_ratio": float(look.probe.gradient.norm()) / look.gradient_clip}


def tests(look: Look) -> Mapping[str, Value]:
    """Return the norm test, the inner product test and the orthogonality test."""
    moments = look.probe.moments
    return {
        "norm_test": noise.norm_test(moments),
        "inner_product_test": noise.inner_product_test(moments),
        "orthogonality_test": noise.orthogonality_test(moments),
    }


def signal_to_noise(look: Look) -> Mapping[str, Value]:
    """Return the mean ratio of the squared gradient to its variance."""
    return {"mean_gsnr": noise.mean_gsnr(look.probe.moments)}


def early_stopping(look: Look) -> Mapping[str, Value]:
    """Return the evidence-based criterion."""
    return {"early_stopping": noise.early_stopping(look.probe.moments)}


def cabs(look: Look) -> Mapping[str, Value]:
    """Return the batch size that CABS suggests; NaN if there is no single learning rate."""
    return {"cabs": noise.cabs(look.probe.moments, look.learning_rate, look.probe.loss)}


def noise_scale(look: Look) -> Mapping[str, Value]:
    """Return the simple noise scale, a batch size: the ratio of the means of two estimates over measured steps."""
    variance, squared = noise.noise_scale(look.probe.moments)
    if math.isfinite(variance) and math.isfinite(squared):
        for name, value in (("gradient_variance", variance), ("squared_gradient", squared)):
            before = look.averages.get(name, value)
            look.averages[name] = before + _WEIGHT * (value - before)
    of, over = look.averages.get("gradient_variance", math.nan), look.averages.get("squared_gradient", math.nan)
    scale = of / over if over > 0 else math.inf if over <= 0 else math.nan
    return {"gradient_variance": variance, "squared_gradient": squared, "noise_scale": scale}


def gradient_histogram(look: Look) -> Mapping[str, Value]:
    """Return a histogram of the elements of all groups' gradients, within 4 root mean squares of 0."""
    rows = look.probe.rows
    limits = symmetric_range(rows)
    return {
        "gradient_histogram": counts(rows, _BINS, limits).tolist(),
        "gradient_histogram_limit": limits[1],
        "gradient_histogram_nonfinite": float(nonfinite(rows)),
    }


def joint_histogram(look: Look) -> Mapping[str, Value]:
    """Return a histogram of pairs of a group's gradient and its parameter, within 4 root mean squares of 0."""
    rows, parameters = look.probe.rows, look.probe.flatten({k: p.detach() for k, p in look.probe.parameters.items()})
    limits = symmetric_range(rows), symmetric_range(parameters)
    found = joint_counts(rows, parameters, (_GRADIENT_BINS, _PARAMETER_BINS), limits)
    return {
        "joint_histogram": found.tolist(),
        "joint_histogram_gradient_limit": limits[0][1],
        "joint_histogram_parameter_limit": limits[1][1],
    }
