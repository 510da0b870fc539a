"""Roles of parameters, for algorithms that treat matrices, embeddings and other tensors differently.

A role follows from the tensor's kind (:mod:`algoperf_lightning.parameters`), its axes, and the output layer. Names are
not used: a rule such as "its name contains embed" only works for some models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase

from torch import Tensor, nn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.parameters import ParameterKind, declared_by_modules, parameter_kinds

_K = ParameterKind

_NORMS = (_K.BATCH_NORM_SCALE, _K.BATCH_NORM_BIAS, _K.LAYER_NORM_SCALE, _K.LAYER_NORM_BIAS)
_BIASES = (_K.BIAS, _K.ATTENTION_BIAS)
_FUSED = {_K.ATTENTION_QKV: 3, _K.ATTENTION_KV: 2}
"""Matrices in one tensor, each with the same number of rows."""
_BY_HEAD = (_K.ATTENTION_Q, _K.ATTENTION_K, _K.ATTENTION_V, *_FUSED)
"""Kinds whose rows are the heads of attention, one after the other."""


class Role(Enum):
    """The role of a parameter in its network."""

    MATRIX = "matrix"
    """A weight with two axes (or more, but no convolution) of a hidden layer, ``(outputs, inputs)``."""
    FUSED_ATTENTION = "fused attention"
    """Query, key and value, or key and value, as one matrix; its parts are blocks of rows."""
    CONVOLUTION = "convolution"
    """A kernel, ``(out_channels, in_channels, *sides)``; of a transposed convolution ``(in_channels, out_channels,
    *sides)``. A convolution that is written as a linear layer is a :attr:`MATRIX`."""
    EMBEDDING = "embedding"
    """A table ``(tokens, width)``, or a linear layer ``(width, features)`` that the benchmark counts as one."""
    TIED_EMBEDDING = "tied embedding"
    """A table ``(tokens, width)`` that is also the output layer."""
    HEAD = "head"
    """The weight of the output layer, ``(outputs, inputs)`` or a kernel; not its bias."""
    NORM_OR_BIAS = "norm or bias"
    """A scale or shift of a norm, a bias, or any other tensor with one axis."""
    SCALAR = "scalar"
    """A tensor without axes."""

    @property
    def is_matrix(self) -> bool:
        """Whether a tensor of this role is a matrix once flattened after axis 0, but not an embedding table."""
        return self in (Role.MATRIX, Role.FUSED_ATTENTION, Role.CONVOLUTION, Role.HEAD)


@dataclass(frozen=True)
class ParameterRole:
    """The role of one parameter."""

    role: Role
    split: tuple[int, ...] = ()
    """Rows of each matrix that is fused into this one, in order; empty if nothing is fused.
    ``parameter.split(role.split)`` returns the matrices."""
    heads: int = 1
    """Heads of attention: equal blocks of rows of the matrix, or of each that is fused into it."""

    def rows_by_head(self, rows: int) -> tuple[int, ...]:
        """Return the rows of each head of each matrix, in order; empty if there is one matrix with one head.

        Args:
            rows: Rows of the complete tensor.
        """
        parts = self.split or (rows,)
        blocks = tuple(part // self.heads for part in parts for _ in range(self.heads))
        return blocks if len(blocks) > 1 else ()

    @property
    def is_matrix(self) -> bool:
        """As :attr:`Role.is_matrix`."""
        return self.role.is_matrix


def parameter_roles(
    model: nn.Module,
    output_parameters: Collection[str] = (),
    overrides: Mapping[str, ParameterRole | Role] | None = None,
) -> dict[str, ParameterRole]:
    """Return the role of every parameter, by its name in ``model.named_parameters()``.

    Heads of attention are those of the innermost module around a projection with an integer ``heads`` or ``num_heads``.

    Your own modules can declare roles in a class attribute ``parameter_roles``, which maps names relative to the module
    to roles, as with :func:`~algoperf_lightning.parameters.parameter_kinds`.

    Args:
        model: The network.
        output_parameters: Names of the parameters of the output layer, as in a view of a workload.
        overrides: Roles by name or by a pattern of names (``"*.probe"``), which replace the usual ones and those that
            modules declare; of several patterns that match a name, the last counts.

    Raises:
        BadInputError: If a pattern matches no parameter, or a role does not fit a parameter's shape.

    Example:
        >>> net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> [found.role.value for found in parameter_roles(net, ["2.weight", "2.bias"]).values()]
        ['embedding', 'matrix', 'norm or bias', 'head', 'norm or bias']
    """
    parameters, kinds = dict(model.named_parameters()), parameter_kinds(model)
    roles = {
        name: _usual_role(name, parameter, kinds[name], name in output_parameters)
        for name, parameter in parameters.items()
    }
    roles |= declared_by_modules(model, "parameter_roles", ParameterRole)
    for name, heads in _heads(model, kinds).items():
        found = roles[name]
        if found.heads == 1 and all(part % heads == 0 for part in found.split or (len(parameters[name]),)):
            roles[name] = replace(found, heads=heads)
    for pattern, role in (overrides or {}).items():
        matching = [name for name in roles if fnmatchcase(name, pattern)]
        if not matching:
            raise BadInputError(
                f"The pattern {pattern!r} matches no parameter of the model. It has {', '.join(roles)}."
            )
        roles |= dict.fromkeys(matching, role if isinstance(role, ParameterRole) else ParameterRole(role))
    for name, found in roles.items():
        _check(name, parameters[name], found)
    return roles


def _usual_role(name: str, parameter: Tensor, kind: ParameterKind, makes_outputs: bool) -> ParameterRole:
    if parameter.ndim == 0:
        return ParameterRole(Role.SCALAR)
    if parameter.ndim == 1 or kind in _NORMS or kind in _BIASES:
        return ParameterRole(Role.NORM_OR_BIAS)
    if kind is _K.EMBEDDING:
        return ParameterRole(Role.TIED_EMBEDDING if makes_outputs else Role.EMBEDDING)
    if makes_outputs:
        return ParameterRole(Role.HEAD)
    if kind is _K.CONV_WEIGHT and parameter.ndim > 2:
        return ParameterRole(Role.CONVOLUTION)
    if parts := _FUSED.get(kind):
        return ParameterRole(Role.FUSED_ATTENTION, _equal_parts(name, len(parameter), parts))
    return ParameterRole(Role.MATRIX)


def _heads(model: nn.Module, kinds: Mapping[str, ParameterKind]) -> dict[str, int]:
    """Return the number of heads of each projection to queries, keys and values, if a module declares it."""
    found: dict[str, int] = {}
    for prefix, module in model.named_modules():  # outer modules first
        heads = getattr(module, "heads", getattr(module, "num_heads", None))
        if isinstance(heads, int) and heads > 1:
            within = f"{prefix}." if prefix else ""
            found |= {name: heads for name, kind in kinds.items() if kind in _BY_HEAD and name.startswith(within)}
    return found


def _equal_parts(name: str, rows: int, parts: int) -> tuple[int, ...]:
    if rows % parts:
        raise BadInputError(
            f"{name} contains {parts} matrices in {rows} rows, which cannot be divided evenly. Its module must "
            'declare parameter_roles, such as {"qkv.weight": ParameterRole(Role.FUSED_ATTENTION, (64, 16, 16))}.'
        )
    return (rows // parts,) * parts


def _check(name: str, parameter: Tensor, found: ParameterRole) -> None:
    """Check that a declared role can be that of a tensor of this shape."""
    shape = tuple(parameter.shape)
    least = {Role.SCALAR: 0, Role.NORM_OR_BIAS: 0, Role.CONVOLUTION: 3}.get(found.role, 2)
    if len(shape) < least:
        raise BadInputError(
            f"{name} has the shape {shape}, but the role {found.role.value!r} needs {least} axes or more."
        )
    if (found.role is Role.FUSED_ATTENTION or found.split) and sum(found.split) != shape[0]:
        raise BadInputError(
            f"{name} has {shape[0]} rows, but its role splits them into {found.split}, {sum(found.split)} in all."
        )
