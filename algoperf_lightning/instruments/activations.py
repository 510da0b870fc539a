"""Instruments of a forward pass: activations by module, attention, outputs, correct predictions.

One pass serves all selected instruments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from algoperf_lightning.instruments.look import Look, Value
from algoperf_lightning.instruments.probe import Probe, UnmeasurableError
from algoperf_lightning.viewed import Outputs

_FEWEST_EXAMPLES = 4
"""Minimum number of examples of a class in a batch for its accuracy to be recorded."""


def activations(look: Look) -> Mapping[str, Value]:
    """Return the root mean square and the largest magnitude of the output of each leaf module, by its name.

    For rectifiers, also the share of units that are 0 for the complete batch. A module that is called several times has
    a name for each call: ``act``, ``act#2``.
    """
    seen = _pass(look).activations
    found: dict[str, Value] = {"activation_rms": seen.rms, "activation_largest": seen.largest}
    return found | ({"dead_units": seen.dead, "dead_share": max(seen.dead.values())} if seen.dead else {})


class _Activations:
    """Records the output of each call of each leaf module in a forward pass."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._calls: dict[str, int] = {}
        self.rms: dict[str, float] = {}
        self.largest: dict[str, float] = {}
        self.dead: dict[str, float] = {}

    @contextmanager
    def seeing(self) -> Iterator[None]:
        """Make a block in which forward passes are recorded."""
        modules = self._look.probe.model.named_modules()
        leaves = [(name, module) for name, module in modules if not any(module.children())]
        handles = [module.register_forward_hook(partial(self._hook, name)) for name, module in leaves]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self._calls[name] = self._calls.get(name, 0) + 1
        label = name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"
        first = next((each for each in tree_leaves(output) if isinstance(each, Tensor)), None)
        if first is not None and first.is_floating_point() and first.numel():
            self._see(label, module, first)

    def _see(self, name: str, module: nn.Module, output: Tensor) -> None:
        values = output.detach().float()
        self.rms[name] = float(values.norm()) / math.sqrt(values.numel())
        self.largest[name] = float(values.norm(math.inf))
        if isinstance(module, (nn.ReLU, nn.ReLU6)) and values.ndim > 1:
            self.dead[name] = self._dead(values)

    def _dead(self, values: Tensor) -> float:
        """Return the share of units that are 0 for the batch: channels of images, otherwise features."""
        unit = 1 if values.ndim == 4 else values.ndim - 1
        alive = (values != 0).any(dim=[axis for axis in range(values.ndim) if axis != unit]).float()
        return float((self._look.probe.average(alive) == 0).float().mean())


@dataclass(frozen=True)
class _Pass:
    """Recorded data of a forward pass."""

    activations: _Activations
    attention: _Attention
    outputs: Outputs | None
    """None if the workload defines only a loss."""


def _pass(look: Look) -> _Pass:
    """Return the data of one forward pass of the batch, recorded for all selected instruments of this module."""
    if "forward pass" not in look.probe.shared:
        activations, attention = _Activations(look), _Attention()
        with ExitStack() as stack:
            if look.wants("activations"):
                stack.enter_context(activations.seeing())
            if look.wants("attention"):
                stack.enter_context(attention)
            look.probe.shared["forward pass"] = _Pass(activations, attention, _outputs(look.probe))
    found: _Pass = look.probe.shared["forward pass"]
    return found


def _outputs(probe: Probe) -> Outputs | None:
    try:
        return probe.forward_outputs()
    except UnmeasurableError:
        probe.forward()
        return None


class _Attention(TorchFunctionMode):
    """Records the largest logit and the mean entropy of each call of attention in a forward pass."""

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
    """Return the largest logit and the mean entropy in nats of each call of attention, and over all calls.

    Raises:
        UnmeasurableError: If the model does not call torch's attention.
    """
    seen = _pass(look).attention
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

    With label smoothing, also the loss of perfect predictions, which is the lower bound of a batch's loss.

    Raises:
        UnmeasurableError: If the outputs are not logits of several classes.
    """
    logits = _logits(look)
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


def accuracy(look: Look) -> Mapping[str, Value]:
    """Return the share of examples of the batch whose largest logit is the label's, and that of each class.

    Classes with fewer than 4 examples in the batch, and padding, are left out. The share is NaN if all
    examples are padding.

    Raises:
        UnmeasurableError: If the workload does not classify its examples.
    """
    classifies = look.loss_type == "softmax_cross_entropy"
    labels = look.probe.batch.get("targets") if classifies else None
    if not isinstance(labels, Tensor) or labels.ndim != 1:
        raise UnmeasurableError("the workload does not classify its examples")
    logits, weights = _logits(look), look.probe.batch.get("weights")
    valid = torch.ones_like(logits[:, 0]) if weights is None else (weights > 0).float()
    right = (logits.argmax(dim=-1) == labels).float() * valid
    counts = torch.zeros(2, logits.shape[-1], device=logits.device).index_add(1, labels, torch.stack([right, valid]))
    correct, examples = look.probe.total(counts)
    shares = dict(enumerate((correct / examples).tolist()))
    known = [place for place, count in enumerate(examples.tolist()) if count >= _FEWEST_EXAMPLES]
    return {
        "batch_accuracy": float(correct.sum() / examples.sum()),
        "class_accuracies": {str(place): shares[place] for place in known},
    }


def _logits(look: Look) -> Tensor:
    found = _pass(look).outputs
    if found is None:
        raise UnmeasurableError("the workload has no outputs apart from its loss")
    leaves = [each for each in tree_leaves(found) if isinstance(each, Tensor)]
    logits = next((each.float() for each in leaves if each.is_floating_point() and each.ndim > 1), None)
    if logits is None or look.loss_type not in ("softmax_cross_entropy", "ctc"):
        raise UnmeasurableError("the outputs are not logits of several classes")
    return logits


def smoothed_entropy(label_smoothing: float, classes: int) -> float:
    """Return the entropy of a smoothed label in nats, the lower bound of its cross-entropy.

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
