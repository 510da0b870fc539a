"""Subjects of the checks: submissions, and optimizers wrapped as submissions."""

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
"""Callable that takes parameters or parameter groups, like the classes in ``torch.optim``."""


@dataclass(frozen=True)
class Subject:
    """Subject of the checks."""

    name: str
    make: Callable[[], Submission]
    """Function that returns a new submission."""
    contract: Contract
    submission: type[Submission] | None = None
    """Class of the submission; None for an optimizer."""
    factory: OptimizerFactory | None = None
    """Factory of the optimizer; None for a submission."""
    parameters: Collection[str] | None = None
    """Names of the parameters that it accepts; None means all."""
    changes: tuple[str, ...] = ()
    """Description of the process state that changed during its first construction and use."""


class OfOptimizer(Submission):
    """A submission that wraps an optimizer, with a linear schedule to 0.

    Args:
        factory: Factory of the optimizer.
        parameters: Names of the parameters to optimize; None means all.
        in_groups: Whether each parameter has its own group.
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
    """Return the subject for a submission, created with the options of its contract and additional options."""
    contract = submission.contract if contract is None else contract
    arguments = {**contract.options, **options}
    return Subject(submission.__name__, lambda: submission(**arguments), contract, submission)


def of_optimizer(factory: OptimizerFactory, name: str, options: Mapping[str, Any], contract: Contract) -> Subject:
    """Return the subject for an optimizer, created with the options of its contract and additional options."""
    arguments = {**contract.options, **options}

    def make(params: Any) -> Optimizer:
        return factory(params, **arguments)

    return Subject(name, lambda: OfOptimizer(make), contract, factory=make)


def restricted_to(subject: Subject, names: Collection[str]) -> Subject:
    """Return an optimizer subject that optimizes only some of the parameters."""
    factory = subject.factory
    assert factory is not None
    return replace(subject, make=lambda: OfOptimizer(factory, names), parameters=tuple(names))


def in_groups(subject: Subject) -> Subject:
    """Return an optimizer subject with a separate group for each parameter."""
    factory = subject.factory
    assert factory is not None
    return replace(subject, make=lambda: OfOptimizer(factory, subject.parameters, in_groups=True))
