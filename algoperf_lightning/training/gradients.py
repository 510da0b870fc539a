"""Gradients of a training step: those of the loss returned by a submission, and those set by the submission.

Both are averaged over ranks and micro-batches. The passes in ``training_step`` run within the forward pass of
data-parallel training. The reduction starts with the subsequent backward pass of Lightning. The existing content of
``.grad`` is therefore included in the reduction, once per closure call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.second_order import average_over_ranks


class StepGradients:
    """Gradients of the trained parameters during the loss computation of a step.

    Args:
        optimizer: Optimizer of the parameters.
        scaler: Loss scaler for float16 precision; None for other precisions.
        ranks: Number of processes that share the global batch.
        model: Model to train. The optimizer may not contain all of its parameters, whose gradients are computed anyway,
            and may contain additional parameters of the submission.
    """

    def __init__(self, optimizer: Optimizer, scaler: GradScaler | None, ranks: int, model: nn.Module) -> None:
        self.optimizer = optimizer
        held = dict.fromkeys(p for group in optimizer.param_groups for p in group["params"])
        of_model = dict.fromkeys(model.parameters())
        self._others = [p for p in of_model if p not in held]
        self._beside_model = [p for p in held if p not in of_model]
        self._device = next(iter(of_model)).device
        self._scaler = scaler
        self._ranks = ranks
        self._own: dict[nn.Parameter, None] = {}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters of optimizer and model without duplicates. Not cached, as groups may be added."""
        held = (p for group in self.optimizer.param_groups for p in group["params"])
        return list(dict.fromkeys([*held, *self._others]))

    def clear(self) -> None:
        """Clear the gradients of the previous step."""
        self.optimizer.zero_grad()
        for parameter in self._others:
            parameter.grad = None

    @torch.no_grad()
    def average_beside_model(self) -> None:
        """Average the gradients of parameters outside the model over the ranks, like those of the model."""
        if self._ranks == 1 or not self._beside_model:
            return
        parameters = self._beside_model
        made = torch.tensor([float(p.grad is not None) for p in parameters], device=self._device)
        gradients = [(torch.zeros_like(p) if p.grad is None else p.grad).to(self._device) for p in parameters]
        made, *gradients = average_over_ranks([made, *gradients], self._ranks)
        for parameter, gradient, share in zip(parameters, gradients, made.tolist(), strict=True):
            parameter.grad = gradient.to(parameter.device) if share else None

    def any(self) -> bool:
        """Return whether any parameter has a gradient."""
        return any(p.grad is not None for p in self.parameters)

    def adopt(self, returned: Any) -> Any:
        """Prepare gradients set by a submission for the addition to the gradients of the returned loss.

        Args:
            returned: A loss, a dict with a loss, or None.

        Returns:
            The input, with a loss that depends on each parameter with a gradient if the reduction requires it.
        """
        loss = loss_of(returned)
        if loss is None:
            return returned
        self._own = {}
        self._copy_own()
        return replace_loss(returned, self._linked(loss))

    def in_parts(
        self, parts: Iterable[Any], step: Callable[[Any], Any], backward: Callable[[Tensor], None], number: int
    ) -> Any:
        """Compute the gradient of the mean loss of several parts, except the backward pass of the last part.

        Args:
            parts: The micro-batches.
            step: Function that returns the result of the ``training_step`` of a submission.
            backward: Function that runs the backward pass of an unscaled loss.
            number: Number of parts.

        Returns:
            The result of the last step. Its loss value is the mean over all parts; its gradient is not yet added.

        Raises:
            BadInputError: If some of the steps returned None and others did not.
        """
        self._own = {}
        held: list[Tensor | None] = [None] * len(self.parameters)
        total: Tensor | float = 0.0
        skipped = 0
        for at, part in enumerate(parts):
            returned = step(part)
            loss = loss_of(returned)
            self._copy_own()
            self._add(held)
            skipped += loss is None
            if 0 < skipped < at + 1:
                raise _some_skipped()
            if loss is None:
                continue
            if at + 1 < number:
                total = total + loss.detach()
                if loss.requires_grad:
                    self._backward(loss, backward)
                held = self._take()
        if loss is None:
            return None
        self._divide(number)
        return replace_loss(returned, self._linked(loss / number + total / number))

    def _backward(self, loss: Tensor, backward: Callable[[Tensor], None]) -> None:
        # Outside autocast, like the backward pass of Lightning.
        with torch.autocast(loss.device.type, enabled=False):
            backward(loss if self._scaler is None else self._scaler.scale(loss))

    @torch.no_grad()
    def _copy_own(self) -> None:
        """Record the parameters with gradients set by a submission, and scale these gradients like the loss.

        The gradients are copied, because the submission may keep the tensors and later operations modify gradients
        (sums, clipping).
        """
        own = [(p, p.grad) for p in self.parameters if p.grad is not None]
        self._own.update((parameter, None) for parameter, _ in own)
        scale = None
        if own and self._scaler is not None:
            scale = self._scaler.scale(torch.ones((), device=own[0][1].device))
        for parameter, gradient in own:
            parameter.grad = gradient.clone() if scale is None else gradient * scale

    def _linked(self, loss: Tensor) -> Tensor:
        """Return a loss that depends on the parameters with gradients set by the submission.

        The reduction skips parameters on which the loss of no rank depends.
        """
        if self._own and (self._ranks > 1 or not loss.requires_grad):
            linked: Tensor = _Linked.apply(loss, *self._own)  # type: ignore[no-untyped-call]
            return linked
        return loss

    def _take(self) -> list[Tensor | None]:
        """Return and clear the gradients, because a submission may set them in its next call."""
        parameters = self.parameters
        held = [p.grad for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        return held

    @torch.no_grad()
    def _add(self, held: list[Tensor | None]) -> None:
        for parameter, before in zip(self.parameters, held, strict=True):
            if before is not None:
                parameter.grad = before if parameter.grad is None else before.add_(parameter.grad)

    @torch.no_grad()
    def _divide(self, number: int) -> None:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if gradients:
            torch._foreach_div_(gradients, number)


class _Linked(torch.autograd.Function):
    """Identity function of the first argument with a gradient of 0 for the parameters."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.parameters = parameters
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return gradients[0], *(p.new_zeros(()).expand_as(p) for p in ctx.parameters)


def loss_of(returned: Any) -> Tensor | None:
    """Return the loss from the result of ``training_step``."""
    loss: Tensor | None = returned.get("loss") if isinstance(returned, Mapping) else returned
    return loss


def replace_loss(returned: Any, loss: Tensor) -> Any:
    """Return the result of ``training_step`` with another loss."""
    return {**returned, "loss": loss} if isinstance(returned, Mapping) else loss


@contextmanager
def one_backward_pass(owner: str, micro_batches: int, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Reject backward passes within a step, which DDP's ``static_graph`` does not support.

    ``static_graph`` counts the gradients of the first step. Additional backward passes cause different failures, mostly
    in the next step (PyTorch issue 143580, torch 2.11).

    Args:
        owner: Name of the submission, for messages.
        micro_batches: Number of micro-batches per step.
        parameters: Parameters of the model.

    Raises:
        BadInputError: If there is more than one micro-batch, or the block ran a backward pass.
    """
    if micro_batches != 1:
        raise _several_passes(owner, f"micro_batches = {micro_batches}")
    reached: list[Tensor] = []
    hooks = [p.register_post_accumulate_grad_hook(reached.append) for p in parameters]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if reached:
        raise _several_passes(owner, "training_step runs one itself")


def _several_passes(owner: str, cause: str) -> BadInputError:
    return BadInputError(
        f"{owner} has several backward passes in a step ({cause}), and the strategy is DDP with static_graph=True, "
        "which cannot have them. Set static_graph=False (--trainer.strategy.init_args.static_graph false)."
    )


def _some_skipped() -> BadInputError:
    return BadInputError(
        "training_step returned None for some micro-batches of a step and a loss for others; None skips the "
        "complete step. Return a loss of 0 that depends on the parameters instead: 0 * workload.mean(loss)."
    )
