"""Several optimizers combined into one, with a shared gradient and one step of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.signatures import accepts


class JointOptimizer(Optimizer):
    """Several optimizers combined into one for Lightning's automatic optimization.

    :meth:`step` calls the closure once and then steps each optimizer in order with the same gradient. Each optimizer
    gets a closure whose first call returns the known loss. Groups and states belong to the individual optimizers, so
    their schedules and hooks work as usual. A gradient scaler handles a single optimizer: it unscales all gradients,
    and an overflow skips all steps. Gradients are unscaled before the step, so gradients of fused optimizers can also
    be clipped.

    Only the first optimizer may call its closure more than once, as two-pass methods do. At that time, the parameters
    of the others are unchanged. They use the gradient of the first call.

    Args:
        optimizers: One or more optimizers with disjoint parameters.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = tuple(optimizers)
        self.skips_step = False
        """Whether the next step is skipped. Set between gradient and step."""
        # Replaces Optimizer.__init__, which would create its own groups, by the setup of a copied optimizer.
        self.__setstate__({"defaults": {}})

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Groups of all optimizers, as a new list, because loading a state replaces the groups of an optimizer."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def state(self) -> MutableMapping[Tensor, Any]:  # type: ignore[override]
        """States of all parameters, stored in the optimizer of each parameter."""
        return _States([optimizer.state for optimizer in self.optimizers])

    def __eq__(self, other: object) -> bool:
        """Return whether ``other`` is this optimizer or one of its optimizers.

        Lightning checks whether the optimizer of a schedule is one that it steps, and which ones are already named.
        """
        return other is self or any(other is optimizer for optimizer in self.optimizers)

    __hash__ = Optimizer.__hash__

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Compute the gradient, step each optimizer unless the step is skipped, and return the loss.

        Args:
            closure: Function that computes loss and gradient; None if a gradient scaler has already called it.

        Raises:
            BadInputError: If an optimizer other than the first calls its closure again, or an optimizer needs a closure
                and there is none.
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
            BadInputError: If the step is to be skipped.
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
        """Return the states of the optimizers in order, as ``optimizers``."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of each optimizer."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Raise an error, because each group must belong to one of the optimizers.

        Raises:
            BadInputError: Always.
        """
        raise BadInputError("A parameter group cannot be added to several optimizers at once. Add it to one of them.")


class _SharedGradients:
    """Gradients of one step. The first is for all optimizers, later ones are only for the first optimizer."""

    def __init__(self, joint: JointOptimizer, closure: Callable[[], Any]) -> None:
        self._joint, self._closure = joint, closure
        self._kept: list[tuple[Tensor, Tensor | None]] = []
        self.loss = closure()

    def closure_for(self, number: int) -> Callable[[], Any]:
        """Return the closure of one optimizer."""
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
        """Restore the first gradient for the other optimizers, if there was another gradient."""
        for parameter, gradient in self._kept:
            parameter.grad = gradient
        self._kept = []


def _step_without_closure(optimizer: Optimizer) -> None:
    if not accepts(type(optimizer).step, optimizer):
        raise BadInputError(
            f"{type(optimizer).__name__}.step needs a closure, which precision='16-mixed' does not provide. Use "
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
    """Placeholder in Lightning's list of schedules for an optimizer without a schedule.

    ``LearningRateMonitor`` names optimizers by their schedules. It finds optimizers without a schedule in the list of
    optimizers of Lightning, which contains only the joint optimizer.

    Args:
        optimizer: Optimizer without a schedule.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignore the state."""
