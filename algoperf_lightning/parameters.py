"""Kinds of the parameter tensors of a model.

A training algorithm may treat kinds differently (no decay on norm scales, another update for embeddings); it must not
treat workloads differently. The kinds are those of the AlgoPerf benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TypeVar

from torch import nn

from algoperf_lightning.errors import BadInputError

_Value = TypeVar("_Value")


class ParameterKind(Enum):
    """The role of a parameter tensor, as AlgoPerf's ``ParameterType``."""

    WEIGHT = 0
    BIAS = 1
    CONV_WEIGHT = 2
    BATCH_NORM_SCALE = 3
    BATCH_NORM_BIAS = 4
    LAYER_NORM_SCALE = 5
    LAYER_NORM_BIAS = 6
    EMBEDDING = 7
    ATTENTION_Q = 8
    ATTENTION_K = 9
    ATTENTION_V = 10
    ATTENTION_OUT = 11
    ATTENTION_QKV = 12
    ATTENTION_KV = 13
    ATTENTION_BIAS = 14


_K = ParameterKind

_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_LAYER_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)

_BY_MODULE: tuple[tuple[tuple[type[nn.Module], ...], Mapping[str, ParameterKind]], ...] = (
    (_CONVOLUTIONS, {"weight": _K.CONV_WEIGHT, "bias": _K.BIAS}),
    (_BATCH_NORMS + _INSTANCE_NORMS, {"weight": _K.BATCH_NORM_SCALE, "bias": _K.BATCH_NORM_BIAS}),
    (_LAYER_NORMS, {"weight": _K.LAYER_NORM_SCALE, "bias": _K.LAYER_NORM_BIAS}),
    ((nn.Embedding, nn.EmbeddingBag), {"weight": _K.EMBEDDING}),
    (
        (nn.MultiheadAttention,),
        {
            "in_proj_weight": _K.ATTENTION_QKV,
            "in_proj_bias": _K.ATTENTION_BIAS,
            "bias_k": _K.ATTENTION_BIAS,
            "bias_v": _K.ATTENTION_BIAS,
            "q_proj_weight": _K.ATTENTION_Q,
            "k_proj_weight": _K.ATTENTION_K,
            "v_proj_weight": _K.ATTENTION_V,
            "out_proj.weight": _K.ATTENTION_OUT,
            "out_proj.bias": _K.ATTENTION_BIAS,
        },
    ),
)


def parameter_kinds(model: nn.Module) -> dict[str, ParameterKind]:
    """Return the kind of every parameter, by its name in ``model.named_parameters()``.

    Modules of torch are recognised by their class. Your own modules can declare kinds in a class attribute
    ``parameter_kinds``, which maps names relative to the module (``"query.weight"``) to kinds; outer modules take
    precedence over inner ones. Other tensors are a ``WEIGHT`` with two or more axes, otherwise a ``BIAS``.
    """
    kinds = {name: _K.WEIGHT if parameter.ndim >= 2 else _K.BIAS for name, parameter in model.named_parameters()}
    return kinds | _from_modules(model, _declared_kinds)


def declared_by_modules(model: nn.Module, attribute: str, value_type: type[_Value]) -> dict[str, _Value]:
    """Return the declarations of modules about their parameters in a class attribute, by full names of parameters.

    The attribute maps names relative to the module to values of a type. If two modules name one parameter, the outer
    one takes precedence.

    Raises:
        BadInputError: If a value has another type.
    """

    def declared(module: nn.Module) -> Mapping[str, _Value]:
        own = getattr(module, attribute, None)
        if not isinstance(own, Mapping):
            return {}
        for name, value in own.items():
            if not isinstance(value, value_type):
                raise BadInputError(
                    f"{type(module).__name__}.{attribute} must map {name!r} to a {value_type.__name__}, but got "
                    f"{value!r}."
                )
        return own

    return _from_modules(model, declared)


def _from_modules(model: nn.Module, declared: Callable[[nn.Module], Mapping[str, _Value]]) -> dict[str, _Value]:
    names, found = {name for name, _ in model.named_parameters()}, {}
    # Innermost first, so that declarations of outer modules (attention over its Linear layers) take precedence.
    for prefix, module in reversed(list(model.named_modules())):
        for name, value in declared(module).items():
            full_name = f"{prefix}.{name}" if prefix else name
            if full_name in names:
                found[full_name] = value
    return found


def _declared_kinds(module: nn.Module) -> Mapping[str, ParameterKind]:
    own = getattr(module, "parameter_kinds", None)
    if isinstance(own, Mapping):
        return own
    for classes, kinds in _BY_MODULE:
        if isinstance(module, classes):
            return kinds
    return {}
