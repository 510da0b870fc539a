"""Instruments that measure after a step, and after the following one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from algoperf_lightning.instruments.look import Following, Step, Value, slope_along
from algoperf_lightning.instruments.probe import UnmeasurableError
from algoperf_lightning.instruments.steps import (
    cosine,
    directional_sharpness,
    norms,
    predicted_decrease,
    same_batch_step_length,
    step_length,
    total,
    update_ratio,
)


def update_size(step: Step) -> Mapping[str, Value]:
    """Return the norm of the update, in total and by layer."""
    by_layer = norms(step.probe.unflatten(step.update))
    return {"update_size": total(by_layer), "update_sizes": by_layer}


def update_ratios(step: Step) -> Mapping[str, Value]:
    """Return the root mean square of the update divided by that of the parameters, in total and by layer."""
    before, after = step.before.weights, step.after
    by_layer = {name: update_ratio(before[name], after[name]) for name in before}
    whole = update_ratio(step.probe.flatten(before), step.probe.flatten(after))
    return {"update_ratio": whole, "update_ratios": by_layer}


def descent(step: Step) -> Mapping[str, Value]:
    """Return the cosine of the update and the direction of steepest descent."""
    return {"cosine_descent": cosine(-step.gradient, step.update)}


def same_batch(step: Step) -> Mapping[str, Value]:
    """Return where on its parabola the step ended for its own batch, and the change of this batch's loss."""
    return {
        "same_batch_step_length": same_batch_step_length(step.gradient, step.probe.gradient, step.update),
        "loss_change": step.probe.loss - step.loss,
    }


def predicted(step: Step) -> Mapping[str, Value]:
    """Return the change of the loss predicted by the quadratic model, real over predicted, and the curvature."""
    product = step.start.hessian_product(step.update)
    change = predicted_decrease(step.gradient, product, step.update)
    return {
        "predicted_loss_change": change,
        "real_to_predicted": (step.probe.loss - step.loss) / change if change else math.nan,
        "directional_sharpness": directional_sharpness(product, step.update),
    }


def optimizer_state(step: Step) -> Mapping[str, Value]:
    """Return the norms of optimizer states that have the shape of their parameter, by layer, for each kind of state."""
    names = {id(p): name for name, p in step.probe.parameters.items()}
    kept: dict[str, dict[str, float]] = {}
    for optimizer in step.before.optimizers:
        for p, state in optimizer.state.items():
            tensors = state if isinstance(state, Mapping) else {}
            alike = {k: v for k, v in tensors.items() if getattr(v, "shape", None) == p.shape and p.ndim}
            if id(p) in names:
                for kind, norm in norms(alike).items():
                    kept.setdefault(f"state_norms/{kind}", {})[names[id(p)]] = norm
    return dict(kept)


def alpha(following: Following) -> Mapping[str, Value]:
    """Return where on its parabola the step ended, from a noisy fit to two batches: Cockpit's alpha."""
    made, probe = following.made, following.probe
    if made.start is None:
        raise UnmeasurableError("the gradients of groups were not measured before the step")
    end = slope_along(probe, probe.rows, probe.group_losses, made.update)
    return {"alpha": step_length(made.start, end, float(made.update.norm()))}


def successive_gradients(following: Following) -> Mapping[str, Value]:
    """Return the cosine of the gradients of two successive steps."""
    return {"cosine_gradients": cosine(following.probe.gradient, following.made.gradient)}


def successive_updates(following: Following) -> Mapping[str, Value]:
    """Return the cosine of two successive updates; below 0 the steps oscillate."""
    if following.update is None:
        return {}
    return {"cosine_updates": cosine(following.update, following.made.update)}
