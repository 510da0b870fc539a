"""Models that compute with a multiple of their parameters, so that learning rates of larger models fit small ones.

A narrow model that is trained for few steps needs larger changes of its weights in each step than a wide one that is
trained for many. If the network computes with m times its parameters, a step of Adam with the learning rate r has the
effect that a step with m r has on the usual network. Learning rates that were found at full size can then be used at
small size. The idea is that of maximal update parametrisation (Yang et al., Tensor Programs V, 2022,
https://arxiv.org/abs/2203.03466), with one factor for the complete model instead of one for each layer.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


def multiply_parameters(model: nn.Module, factor: float) -> None:
    """Let a model compute with ``factor`` times its parameters, and divide these by it: its outputs stay the same.

    Names and shapes of parameters do not change. A module must read its parameters as attributes (``self.weight``):
    ``self.parameters()`` returns them without the factor.

    Args:
        model: A freshly built model, which is changed in place.
        factor: A positive number. With powers of two, the outputs are bit-equal.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> before = layer(torch.ones(1))
        >>> multiply_parameters(layer, 4.0)
        >>> bool(layer(torch.ones(1)) == before), bool(4 * next(layer.parameters()) == before)
        (True, True)
    """
    for module in model.modules():
        if names := tuple(name for name, parameter in module._parameters.items() if parameter is not None):
            module.__class__ = _multiplied(type(module), names, factor)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.div_(factor)


@cache
def _multiplied(kind: type[nn.Module], names: tuple[str, ...], factor: float) -> type[nn.Module]:
    """Return a subclass whose parameters, read as attributes, are multiplied."""
    attributes: dict[str, Any] = {name: _multiple_of(name, factor) for name in names}
    attributes["__module__"] = kind.__module__
    return type(kind.__name__, (kind,), attributes)


def _multiple_of(name: str, factor: float) -> property:
    def read(module: nn.Module) -> Tensor:
        parameter = module._parameters[name]
        assert parameter is not None
        return parameter * factor

    return property(read)
