"""A training run of a submission on the stage, step by step, as performed by Lightning and a workload."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.records.loadable import loadable
from algoperf_lightning.rng import derive_seed, get_rng_state, seed_all, set_rng_state
from algoperf_lightning.submission import Submission
from algoperf_lightning.training.calls import SubmissionCalls
from algoperf_lightning.training.gradients import StepGradients
from algoperf_lightning.training.joint_optimizer import JointOptimizer
from algoperf_lightning.training.optimization import Optimization, read_optimization
from algoperf_lightning.training.schedules import Monitored
from algoperf_lightning.view import WorkloadView

from .stage import Problem, Stage
from .subject import Subject

_EVALUATE_EVERY = 5
_METRICS = {"train/loss": 1.0, "validation/loss": 1.0}

Values = dict[str, Tensor]
"""Parameters by name."""


@dataclass(frozen=True)
class Conduct:
    """Modifications of a training run."""

    rate: Callable[[int], float] = lambda step: 1.0
    """Factor applied to the learning rates of all groups in a step, in addition to the schedule."""
    switch: tuple[str, bool] | None = None
    """Group option that is set after construction in groups that have it: ``("foreach", True)``."""
    reuses_gradients: bool = False
    """Whether all steps store gradients in the same tensors, which are overwritten between the steps."""
    separate_gradient: bool = False
    """Whether the gradient is computed before the step, which is then called without a closure."""
    step: Callable[[Callable[[], Any]], Callable[[], Any]] = field(default=lambda function: function)
    """Wrapper of the optimizer step without closure."""


class Run:
    """A training run.

    Args:
        subject: Subject that trains.
        problem: Problem to train on.
        conduct: Modifications of the run.
        saved: Result of :meth:`save` of another run, to resume from.
        rank: Rank of this process.
        ranks: Number of ranks that share the batch; with several ranks, ``torch.distributed`` must be initialised.
    """

    def __init__(
        self,
        subject: Subject,
        problem: Problem | None = None,
        conduct: Conduct | None = None,
        *,
        saved: bytes | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.conduct = Conduct() if conduct is None else conduct
        self.stage = Stage(Problem() if problem is None else problem, subject.parameters, rank, ranks)
        self.view = WorkloadView(self.stage)
        self.submission = subject.make()
        self.calls = SubmissionCalls(self.submission)
        self.evaluations = 0
        self.closure_calls = 0
        self.grad_enabled: list[bool] = []
        self.gradients: Values = {}
        """Gradients after the last closure call."""
        self._buffers: dict[str, Tensor] = {}
        state = None if saved is None else torch.load(io.BytesIO(saved), weights_only=True)
        if state is not None:
            self.calls.load_state_dict(state["submission"])
            self.stage.network.load_state_dict(state["model"])
        rng = torch.get_rng_state()
        self.optimization = self._configure(subject)
        self.drew_at_start = not torch.equal(rng, torch.get_rng_state())
        """Whether random numbers were drawn before the run was seeded."""
        overridden = overrides(self.submission, "training_step")
        self.stage.chooses_examples = overridden or overrides(self.submission, "select_batch")
        self._makes_gradients = overridden
        self._step = self.conduct.step(self.optimizer.step)
        self._batches = self._endless()
        seed_all(derive_seed(0, "training", rank))
        if state is not None:
            self._take(state)
        self._step_gradients = StepGradients(self.optimizer, None, ranks, self.stage.network)

    def _configure(self, subject: Subject) -> Optimization:
        configured = self.calls.configure_optimizers(self.stage.network, self.view)
        monitored = Monitored(lambda: list(_METRICS), self.view.metric, self.stage.spec.direction)
        before_step = overrides(self.submission, "before_step")
        optimization = read_optimization(configured, subject.name, monitored, before_step=before_step)
        optimization.check_parameters(self.stage.network, subject.name)
        self._before_step = before_step
        if self.conduct.switch is not None:
            name, value = self.conduct.switch
            for group in optimization.optimizer.param_groups:
                if name in group:
                    group.update({key: False for key in ("foreach", "fused") if key in group})
                    group[name] = value
        return optimization

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, or several optimizers combined into one."""
        return self.optimization.optimizer

    def _endless(self) -> Iterator[Batch]:
        while True:
            yield self.stage.batch(self.stage.step)

    # A step

    def step(self) -> Any:
        """Perform one step and return the result of the optimizer."""
        self._batch = self.calls.select_batch(self._batches)
        self.closure_calls = 0
        with self._rates():
            if self.conduct.separate_gradient:
                self.loss = self.closure()
                returned = self.calls.call("optimizer's step", self._step)
            else:
                returned = self.calls.call("optimizer's step", self.optimizer.step, closure=self.closure)
        for name, buffer in self._buffers.items():
            buffer.fill_(1e3 + len(name))
        self.stage.step += 1
        for schedule in self.optimization.schedules:
            if schedule.interval == "step" and self.stage.step % schedule.frequency == 0:
                self.calls.call("schedule's step", schedule.scheduler.step)
        if self.stage.step % _EVALUATE_EVERY == 0:
            self._evaluate()
        return returned

    def steps(self, number: int) -> Values:
        """Perform several steps and return the resulting parameters."""
        for _ in range(number):
            self.step()
        return self.values()

    def closure(self) -> Any:
        """Compute the loss and its gradient, as the closure that Lightning passes to an optimizer."""
        self.closure_calls += 1
        self.grad_enabled.append(torch.is_grad_enabled())
        with torch.enable_grad():
            loss = self._loss()
        if loss is not None and loss.requires_grad:
            loss.backward()
        self._average_over_ranks()
        self._step_gradients.average_beside_model()
        if self._before_step and isinstance(self.optimizer, JointOptimizer) and self._step_gradients.any():
            self.optimizer.skips_step = not self.calls.before_step(self.stage.network, self.view)
        if self.submission.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._held(), self.submission.gradient_clip)
        self._put_into_buffers()
        self.gradients = {
            name: p.grad.detach().clone()
            for name, p in self.stage.network.named_parameters()
            if p.grad is not None and not p.grad.is_sparse
        }
        self.loss = None if loss is None else loss.detach()
        return self.loss

    def _loss(self) -> Any:
        gradients, number = self._step_gradients, self.submission.micro_batches
        gradients.clear()
        if number != 1:
            parts = self.view.parts(self._batch, number)

            def step(part: Batch) -> Tensor:
                return self.calls.training_step(self.view, part, gradients.any)

            returned = gradients.in_parts(parts, step, lambda loss: loss.backward(), number)  # type: ignore[no-untyped-call]
        else:
            returned = self.calls.training_step(self.view, self._batch, gradients.any)
            returned = gradients.adopt(returned) if self._makes_gradients else returned
        return returned.get("loss") if isinstance(returned, dict) else returned

    def _held(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _average_over_ranks(self) -> None:
        if self.stage.ranks == 1:
            return
        for parameter in self.stage.network.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.stage.ranks

    @torch.no_grad()
    def _put_into_buffers(self) -> None:
        if not self.conduct.reuses_gradients:
            return
        for name, parameter in self.stage.network.named_parameters():
            if parameter.grad is not None:
                buffer = self._buffers.setdefault(name, torch.empty_like(parameter.grad))
                parameter.grad = buffer.copy_(parameter.grad)

    def _evaluate(self) -> None:
        self.evaluations += 1
        self.calls.before_evaluation(self.stage.network)
        self.calls.after_evaluation(self.stage.network)
        self.optimization.after_evaluation(self.evaluations, _METRICS)

    def _rates(self) -> _Rates:
        return _Rates(self.optimizer, self.conduct.rate(self.stage.step))

    # Parameters and state

    def values(self) -> Values:
        """Return copies of the trained parameters."""
        named = self.stage.network.named_parameters()
        return {name: p.detach().clone() for name, p in named if name in self.stage.names}

    def save(self) -> bytes:
        """Return the complete state as in a checkpoint, serialised with ``torch.save``."""
        file = io.BytesIO()
        state = {
            "model": self.stage.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedules": [schedule.scheduler.state_dict() for schedule in self.optimization.schedules],
            "submission": self.calls.state_dict(),
            "step": self.stage.step,
            "evaluations": self.evaluations,
            "rng": get_rng_state(),
        }
        torch.save(loadable(state, "state"), file)
        return file.getvalue()

    def _take(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        for schedule, saved in zip(self.optimization.schedules, state["schedules"], strict=True):
            schedule.scheduler.load_state_dict(saved)
        self.stage.step, self.evaluations = state["step"], state["evaluations"]
        set_rng_state(state["rng"])


class _Rates:
    """Context manager that multiplies the learning rates of all groups by a factor."""

    def __init__(self, optimizer: torch.optim.Optimizer, factor: float) -> None:
        self._groups = [] if factor == 1.0 else [group for group in optimizer.param_groups if "lr" in group]
        self._factor = factor

    def __enter__(self) -> None:
        self._before = [float(group["lr"]) for group in self._groups]
        self._set([value * self._factor for value in self._before])

    def __exit__(self, *error: object) -> None:
        self._set(self._before)

    def _set(self, values: list[float]) -> None:
        for group, value in zip(self._groups, values, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value


def overrides(submission: Submission, method: str) -> bool:
    """Return whether a submission overrides a method of the base class."""
    return getattr(getattr(submission, method), "__func__", None) is not getattr(Submission, method)


def trained(subject: Subject, problem: Problem | None = None, conduct: Conduct | None = None, *, steps: int) -> Values:
    """Return the parameters after several steps of a new run."""
    return Run(subject, problem, conduct).steps(steps)
