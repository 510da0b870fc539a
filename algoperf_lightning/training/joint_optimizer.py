"""Several optimizers as one: one gradient, then a step of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.signatures import accepts


class JointOptimizer(Optimizer):
    """Several optimizers as the one that Lightning's automatic optimization takes.

    :meth:`step` calls the closure once, then lets each optimizer make its step with that gradient, in their order; each
    gets a closure whose first call returns the loss that is known. Groups and states are those of the optimizers, so
    schedules and hooks of theirs work as ever. A gradient scaler sees one optimizer: it unscales all gradients, and one
    that overflowed skips all steps. As it unscales before the step, gradients of fused optimizers can be clipped too.

    The first optimizer may call its closure again, as a method of two passes does: the parameters of the others have
    not been changed then, and they make their steps with the gradient of the first call. Any other may not.

    Args:
        optimizers: At least one; no parameter is in two of them.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = tuple(optimizers)
        self.skips_step = False
        """Set between gradient and step: the next step is none."""
        # In place of Optimizer.__init__, which makes groups of its own: the way a copied optimizer is set up.
        self.__setstate__({"defaults": {}})

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of all optimizers. A new list, as loading a state replaces the groups of an optimizer."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def state(self) -> MutableMapping[Tensor, Any]:  # type: ignore[override]
        """The states of all parameters, each in the optimizer that holds it."""
        return _States([optimizer.state for optimizer in self.optimizers])

    def __eq__(self, other: object) -> bool:
        """Return whether it is this one or one of its optimizers.

        Lightning asks whether a schedule's optimizer is among those it steps, and which ones have been named.
        """
        return other is self or any(other is optimizer for optimizer in self.optimizers)

    __hash__ = Optimizer.__hash__

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Compute the gradient and make the step of each optimizer, unless it is skipped; return the loss.

        Args:
            closure: Computes loss and gradient; None where a gradient scaler has called it already.

        Raises:
            BadInputError: If an optimizer after the first calls its closure again, or one needs a closure that there
                is not.
        """
        if closure is None:
            if not self._take_skip():
                for optimizer in self.optimizers:
                    _step_without_closure(optimizer)
            return None
        gradients = _SharedGradients(self, closure)
        if not self._take_skip():
            for number, optimizer in enumerate(self.optimizers):
                optimizer.step(closure=gradients.closure_for(number))
                gradients.restore()
        return gradients.loss

    def _take_skip(self) -> bool:
        skips, self.skips_step = self.skips_step, False
        return skips

    def call_again(self, closure: Callable[[], Any], optimizer: Optimizer) -> Any:
        """Call the closure in the middle of an optimizer's step.

        Raises:
            BadInputError: If the step was to be skipped.
        """
        loss = closure()
        if self._take_skip():
            raise BadInputError(
                f"before_step returned False after {type(optimizer).__name__} computed its gradient again: it is in "
                "the middle of its step, which can no longer be skipped. Return False at the first gradient of a step."
            )
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each optimizer, in their order, as ``optimizers``."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give each optimizer its state back."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse it: a group belongs to one of the optimizers.

        Raises:
            BadInputError: Always.
        """
        raise BadInputError("A parameter group cannot be added to several optimizers at once. Add it to one of them.")


class _SharedGradients:
    """The gradients of one step: the first is for all optimizers, any further one for the first of them alone."""

    def __init__(self, joint: JointOptimizer, closure: Callable[[], Any]) -> None:
        self._joint, self._closure = joint, closure
        self._kept: list[tuple[Tensor, Tensor | None]] = []
        self.loss = closure()

    def closure_for(self, number: int) -> Callable[[], Any]:
        """Return the closure for one of the optimizers."""
        called = False

        def closure() -> Any:
            nonlocal called
            if called:
                return self._again(number)
            called = True
            return self.loss

        return closure

    def _again(self, number: int) -> Any:
        first, *others = self._joint.optimizers
        if number:
            name = type(self._joint.optimizers[number]).__name__
            raise BadInputError(
                f"{name}.step called its closure again after the step of {type(first).__name__}. Only the first "
                f"optimizer that configure_optimizers returns may do so: return {name} first."
            )
        if not self._kept:
            parameters = [p for other in others for group in other.param_groups for p in group["params"]]
            self._kept = [(p, None if p.grad is None else p.grad.clone()) for p in parameters]
        return self._joint.call_again(self._closure, first)

    def restore(self) -> None:
        """Give the other optimizers the first gradient back, if there was another one."""
        for parameter, gradient in self._kept:
            parameter.grad = gradient
        self._kept = []


def _step_without_closure(optimizer: Optimizer) -> None:
    if not accepts(type(optimizer).step, optimizer):
        raise BadInputError(
            f"{type(optimizer).__name__}.step needs a closure, and there is none with precision='16-mixed'. Use "
            "bf16-mixed or 32-true."
        )
    optimizer.step()


class _States(MutableMapping[Tensor, Any]):
    """The states of several optimizers, by parameter."""

    def __init__(self, states: Sequence[MutableMapping[Tensor, Any]]) -> None:
        self._states = states

    def _of(self, key: Tensor) -> MutableMapping[Tensor, Any]:
        for state in self._states:
            if key in state:
                return state
        raise KeyError(key)

    def __getitem__(self, key: Tensor) -> Any:
        return self._of(key)[key]

    def __setitem__(self, key: Tensor, value: Any) -> None:
        self._of(key)[key] = value

    def __delitem__(self, key: Tensor) -> None:
        del self._of(key)[key]

    def __iter__(self) -> Iterator[Tensor]:
        return (key for state in self._states for key in state)

    def __len__(self) -> int:
        return sum(map(len, self._states))


class Unscheduled:
    """Stands in Lightning's list of schedules for an optimizer without one.

    ``LearningRateMonitor`` names optimizers by their schedules, and those without one by the list of optimizers that
    Lightning steps, in which there is only the joint one.

    Args:
        optimizer: One of several.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Change nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing, as there is none."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing."""
