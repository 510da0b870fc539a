"""Parameter groups of submissions that treat the matrices of hidden layers separately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from algoperf_lightning.roles import ParameterRole, Role

HIDDEN = (Role.MATRIX, Role.FUSED_ATTENTION, Role.CONVOLUTION)
"""Roles of the weights of hidden layers."""


def hidden_and_others(
    model: nn.Module, roles: Mapping[str, ParameterRole], hidden: Mapping[str, Any], others: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return a group for the weights of hidden layers, and one for embeddings, output layer, norms and biases.

    Args:
        model: The network.
        roles: The role of each parameter.
        hidden: Options of the first group.
        others: Options of the second group.

    Returns:
        The groups that are not empty, in this order.
    """
    groups: list[dict[str, Any]] = [{"params": [], **hidden}, {"params": [], **others}]
    for name, parameter in model.named_parameters():
        groups[0 if roles[name].role in HIDDEN else 1]["params"].append(parameter)
    return [group for group in groups if group["params"]]
