"""All calls of a run into a submission's code.

Python and Lightning interpret some exceptions as control flow: ``StopIteration`` ends a loop over data, ``SystemExit``
ends the process with code 0, ``KeyboardInterrupt`` means Ctrl-C. Raised by a submission, each of them is an error of
the submission, and is converted here.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.second_order import advice
from algoperf_lightning.utilities.interruption import is_from_outside

if TYPE_CHECKING:
    from algoperf_lightning.data.examples import Batch
    from algoperf_lightning.submission import Submission
    from algoperf_lightning.view import WorkloadView

_Result = TypeVar("_Result")

_CONTROL_FLOW = (StopIteration, StopAsyncIteration)
"""Subclasses of Exception that are not errors for Python."""

_SHOWN = 60
"""Maximum length of a wrong value in a message; for longer values, the type is shown."""


class SubmissionError(RuntimeError):
    """A submission raised an exception that Python or Lightning would not treat as an error."""


class SubmissionCalls:
    """Calls a submission's methods for a workload.

    Ordinary exceptions are not changed, except for a note that names the method. Exceptions that are control flow for
    Python or Lightning are converted to :class:`SubmissionError`. Exceptions from signals are not changed.

    Args:
        submission: The training algorithm.
    """

    def __init__(self, submission: Submission) -> None:
        self._submission = submission
        self._has_stepped = False
        self.watched: Callable[[str], AbstractContextManager[None]] = lambda where: nullcontext()
        """Makes a block with a time limit, for calls before the training loop; set by the clock."""

    def configure_optimizers(self, model: nn.Module, view: WorkloadView) -> Any:
        """Return the result of the submission's ``configure_optimizers``."""
        self._submission.was_used = True
        return self.call_watched("configure_optimizers", self._submission.configure_optimizers, model, view)

    def select_batch(self, batches: Iterator[Batch]) -> Batch:
        """Return the batch that the submission selects.

        Raises:
            BadInputError: If it is not a batch; for None, Lightning would skip the step, but count it.
        """
        batch = self.call("select_batch", self._submission.select_batch, batches)
        if batch is None:
            raise BadInputError(
                f"{type(self._submission).__name__}.select_batch returned None; expected the batch to train "
                "on, for example next(batches). Is a `return` missing?"
            )
        if not isinstance(batch, Mapping):
            raise BadInputError(
                f"{type(self._submission).__name__}.select_batch returned a {type(batch).__name__}; expected the batch "
                "to train on, a dict of tensors as next(batches) returns it."
            )
        return batch

    def training_step(self, view: WorkloadView, batch: Batch, has_gradients: Callable[[], bool]) -> Tensor:
        """Return the loss that the submission differentiates.

        Args:
            view: The workload.
            batch: The batch.
            has_gradients: Returns whether the submission has set gradients itself.

        Raises:
            BadInputError: If it is not a scalar tensor, or depends on no parameter although the submission has not set
                gradients itself. None skips a step, except the first one, where it means a missing ``return``.
        """
        loss = self.call("training_step", self._submission.training_step, view, batch)
        self._check_loss(loss, has_gradients)
        self._has_stepped = True
        return loss

    def before_step(self, model: nn.Module, view: WorkloadView) -> bool:
        """Let the submission change the gradient; return whether to make the step.

        Raises:
            BadInputError: If it did not return None, True or False.
        """
        returned = self.call("before_step", self._submission.before_step, model, view)
        if returned is not None and not isinstance(returned, bool):
            raise BadInputError(
                f"{type(self._submission).__name__}.before_step returned {returned!r}; expected False to skip the "
                "step, otherwise None or True. Change the gradients in place, or assign to the .grad of parameters."
            )
        return returned is not False

    def before_evaluation(self, model: nn.Module) -> None:
        """Let the submission prepare for an evaluation."""
        self.call("before_evaluation", self._submission.before_evaluation, model)

    def after_evaluation(self, model: nn.Module) -> None:
        """Let the submission undo what it did before an evaluation."""
        self.call("after_evaluation", self._submission.after_evaluation, model)

    def state_dict(self) -> dict[str, Any]:
        """Return the submission's state."""
        return self.call("state_dict", self._submission.state_dict)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the submission's state."""
        self._submission.was_used = True
        self.call_watched("load_state_dict", self._submission.load_state_dict, state)

    def call_watched(self, where: str, function: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> _Result:
        """Like :meth:`call`, with the clock's time limit for calls before the training loop."""
        with self.watched(f"{type(self._submission).__name__}.{where}"):
            return self.call(where, function, *args, **kwargs)

    def call(self, where: str, function: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> _Result:
        """Call a method of the submission, or a function that runs its code, such as an optimizer's step.

        Args:
            where: Name of the function for messages.
            function: The function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Raises:
            SubmissionError: If it raised an exception that is not treated as an error elsewhere.
        """
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if is_from_outside(error):
                raise
            name = f"{type(self._submission).__name__}.{where}"
            if is_error(error):
                if not hasattr(error, "__notes__"):  # the innermost call has the most specific name
                    error.add_note(f"While {name} was called.{advice(error)}")
                raise
            raise SubmissionError(f"{name} raised {describe(error)}.") from error

    def _check_loss(self, returned: Any, has_gradients: Callable[[], bool]) -> None:
        loss = returned.get("loss") if isinstance(returned, Mapping) else returned
        if isinstance(loss, Tensor):
            if loss.ndim == 0 and (loss.requires_grad or has_gradients()):
                return
            found = f"a tensor of shape {tuple(loss.shape)}" if loss.ndim else "a tensor that depends on no parameter"
        elif loss is None:
            if has_gradients():
                raise self._nothing_returned()
            if self._has_stepped:
                return  # the step is skipped
            found = "None"
        else:
            found = repr(loss) if len(repr(loss)) < _SHOWN else f"a {type(loss).__name__}"
        hint = " Is a `return` missing?" if loss is None else ""
        raise BadInputError(
            f"{type(self._submission).__name__}.training_step returned {found}; expected the loss to differentiate, "
            f"a scalar tensor, for example workload.mean(workload.loss(batch)).{hint}"
        )

    def _nothing_returned(self) -> BadInputError:
        return BadInputError(
            f"{type(self._submission).__name__}.training_step set gradients itself and returned None, which skips "
            "the step. Return the loss whose gradient is added to them, or the detached value of the loss."
        )


def is_error(exception: BaseException) -> bool:
    """Return whether an exception is always an error, and not control flow of Python or Lightning."""
    # Not imported here, because it is slow; its exceptions can only be raised if it has been imported before.
    lightnings = sys.modules.get("lightning.pytorch.utilities.exceptions")
    control_flow = (*_CONTROL_FLOW, *([lightnings._TunerExitException] if lightnings else []))
    return isinstance(exception, Exception) and not isinstance(exception, control_flow)


def describe(error: BaseException, during: str = "") -> str:
    """Return a description of an exception: its type, its text, where it was raised, its cause, and its notes."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({last[0].filename}:{last[0].lineno})" if last else ""
    text = f": {error}" if str(error) else ""
    cause = "" if error.__cause__ is None else describe(error.__cause__)
    if cause and cause not in text:
        place += f", caused by {cause}"
    notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    return f"{type(error).__name__}{during and f' in {during}'}{text}{place}{notes and f'.{notes}'}"
