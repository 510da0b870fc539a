"""Second derivatives and forward mode: support for models, losses and several ranks."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.nn.attention import SDPBackend, sdpa_kernel

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.inputs import nearest

_Result = TypeVar("_Result")

_REFUSED = re.compile(
    r"derivative for aten::\w+ is not implemented|forward AD with \w+ that does not support it"
    r"|does not currently support double backward|requires create_graph=False|double backwards? "
    r"|it must override the setup_context"
)
"""Messages of torch for unsupported second derivatives and forward mode."""


@contextmanager
def plain_operations(*, recurrent: bool = False) -> Iterator[None]:
    """Make a block in which all operations support second derivatives and forward mode.

    Attention is computed by its definition, because fused kernels support neither; compiled functions run uncompiled,
    because compiled graphs have no second derivative.

    Args:
        recurrent: Whether the model has torch's recurrent layers: cuDNN's have no second derivative, oneDNN's no
            forward mode, so neither library is used.
    """
    with sdpa_kernel(SDPBackend.MATH), _uncompiled(), _without_libraries() if recurrent else nullcontext():
        yield


@contextmanager
def _without_libraries() -> Iterator[None]:
    libraries: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.mkldnn)
    enabled = [library.set_flags(_enabled=False, _fp32_precision=None)[0] for library in libraries]
    try:
        yield
    finally:
        for library, was in zip(libraries, enabled, strict=True):
            library.set_flags(_enabled=was, _fp32_precision=None)


def _uncompiled() -> AbstractContextManager[Any]:
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and the import takes a second
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


class _Calling(nn.Module):
    """A module whose forward pass calls a function that uses the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[], _Result]) -> _Result:
        return function()


def pass_with(
    model: nn.Module, parameters: Mapping[str, Tensor], batch: Mapping[str, Any], run: Callable[[], _Result]
) -> _Result:
    """Call a function while a model has other parameters, which may be those of a ``torch.func`` transform.

    Args:
        model: The model; it has its own parameters again afterwards.
        parameters: Parameters by their names in ``model.named_parameters()``; missing ones keep their own values.
        batch: The batch on which the function runs the model.
        run: The function.

    Raises:
        BadInputError: If ``parameters`` is not a dict, contains an unknown name, or if ``torch.func.vmap`` is used over
            examples with batch norm in training mode, which would normalise each example separately.
    """
    if not isinstance(parameters, Mapping):
        raise BadInputError(
            "parameters must be a dict of tensors by their names in workload.model.named_parameters(), but got a "
            f"{type(parameters).__name__}."
        )
    own = dict(model.named_parameters())
    for name in parameters.keys() - own.keys():
        raise BadInputError(
            f"parameters has {name!r}, but the model has no such parameter; expected names of "
            f"workload.model.named_parameters(), such as {nearest(name, own) or next(iter(own))!r}."
        )
    _check_single_examples(model, batch)
    named = {f"model.{name}": value for name, value in parameters.items()}
    result: _Result = torch.func.functional_call(_Calling(model), named, (run,))
    return result


def _check_single_examples(model: nn.Module, batch: Mapping[str, Any]) -> None:
    norms = [
        name for name, module in model.named_modules() if module.training and getattr(module, "track_running_stats", 0)
    ]
    if norms and any(isinstance(value, Tensor) and _is_mapped(value) for value in batch.values()):
        raise BadInputError(
            f"torch.func.vmap takes the examples of a batch one by one, but batch norm ({norms[0]}) would then "
            "normalise each example separately: gradients would be those of another function. Compute them in one "
            "pass over the batch, as with torch.autograd.grad(loss.per_example[i], parameters, retain_graph=True)."
        )


def in_transform(tensor: Tensor) -> bool:
    """Return whether a tensor belongs to a ``torch.func`` transform, so that it must not be stored."""
    return bool(functorch.is_functorch_wrapped_tensor(tensor))


def _is_mapped(tensor: Tensor) -> bool:
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def average_over_ranks(tensors: Sequence[Tensor], ranks: int) -> list[Tensor]:
    """Return the means of tensors over all ranks, in one reduction; the tensors themselves if there is one rank.

    Args:
        tensors: Tensors with the same shapes on every rank.
        ranks: Processes that share the global batch.

    Returns:
        Tensors of the same shapes and types, without graph where they were reduced.

    Raises:
        BadInputError: If it is one tensor or a dict, whose rows or names would be returned on one rank.
    """
    if isinstance(tensors, (Tensor, Mapping)):
        raise BadInputError(
            f"average_over_ranks takes a list of tensors, but got a {type(tensors).__name__}. Pass [tensor], or "
            "list(gradients.values())."
        )
    if ranks == 1 or not tensors:
        return list(tensors)
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat / ranks, [tensor.numel() for tensor in tensors])
    return [part.view_as(tensor).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]


def advice(error: BaseException) -> str:
    """Return advice for torch's errors about unsupported derivatives; empty for other errors."""
    if not isinstance(error, RuntimeError) or not _REFUSED.search(str(error)):
        return ""
    return (
        " Compute outputs, losses and their derivatives within `with workload.second_order():`. What each workload "
        "allows is described in docs/write_a_submission.md, section 'Second derivatives'."
    )
