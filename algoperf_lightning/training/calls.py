"""The one way into a submission's code: every call of a run passes here.

Python and Lightning take some exceptions for control flow: ``StopIteration`` ends a loop over data, ``SystemExit`` ends
the process with the code 0, ``KeyboardInterrupt`` is a user at the keyboard. Raised by a submission, each of them is an
error of the submission, so none of them leaves here as itself.
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
"""Subclasses of Exception that mean something else than an error to Python."""

_SHOWN = 60
"""Characters of a wrong value that are shown in a message; for longer ones, its type is."""


class SubmissionError(RuntimeError):
    """A submission raised an exception that Python or Lightning would take for something else than an error."""


class SubmissionCalls:
    """Calls a submission's methods for a workload.

    An ordinary exception passes as it is, with a note that says which method raised it. One that is control flow to
    Python or Lightning becomes a :class:`SubmissionError`. What a signal raises passes untouched.

    Args:
        submission: The training algorithm.
    """

    def __init__(self, submission: Submission) -> None:
        self._submission = submission
        self._has_stepped = False
        self.watched: Callable[[str], AbstractContextManager[None]] = lambda where: nullcontext()
        """Makes a block that does not go on for ever, for calls before the training loop; set by the clock."""

    def configure_optimizers(self, model: nn.Module, view: WorkloadView) -> Any:
        """Return what the submission trains with."""
        self._submission.was_used = True
        return self.call_watched("configure_optimizers", self._submission.configure_optimizers, model, view)

    def select_batch(self, batches: Iterator[Batch]) -> Batch:
        """Return the batch that the submission selects.

        Raises:
            BadInputError: If it is no batch; for None, Lightning would skip the step, and count it.
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
            batch: What it is the loss of.
            has_gradients: Returns whether the submission has set gradients itself.

        Raises:
            BadInputError: If it is no scalar tensor, or one that depends on no parameter where the submission has made
                no gradients by itself. None skips a step, but not the first one: there a ``return`` is missing.
        """
        loss = self.call("training_step", self._submission.training_step, view, batch)
        self._check_loss(loss, has_gradients)
        self._has_stepped = True
        return loss

    def before_step(self, model: nn.Module, view: WorkloadView) -> bool:
        """Let the submission change the gradient; return whether the step is made.

        Raises:
            BadInputError: If it returned something else than None, True or False.
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
        """Give the submission its state back."""
        self._submission.was_used = True
        self.call_watched("load_state_dict", self._submission.load_state_dict, state)

    def call_watched(self, where: str, function: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> _Result:
        """Do as :meth:`call`, before the training loop has begun: the clock lets no such call go on for ever."""
        with self.watched(f"{type(self._submission).__name__}.{where}"):
            return self.call(where, function, *args, **kwargs)

    def call(self, where: str, function: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> _Result:
        """Call a method of the submission, or something that runs its code, as an optimizer's step does.

        Args:
            where: What is called, for messages.
            function: What to call.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Raises:
            SubmissionError: If it raised an exception that means something else than an error elsewhere.
        """
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if is_from_outside(error):
                raise
            name = f"{type(self._submission).__name__}.{where}"
            if is_error(error):
                if not hasattr(error, "__notes__"):  # the innermost call knows best
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
    """Return whether an exception means an error to everyone, and is no control flow of Python or Lightning."""
    # Not imported here: while nobody has imported Lightning, nobody can raise its exceptions, and its import is slow.
    lightnings = sys.modules.get("lightning.pytorch.utilities.exceptions")
    control_flow = (*_CONTROL_FLOW, *([lightnings._TunerExitException] if lightnings else []))
    return isinstance(exception, Exception) and not isinstance(exception, control_flow)


def describe(error: BaseException, during: str = "") -> str:
    """Return an exception in words: its type, its text, where it was raised, its cause, and what was done then."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({last[0].filename}:{last[0].lineno})" if last else ""
    text = f": {error}" if str(error) else ""
    cause = "" if error.__cause__ is None else describe(error.__cause__)
    if cause and cause not in text:
        place += f", caused by {cause}"
    notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    return f"{type(error).__name__}{during and f' in {during}'}{text}{place}{notes and f'.{notes}'}"
