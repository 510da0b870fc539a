"""The Lightning hooks in which a submission trains: optimizers, steps, clipping, schedules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.hyperparameters import GRADIENT_CLIP, MICRO_BATCHES
from algoperf_lightning.spec import WorkloadSpec
from algoperf_lightning.submission import Submission
from algoperf_lightning.view import Loss, WorkloadView

from .calls import SubmissionCalls
from .clipping import clip_by_norm, overflowed
from .gradients import StepGradients, loss_of, one_backward_pass
from .joint_optimizer import JointOptimizer
from .observer import Observer
from .optimization import Optimization, read_optimization, step_without_closure, step_without_loss
from .schedules import Monitored
from .submission_log import SubmissionLog
from .untrained import note_untrained, trainable


class SubmissionTraining(L.LightningModule):
    """The part of a workload in which its submission trains; all calls of the submission use ``self.calls``.

    Args:
        submission: The training algorithm.
    """

    spec: WorkloadSpec
    view: WorkloadView
    loss: Callable[..., Loss]
    """Returns the training loss of each example of a batch."""

    def __init__(self, submission: Submission) -> None:
        super().__init__()
        self.submission = submission
        self.calls = SubmissionCalls(submission)
        self.observer = Observer()
        """Observer of the run, which callers may set."""
        self.evaluation: dict[str, float] = {}
        """Every metric of the last evaluation, by ``split/metric``, in full precision."""
        self.notes: list[str] = []
        """Notes for the record on how the submission trains, which are not violations."""
        self.chooses_examples = False
        """Whether the ranks may train on different numbers of examples; known once optimizers are configured."""
        self.submission_log = SubmissionLog()
        """The submission's log, which the clock starts."""
        self._optimization: Optimization | None = None
        self._gradients: StepGradients | None = None
        self._makes_gradients = True
        self._evaluations = 0
        self._schedules_due = False
        self._closure_called = False
        self._without_loss = False
        """Whether the last training step returned None, which skips the step."""
        self._before_step: JointOptimizer | None = None
        """The optimizer before whose steps :meth:`Submission.before_step` is called, if that is defined."""
        self._was_used = False

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute.

        Lightning stores the name of the running hook about 50 times per step, and torch checks each time whether it is
        a parameter, a module or a buffer. This takes a tenth of a small model's step, so it is skipped.
        """
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The model, once it is built."""

    @property
    @abstractmethod
    def ranks(self) -> int:
        """Processes that share the global batch."""

    @abstractmethod
    def metric_names(self) -> list[str]:
        """Return the names of all metrics of an evaluation, as ``split/metric``."""

    def configure_optimizers(self) -> Any:
        """Call the submission, and convert its result to a form that Lightning handles correctly.

        Raises:
            BadInputError: If the result is not supported.
        """
        self._was_used = True
        owner = type(self.submission).__name__
        names = trainable(self.network)
        with self.observer.configuring():
            configured: Any = self.calls.configure_optimizers(self.network, self.view)
        monitored = Monitored(self.metric_names, self.view.metric, self.spec.direction)
        before_step = _overrides(self.submission, "before_step")
        self._optimization = read_optimization(configured, owner, monitored, before_step=before_step)
        joint = self._optimization.optimizer
        self._before_step = joint if before_step and isinstance(joint, JointOptimizer) else None
        self._optimization.check_parameters(self.network, owner)
        self._makes_gradients = _overrides(self.submission, "training_step")
        self.chooses_examples = self._makes_gradients or _overrides(self.submission, "select_batch")
        self.notes = note_untrained(self.network, names, self._optimization.optimizer, owner)
        return self._optimization.for_lightning()

    def training_step(self, batch: Batch) -> Any:
        """Clear the gradients, and let the submission compute the loss, possibly in micro-batches.

        Raises:
            BadInputError: If a submission has set its ``micro_batches`` to anything but a positive integer, or did not
                return a loss, or a step makes several backward passes with DDP's ``static_graph``.
        """
        self._closure_called = True
        if self._gradients is None:
            assert self._optimization is not None
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            self._gradients = StepGradients(self._optimization.optimizer, scaler, self.ranks, self.network)
        gradients, number = self._gradients, self.submission.micro_batches
        gradients.clear()
        with self._graph_allows(number):
            if number != 1:
                MICRO_BATCHES.check(type(self.submission).__name__, number)
                step = partial(self.calls.training_step, self.view, has_gradients=gradients.any)
                returned = gradients.in_parts(self.view.parts(batch, number), step, self.backward, number)
            else:
                returned = self.calls.training_step(self.view, batch, gradients.any)
        if self._makes_gradients and number == 1:
            returned = gradients.adopt(returned)
        self._without_loss = loss_of(returned) is None
        return returned

    def _graph_allows(self, micro_batches: int) -> AbstractContextManager[None]:
        """Return a context for the passes of a step, which refuses those that data-parallel training cannot have."""
        if not getattr(self.trainer.model, "static_graph", False):
            return nullcontext()
        return one_backward_pass(type(self.submission).__name__, micro_batches, self.network.parameters())

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Keep the gradients: Lightning calls this after :meth:`training_step`, which has cleared them.

        Existing gradients are the submission's own, and those of the other micro-batches.
        """

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the submission change the unscaled gradient, or skip the step; Lightning clips afterwards."""
        if self._gradients is None:
            return
        self._gradients.average_beside_model()
        if self._before_step is None:
            return
        if self._gradients.any() and not overflowed(self, optimizer):
            self._before_step.skips_step = not self.calls.before_step(self.network, self.view)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip according to the submission; the Trainer's own clipping is refused elsewhere.

        Raises:
            BadInputError: If a submission has set its ``gradient_clip`` to a number that is not positive.
        """
        self.submission_log.add_learning_rates(self.trainer.optimizers)  # here they are those of this step
        clip = self.submission.gradient_clip
        if clip is not None:
            GRADIENT_CLIP.check(type(self.submission).__name__, clip)
            clip_by_norm(self, optimizer, clip)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Make a step, whose closure calls :meth:`training_step`.

        Raises:
            BadInputError: If the optimizer did not call its closure, or needs a loss that does not exist.
        """
        self._closure_called = self._without_loss = False
        try:
            self.calls.call("optimizer's step", optimizer.step, closure=optimizer_closure)
        except TypeError as error:
            if self._without_loss:
                raise step_without_loss(optimizer, type(self.submission).__name__) from error
            raise
        if not self._closure_called:
            raise step_without_closure(optimizer)

    def run_as_in_training(self, batch: Batch) -> None:
        """Run the model on a batch in the precision of the run, outside of a step."""
        precision = self.trainer.precision_plugin
        with precision.train_step_context():
            self.loss(precision.convert_input(batch))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step one of the submission's schedules after a training step."""
        self.calls.call("schedule's step", scheduler.step)

    def step_schedules(self) -> None:
        """Step the submission's schedules that are stepped by evaluations; called by the running clock."""
        self._schedules_due = False
        if self._optimization is not None:
            self._evaluations += 1
            self.calls.call("schedule's step", self._optimization.after_evaluation, self._evaluations, self.evaluation)

    def on_validation_end(self) -> None:
        """Step these schedules if there is no clock."""
        if self._schedules_due:
            self.step_schedules()


def _overrides(submission: Submission, method: str) -> bool:
    """Return whether a submission overrides a method of its base class."""
    return getattr(getattr(submission, method), "__func__", None) is not getattr(Submission, method)
