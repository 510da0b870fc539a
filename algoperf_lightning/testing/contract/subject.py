"""What is checked: a submission, or an optimizer made into one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.contract import Contract
from algoperf_lightning.submission import Submission
from algoperf_lightning.view import WorkloadView

from .stage import STEP_HINT

OptimizerFactory: TypeAlias = Callable[..., Optimizer]
"""Takes parameters, or groups of them, as the classes in ``torch.optim`` do."""


@dataclass(frozen=True)
class Subject:
    """What is checked."""

    name: str
    make: Callable[[], Submission]
    """Returns a new submission."""
    contract: Contract
    submission: type[Submission] | None = None
    """Its class; None for an optimizer."""
    factory: OptimizerFactory | None = None
    """What makes the optimizer; None for a submission."""
    parameters: Collection[str] | None = None
    """The parameters that it takes; None for all."""
    changes: tuple[str, ...] = ()
    """What changed in the process when it was first made and used, in words."""


class OfOptimizer(Submission):
    """An optimizer as a submission, with a linear schedule to 0.

    Args:
        factory: Makes the optimizer.
        parameters: Names of the parameters that it is given; None for all.
        in_groups: Whether each parameter is in a group of its own.
    """

    def __init__(
        self, factory: OptimizerFactory, parameters: Collection[str] | None = None, in_groups: bool = False
    ) -> None:
        self._factory = factory
        self._parameters = parameters
        self._in_groups = in_groups

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return the optimizer and its schedule."""
        given = [p for name, p in model.named_parameters() if self._parameters is None or name in self._parameters]
        optimizer = self._factory([{"params": [p]} for p in given] if self._in_groups else given)
        if not all("lr" in group for group in optimizer.param_groups):
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, _falling)}


def _falling(step: int) -> float:
    return max(0.0, 1 - step / (2 * STEP_HINT))


def of_submission(submission: type[Submission], options: Mapping[str, Any], contract: Contract | None) -> Subject:
    """Return a submission, made with its contract's options and others, as what is checked."""
    contract = submission.contract if contract is None else contract
    arguments = {**contract.options, **options}
    return Subject(submission.__name__, lambda: submission(**arguments), contract, submission)


def of_optimizer(factory: OptimizerFactory, name: str, options: Mapping[str, Any], contract: Contract) -> Subject:
    """Return an optimizer, made with its contract's options and others, as what is checked."""
    arguments = {**contract.options, **options}

    def make(params: Any) -> Optimizer:
        return factory(params, **arguments)

    return Subject(name, lambda: OfOptimizer(make), contract, factory=make)


def restricted_to(subject: Subject, names: Collection[str]) -> Subject:
    """Return an optimizer that is given only some of the parameters."""
    factory = subject.factory
    assert factory is not None
    return replace(subject, make=lambda: OfOptimizer(factory, names), parameters=tuple(names))


def in_groups(subject: Subject) -> Subject:
    """Return an optimizer each of whose parameters is in a group of its own."""
    factory = subject.factory
    assert factory is not None
    return replace(subject, make=lambda: OfOptimizer(factory, subject.parameters, in_groups=True))
