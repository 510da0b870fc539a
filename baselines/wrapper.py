"""Base of the submissions that change how another submission trains."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.plugins import find_submission
from algoperf_lightning.submission import Submission
from algoperf_lightning.training.optimization import optimizers_in
from algoperf_lightning.view import WorkloadView

from .batch_sizes import USUAL


class OfBase:
    """An attribute or a method that is delegated to the wrapped submission.

    Args:
        of_class: Its value on the class, where there is no wrapped submission yet; None is the value of the base class.
    """

    def __init__(self, of_class: Any = None) -> None:
        self._of_class = of_class

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Wrapper | None, owner: type) -> Any:
        if instance is not None:
            return getattr(instance.wrapped, self._name)
        return getattr(Submission, self._name) if self._of_class is None else self._of_class

    def __set__(self, instance: Wrapper, value: Any) -> None:
        setattr(instance.wrapped, self._name, value)


class Wrapper(Submission):
    """A submission around another one; it also accepts the hyperparameters of the wrapped submission.

    A subclass defines :meth:`wrap`, which receives the optimizers of the wrapped submission. Loss, batch sizes,
    regularisation and schedules are those of the wrapped submission.

    Args:
        base: The wrapped submission: a registered name, an import path, or a class. Several, from the outside to the
            inside, are separated by slashes: ``cautious_decay/muon``.
        **options: Hyperparameters of the wrapped submission.

    Raises:
        BadInputError: If there is no such submission, or it does not accept these hyperparameters.
    """

    dropout: Any = OfBase()
    label_smoothing: Any = OfBase()
    gradient_clip: Any = OfBase()
    micro_batches: Any = OfBase()
    batch_sizes: Any = OfBase(USUAL)
    select_batch: Any = OfBase()
    training_step: Any = OfBase()
    before_step: Any = OfBase()

    def __init__(self, base: str | type[Submission], **options: Any) -> None:
        outer, _, inner = base.partition("/") if isinstance(base, str) else (base, "", "")
        kind = find_submission(outer) if isinstance(outer, str) else outer
        if inner and not issubclass(kind, Wrapper):
            raise BadInputError(
                f"{type(self).__name__}: base={base!r} puts {inner!r} into {outer!r}, which does not wrap others."
            )
        try:
            self.wrapped = kind(**({"base": inner} if inner else {}), **options)
        except TypeError as error:
            raise BadInputError(f"{type(self).__name__}: {error}") from None
        if not isinstance(base, str):
            self.hyperparameters["base"] = f"{base.__module__}.{base.__qualname__}"  # as records and plans can hold it

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return the optimizers and schedules of the wrapped submission."""
        configured = self.wrapped.configure_optimizers(model, workload)
        self.wrap(optimizers_in(configured), model, workload)
        return configured

    @abstractmethod
    def wrap(self, optimizers: list[Optimizer], model: nn.Module, workload: WorkloadView) -> None:
        """Change how these optimizers train; called once, after :meth:`load_state_dict` if a run is resumed."""

    def before_evaluation(self, model: nn.Module) -> None:
        """Let the wrapped submission prepare for an evaluation."""
        self.wrapped.before_evaluation(model)

    def after_evaluation(self, model: nn.Module) -> None:
        """Let the wrapped submission undo what it did before an evaluation."""
        self.wrapped.after_evaluation(model)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the wrapped submission."""
        return {"wrapped": self.wrapped.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the wrapped submission."""
        self.wrapped.load_state_dict(state["wrapped"])
