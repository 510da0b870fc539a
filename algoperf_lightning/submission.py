"""Submission: a training algorithm."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.hyperparameters import check_hyperparameters
from algoperf_lightning.rules import global_state as global_state  # stores the process's state before any is defined
from algoperf_lightning.utilities.signatures import resolve_annotations

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

    from algoperf_lightning.data.examples import Batch
    from algoperf_lightning.view import WorkloadView


_MISSPELT = 0.85
"""Minimum similarity of two names, in [0, 1], at which one counts as a misspelling of the other."""


class Submission:
    """Base class of every training algorithm. Subclasses must define ``configure_optimizers``.

    Hyperparameters are the keyword arguments of ``__init__``, so a YAML file, the command line and a search space can
    all set them. Their values are stored in :attr:`hyperparameters`. All choices of a training algorithm are methods
    or attributes of this class. It accesses the workload through a
    :class:`~algoperf_lightning.workload.WorkloadView`.

    Example:
        >>> import torch
        >>> class SignSGD(Submission):
        ...     def __init__(self, lr: float = 1e-3):
        ...         self.lr = lr
        ...
        ...     def configure_optimizers(self, model, workload):
        ...         return torch.optim.SGD(model.parameters(), lr=self.lr)
        >>> SignSGD(lr=0.1).hyperparameters
        {'lr': 0.1}
    """

    search_space: ClassVar[Mapping[str, Any] | Sequence[Mapping[str, Any]] | None] = None
    """External tuning: ranges, or a list of points, in AlgoPerf's JSON form. None: the submission tunes itself."""

    batch_sizes: ClassVar[Mapping[str, int]] = {}
    """Global training batch size by workload name, the only place where a workload's name may matter.

    The name of a variant (``imagenet_vit_glu``) takes precedence over that of its workload. Without either, the
    workload's default is used. At a smaller size only the full name (``imagenet_vit_tiny``) is used.
    """

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = {}
    """Ranges of numeric hyperparameters, by name: ``{"learning_rate": "[0, inf)", "beta2": "[0, 1)"}``.

    Checked when the submission is created. NaN and infinity are never in a range. None is allowed if the annotation or
    the default is None; if the annotation is ``int``, only integers are allowed. A subclass extends the ranges of its
    base.
    """

    dropout: float | None = None
    """Dropout rate of the model, in [0, 1); None keeps the workload's own.

    From AlgoPerf 0.6 on it may change during training, and is then part of the submission's state.
    """

    label_smoothing: float = 0.0
    """Label smoothing of the training loss, in [0, 1); losses without labels ignore it."""

    gradient_clip: float | None = None
    """Largest global L2 norm of the gradient of the mean loss, positive; None does not clip."""

    micro_batches: int = 1
    """Number of equal parts into which each rank divides its batch, to use less memory; divides the rank's examples.

    :meth:`training_step` is called once for each part, and the gradients are averaged. The result is the gradient of
    the complete batch, except for batch norm and random numbers, which depend on the micro-batch.
    """

    contract: ClassVar[Contract] = Contract()
    """Declarations for ``algoperf check``: symmetries of the steps, and checks that do not apply, with reasons."""

    hyperparameters: dict[str, Any]
    """The arguments with which this submission was created, including defaults."""

    was_used: bool = False
    """Whether a run has already called it, so that its state may have changed."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Warn about names similar to those of attributes and methods of this class, which a run would ignore."""
        super().__init_subclass__(**options)
        annotations = vars(cls).get("__annotations__", {})
        fields = {name for name, annotation in annotations.items() if "ClassVar" not in str(annotation)}
        for name, meant in misspelt(vars(cls), fields).items():
            warnings.warn(f"{cls.__name__}.{name} is not used by any run. Did you mean {meant}?", stacklevel=2)

    def __new__(cls, *args: Any, **kwargs: Any) -> Submission:
        """Store the arguments and check their ranges, so that subclasses need not.

        Raises:
            BadInputError: If one is out of its range.
        """
        submission = super().__new__(cls)
        submission.hyperparameters = _arguments(cls, *args, **kwargs)
        check_hyperparameters(cls, submission.hyperparameters)
        return submission

    def __init__(self) -> None:
        """Accept no hyperparameters; subclasses with hyperparameters define their own constructor."""

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> OptimizerLRScheduler:
        """Return the optimizers, and their schedules if there are any. Called once, before the clock starts.

        Args:
            model: The network to train, on its device.
            workload: The workload, as a training algorithm may see it.

        Returns:
            What :meth:`lightning.LightningModule.configure_optimizers` may return: an optimizer, a dict with
            ``optimizer`` and ``lr_scheduler``, a list of either, or ``([optimizer, ...], [schedule, ...])``. Several
            optimizers step in order, with the same gradient. Instead of a schedule, there may be a dict
            with ``scheduler`` and

            - ``interval``: ``step`` (default), after training steps, or ``evaluation``, after evaluations;
            - ``frequency``: number of these between steps of the schedule, default 1;
            - ``monitor``: the metric passed to a plateau schedule after each evaluation, default ``workload.metric``;
            - ``name``: its name in Lightning's ``LearningRateMonitor``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define configure_optimizers(self, model, workload) and return an optimizer."
        )

    def training_step(self, workload: WorkloadView, batch: Batch) -> Tensor:
        """Return the loss to differentiate, a scalar. Called at every step, on the clock.

        The default is the mean over the valid examples of the global batch. Gradients of the previous step are cleared
        before the call; gradients that it sets itself (``loss.backward()``, ``parameter.grad = ...``) are added to
        those of the loss. If it sets all of them, it may return the detached value of the loss.
        """
        return workload.mean(workload.loss(batch, label_smoothing=self.label_smoothing, dropout=self.dropout))

    def select_batch(self, batches: Iterator[Batch]) -> Batch:
        """Return the batch to train on. Called before every step, on the clock.

        Args:
            batches: Endless training batches of this rank's share, on the device. They may be taken one or several
                at a time, kept, repeated or combined.
        """
        return next(batches)

    def before_step(self, model: nn.Module, workload: WorkloadView) -> bool | None:
        """Change the gradient before the optimizer's step, or skip the step. On the clock; only called if overridden.

        ``.grad`` of the parameters is the gradient of this step: averaged over the ranks, unscaled, and not yet clipped
        by :attr:`gradient_clip`. Every rank must change it in the same way; for random numbers, see
        :meth:`~algoperf_lightning.workload.WorkloadView.shared_generator`. If an optimizer computes the gradient more
        than once in a step, this is called each time. It is not called if there is no gradient, or if the gradient
        overflowed with precision ``16-mixed``.

        Returns:
            False to skip the step: parameters and optimizers do not change, but the step counts and schedules are
            stepped. Otherwise None or True.
        """
        return None

    def before_evaluation(self, model: nn.Module) -> None:
        """Prepare for an evaluation, for example by swapping in averaged weights. Runs on the clock."""

    def after_evaluation(self, model: nn.Module) -> None:
        """Undo what :meth:`before_evaluation` did. On the clock."""

    def state_dict(self) -> dict[str, Any]:
        """Return all state needed to resume exactly, besides model, optimizer and schedule: plain types and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned. Called before ``configure_optimizers``."""


resolve_annotations(Submission)  # for users' dataclasses


def misspelt(names: Iterable[str], own: Collection[str] = ()) -> dict[str, str]:
    """Return names similar to those of attributes or methods of a submission, each with the one probably meant.

    Args:
        names: Names of its attributes and methods.
        own: Names that are intended: its hyperparameters.

    Example:
        >>> misspelt(["microbatches", "grad_clip", "momentum"])
        {'microbatches': 'micro_batches', 'grad_clip': 'gradient_clip'}
    """
    members = [*dir(Submission), *Submission.__annotations__]
    known = {_spelling(name): name for name in members if not name.startswith("_")}
    found = {}
    for name in names:
        if name.startswith("_") or name in known.values() or name in own:
            continue
        if close := difflib.get_close_matches(_spelling(name), known, n=1, cutoff=_MISSPELT):
            found[name] = known[close[0]]
    return found


def _spelling(name: str) -> str:
    return "".join("gradient" if word == "grad" else word for word in name.lower().split("_"))


def _arguments(cls: type, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments that ``cls(*args, **kwargs)`` passes to ``__init__``, by name, including defaults."""
    signature = inspect.signature(cls.__init__)
    try:
        bound = signature.bind_partial(None, *args, **kwargs)
    except TypeError as error:
        names = ", ".join(list(signature.parameters)[1:]) or "none"
        raise TypeError(f"{cls.__name__}: {error}. Its hyperparameters are: {names}.") from None
    passed = set(bound.arguments)
    for name, value in bound.arguments.items():
        if value is None and _needs_a_value(signature.parameters[name]):
            raise BadInputError(
                f"{cls.__name__}: the hyperparameter {name!r} has no default, and was given as None. Give it a "
                f"value, on the command line with --submission.{name} VALUE."
            )
    bound.apply_defaults()
    arguments = dict(list(bound.arguments.items())[1:])
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:  # passed to the base class
            arguments |= arguments.pop(parameter.name, {})
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        if field.default_factory is not dataclasses.MISSING and field.name in arguments.keys() - passed:
            arguments[field.name] = field.default_factory()
    return arguments


def _needs_a_value(parameter: inspect.Parameter) -> bool:
    """Return whether None is not allowed for an argument, according to its annotation and default."""
    optional = any(word in str(parameter.annotation) for word in ("None", "Optional", "Any"))
    return parameter.default is parameter.empty and parameter.name != "self" and not optional
