"""Instruments of a forward pass: activations by module, attention, outputs; and of the weights' matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from algoperf_lightning.instruments.look import Look, Value
from algoperf_lightning.instruments.probe import UnmeasurableError

_LARGEST_SIDE = 4096
"""Of a matrix whose singular values are computed."""


def activations(look: Look) -> Mapping[str, Value]:
    """Return the root mean square and the largest magnitude of what each leaf module returns, by its name.

    Those of rectifiers also have the share of units that are 0 on the whole batch. A module that is called several
    times has a name for each call: ``act``, ``act#2``.
    """
    rms: dict[str, float] = {}
    largest: dict[str, float] = {}
    dead: dict[str, float] = {}

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        values = output.detach().float()
        rms[name], largest[name] = float(values.square().mean().sqrt()), float(values.abs().max())
        if isinstance(module, (nn.ReLU, nn.ReLU6)) and values.ndim > 1:
            dead[name] = _dead(look, values)

    _watched(look, see)
    found: dict[str, Value] = {"activation_rms": rms, "activation_largest": largest}
    return found | ({"dead_units": dead, "dead_share": max(dead.values())} if dead else {})


def _dead(look: Look, values: Tensor) -> float:
    """Return the share of units that are 0 on the batch: channels of images, features of everything else."""
    units = 1 if values.ndim == 4 else values.ndim - 1
    alive = (values != 0).movedim(units, 0).flatten(1).any(dim=1).float()
    return float((look.probe.average(alive) == 0).float().mean())


def _watched(look: Look, see: Callable[[str, nn.Module, Tensor], None]) -> None:
    """Make a forward pass and show the output of each call of each leaf module."""
    calls: dict[str, int] = {}

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            label = name if calls[name] == 1 else f"{name}#{calls[name]}"
            first = next((each for each in tree_leaves(output) if isinstance(each, Tensor)), None)
            if first is not None and first.is_floating_point() and first.numel():
                see(label, module, first)

        return hook

    leaves = [(name, module) for name, module in look.probe.model.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(hook_of(name)) for name, module in leaves]
    try:
        look.probe.forward()
    finally:
        for handle in handles:
            handle.remove()


class _Attention(TorchFunctionMode):
    """Sees the calls of attention in a forward pass: largest logit and mean entropy of each."""

    def __init__(self) -> None:
        super().__init__()
        self.largest: list[float] = []
        self.entropies: list[float] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            self._see(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _see(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        query, key = query.detach().float(), key.detach().float()
        if enable_gqa:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
        logits = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
            logits = logits.masked_fill(~mask, -math.inf)
        if attn_mask is not None:
            masked = attn_mask.dtype == torch.bool
            logits = logits.masked_fill(~attn_mask, -math.inf) if masked else logits + attn_mask
        known = logits.isfinite().any(dim=-1)
        logits = logits[known]
        if not len(logits):
            return
        log_p = logits.log_softmax(dim=-1)
        self.largest.append(float(logits.max()))
        self.entropies.append(float(-(log_p.exp() * log_p.masked_fill(log_p == -math.inf, 0.0)).sum(dim=-1).mean()))


def attention(look: Look) -> Mapping[str, Value]:
    """Return the largest logit and the mean entropy in nats of each call of attention, and those of all.

    Raises:
        UnmeasurableError: If the model does not call torch's attention.
    """
    with _Attention() as seen:
        look.probe.forward()
    if not seen.largest:
        raise UnmeasurableError("the model does not call scaled_dot_product_attention")
    names = [f"call {number}" for number in range(1, len(seen.largest) + 1)]
    return {
        "attention_logit": max(seen.largest),
        "attention_logits": dict(zip(names, seen.largest, strict=True)),
        "attention_entropy": min(seen.entropies),
        "attention_entropies": dict(zip(names, seen.entropies, strict=True)),
    }


def outputs(look: Look) -> Mapping[str, Value]:
    """Return the largest logit, and means of the log-sum-exp, its square, and the entropy of predictions in nats.

    With label smoothing, also the loss of perfect predictions, below which the loss of no batch can fall.

    Raises:
        UnmeasurableError: If the outputs are not logits of several classes.
    """
    leaves = [each for each in tree_leaves(look.probe.forward_outputs()) if isinstance(each, Tensor)]
    logits = next((each.float() for each in leaves if each.is_floating_point() and each.ndim > 1), None)
    if logits is None or look.loss_type not in ("softmax_cross_entropy", "ctc"):
        raise UnmeasurableError("the outputs are not logits of several classes")
    normaliser = logits.logsumexp(dim=-1)
    log_p = logits - normaliser[..., None]
    smoothing, classes = look.probe.label_smoothing, logits.shape[-1]
    floor = {"loss_floor": smoothed_entropy(smoothing, classes)} if smoothing and look.loss_type != "ctc" else {}
    return {
        **floor,
        "output_largest": float(logits.max()),
        "output_logsumexp": float(normaliser.mean()),
        "output_squared_logsumexp": float(normaliser.square().mean()),
        "output_entropy": float(-(log_p.exp() * log_p).sum(dim=-1).mean()),
    }


def smoothed_entropy(label_smoothing: float, classes: int) -> float:
    """Return the entropy of a smoothed label in nats, which is the smallest cross-entropy that it allows.

    Args:
        label_smoothing: In [0, 1]; the label is (1 - a) one-hot + a / classes.
        classes: Number of classes.

    Example:
        >>> round(smoothed_entropy(0.1, 10), 4)
        0.5003
    """
    others = label_smoothing / classes
    parts = [(1 - label_smoothing + others, 1), (others, classes - 1)]
    return -sum(count * p * math.log(p) for p, count in parts if p > 0)


def matrices(look: Look) -> Mapping[str, Value]:
    """Return the stable rank and the effective rank of each matrix, by layer; convolutions as matrices of filters."""
    stable: dict[str, float] = {}
    effective: dict[str, float] = {}
    for name, p in look.probe.parameters.items():
        matrix = p.detach().float().flatten(1) if p.ndim > 1 else p.detach()[None]
        if min(matrix.shape) < 2 or min(matrix.shape) > _LARGEST_SIDE or not matrix.isfinite().all():
            continue
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        values = torch.linalg.eigvalsh(gram.double()).clamp(min=0)
        stable[name] = float(values.sum() / values.max()) if values.max() > 0 else math.nan
        shares = values.sqrt() / values.sqrt().sum()
        effective[name] = float(torch.special.entr(shares).sum().exp()) if values.max() > 0 else math.nan
    return {"stable_ranks": stable, "effective_ranks": effective}
