"""Instruments: measurements inside a training run, off the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.instruments.groups import Route
from algoperf_lightning.instruments.instrument import InstrumentSet, chosen
from algoperf_lightning.instruments.look import Following, Look, Made, Step, copies
from algoperf_lightning.instruments.probe import Probe, UnmeasurableError
from algoperf_lightning.instruments.undisturbed import undisturbed
from algoperf_lightning.records.instrument_rows import Row, append_row
from algoperf_lightning.rng import derive_seed, get_rng_state, set_rng_state
from algoperf_lightning.training.initial_model import initial_model
from algoperf_lightning.workload import Workload

from .rules import timed_workload
from .step_end_only import StepEndOnly
from .time_budget import TimeBudget
from .trainer_options import TrainerOptionError


class Instruments(StepEndOnly, L.Callback):
    """Measure steps, gradients, curvature and activations inside a run. Training stays bit-equal.

    By default, the first step and the step after each evaluation are measured, where the clock has just been read. All
    measurements are off the clock. Rows go to ``instruments.jsonl`` in the trial's folder, and numbers to the Trainer's
    loggers as ``instruments/<name>``. What cannot be measured is listed once in the rows, with the reason.

    Gradients are those of the workload's loss on the batch of the step, in float32, with separate dropout masks, at the
    weights between steps. For schedule-free methods, these are the averages.

    Args:
        measure: A preset (``light``, ``economy``, ``business``, ``full``), names of instruments, or None to measure
            nothing, which costs nothing.
        every: Also measure every ``every`` steps. The record then has a warning, because this disturbs the clock more.
        groups: Number of groups of examples in a batch; the differences of their gradients measure the noise.

    Raises:
        BadInputError: If a name is unknown, or ``every`` or ``groups`` is not a positive integer.

    Example:
        >>> Instruments("light").names[:2]
        ('loss', 'gradient_norm')
    """

    # Set on the instance for the steps that are measured: Lightning passes over hooks that are not callable.
    on_train_batch_end: Any = None

    def __init__(self, measure: str | list[str] | None = None, *, every: int | None = None, groups: int = 8) -> None:
        self.names = () if measure is None else chosen(measure)
        _check_number("every", every, 1)
        _check_number("groups", groups, 2)
        self.rows: list[Row] = []
        """The rows of a run that has no folder."""
        self._every, self._groups = every, groups
        self._averages: dict[str, float] = {}
        self._armed = True
        self._set: InstrumentSet | None = None
        self._budget: TimeBudget | None = None
        self._first: dict[str, Tensor] = {}
        self._before: _Taken | None = None  # of the step that is being made
        self._made: Made | None = None  # of the step before it
        self._following: Following | None = None
        self._resumed: dict[str, Any] | None = None  # the state of the step before it in a resumed run
        self._seconds = 0.0
        self._route = Route()

    @property
    def state_key(self) -> str:
        """A constant, as there is one set of instruments."""
        return "Instruments"

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step needs: whether it is measured, means over measured steps, the step before it."""
        if not self.names:
            return {}
        made = None if self._made is None else self._made.state_dict()
        return {"armed": self._armed, "seconds": self._seconds, "averages": dict(self._averages), "made": made}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a resumed run."""
        self._armed, self._seconds = bool(state_dict.get("armed", False)), float(state_dict.get("seconds", 0.0))
        self._averages = {str(name): float(value) for name, value in state_dict.get("averages", {}).items()}
        self._resumed = state_dict.get("made")

    # Scheduling

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the clock.

        Raises:
            TrainerOptionError: If there is none.
        """
        clocks = [callback for callback in trainer.callbacks if isinstance(callback, TimeBudget)]
        if stage == "fit" and self.names and not clocks:
            raise TrainerOptionError("Instruments needs TimeBudget. Add TimeBudget() to the callbacks.")
        self._budget = clocks[0] if clocks else None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Mark the record, and wait for the first step that is measured."""
        if not self.names or self._budget is None or self._budget.result.status.final:
            return
        workload = timed_workload(pl_module)
        self._set = InstrumentSet(self.names, robust=trainer.world_size == 1)
        self._mark_record(workload)
        if trainer.global_step and "distance" in self.names:
            with self._budget.untimed():
                self._first = _rebuilt(workload)
        if self._resumed is not None and self._resumed["step"] + 1 == trainer.global_step:
            self._made = Made.from_state(self._resumed, next(workload.network.parameters()).device)
        self._resumed = None
        if self._armed or self._every or self._made is not None:
            self.on_train_batch_start = self._start_step

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the next step."""
        if self._set is not None and trainer.state.fn == "fit":
            self._armed = True
            self.on_train_batch_start = self._start_step

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forget the run."""
        self._end_run()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Forget the run."""
        self._end_run()

    def _end_run(self) -> None:
        self.on_train_batch_start = self.on_train_batch_end = None
        self._set = self._budget = self._before = self._made = self._following = None
        self._first = {}

    def _is_due(self, step: int) -> bool:
        return self._armed or (self._every is not None and step % self._every == 0)

    # Measurements before and after a step

    def _start_step(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        workload, step = timed_workload(pl_module), trainer.global_step
        due = self._is_due(step)
        assert self._set is not None
        if due or self._made is not None:
            with self._measuring(trainer, workload, step):
                probe = self._probe(trainer, workload, batch, step, from_rows=self._set.needs("groups"))
                if self._made is not None:
                    self._follow(trainer, self._made, probe)
                if due:
                    self._look(trainer, workload, probe, step)
                probe.release()
            self.on_train_batch_end = self._end_step if self._before or self._following else None
        self._armed = False
        if self._every is None:
            self.on_train_batch_start = None

    def _end_step(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, idx: int) -> None:
        workload = timed_workload(pl_module)
        self.on_train_batch_end = None
        taken, following = self._before, self._following
        self._before = self._following = self._made = None
        with self._measuring(trainer, workload, trainer.global_step):
            if following is not None:
                probe = following.probe
                following.update = probe.flatten(copies(probe)) - following.start
                self._measure(trainer, "following_step", following, following.made.step)
            if taken is not None:
                self._finish(trainer, workload, taken, batch)

    def _look(self, trainer: L.Trainer, workload: Workload, probe: Probe, step: int) -> None:
        assert self._set is not None
        if not self._first:
            self._first = copies(probe) if step == 0 and "distance" in self.names else {}
        clip = workload.submission.gradient_clip
        loss_type, wanted = str(workload.spec.loss_type), self._set.names
        look = Look(step, probe, trainer.optimizers, clip, loss_type, self._first, self._averages, wanted)
        self._measure(trainer, "before", look, step)
        if not any(self._set.at(place) for place in ("after", "following", "following_step")):
            return
        look.keep_weights()
        rows = None
        if self._set.at("following") and self._set.needs("groups"):
            with suppress(UnmeasurableError):
                rows = probe.rows, probe.group_losses
        self._before = _Taken(look, probe.gradient, probe.loss, rows)

    def _finish(self, trainer: L.Trainer, workload: Workload, taken: _Taken, batch: Any) -> None:
        assert self._set is not None
        look = taken.look
        probe = partial(self._probe, trainer, workload, batch, look.step)
        step = Step(
            before=look,
            gradient=taken.gradient,
            loss=taken.loss,
            rows=taken.rows[0] if taken.rows else None,
            row_losses=taken.rows[1] if taken.rows else None,
            probe=probe(),
            at_start=lambda: probe(at=look.weights),
        )
        self._measure(trainer, "after", step, look.step)
        if self._set.at("following") or self._set.at("following_step"):
            self._made = Made.of(step)
            step.probe.release()
            self.on_train_batch_start = self._start_step

    def _follow(self, trainer: L.Trainer, made: Made, probe: Probe) -> None:
        self._following = Following(made, probe)
        self._measure(trainer, "following", self._following, made.step)

    # Implementation

    def _probe(self, trainer: L.Trainer, workload: Workload, batch: Any, step: int, **options: Any) -> Probe:
        return Probe(
            workload.view,
            batch,
            seed=derive_seed(workload.seed, "instruments", step),
            groups=self._groups,
            label_smoothing=workload.submission.label_smoothing or 0.0,
            ranks=trainer.world_size,
            route=self._route,
            **options,
        )

    @contextmanager
    def _measuring(self, trainer: L.Trainer, workload: Workload, step: int) -> Iterator[None]:
        """Make a block that is off the clock, is entered and left by all ranks together, and leaves no trace."""
        assert self._budget is not None
        assert self._set is not None
        with self._budget.untimed():
            begun = time.monotonic()
            trainer.strategy.barrier()
            state = get_rng_state()
            with ExitStack() as stack:
                stack.callback(set_rng_state, state)
                stack.enter_context(_buffers_left_alone(workload))
                stack.enter_context(undisturbed(derive_seed(workload.seed, "instruments", step)))
                if self._set.needs("curvature"):
                    stack.enter_context(workload.view.second_order())
                yield
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.synchronize()
            trainer.strategy.barrier()
            self._seconds += time.monotonic() - begun
            self._budget.result.environment["instruments"]["seconds"] = round(self._seconds, 3)

    def _measure(self, trainer: L.Trainer, place: str, seen: Look | Step | Following, step: int) -> None:
        assert self._set is not None
        assert self._budget is not None
        found = self._set.measure(place, seen)
        if not found or not trainer.is_global_zero:
            return
        seconds = {"submission_seconds": self._budget.now} if place == "before" else {}
        row: Row = {"step": step, **seconds, **found}
        folder = self._budget.result.folder
        if folder is None:
            self.rows.append(row)
        else:
            append_row(folder, row)
        numbers = {f"instruments/{name}": value for name, value in found.items() if isinstance(value, float)}
        for logger in trainer.loggers if numbers else ():
            logger.log_metrics(numbers, step=step)

    def _mark_record(self, workload: Workload) -> None:
        assert self._budget is not None
        when = "the first step and after each evaluation"
        if self._every:
            when += f", and every {self._every} steps"
            workload.observer.warn(
                f"Instruments measured every {self._every} steps. They are off the clock, but caches and queues are "
                "colder after a measurement: the measured seconds may be a few percent too long."
            )
        mark = {"measure": list(self.names), "when": when, "seconds": round(self._seconds, 3)}
        self._budget.result.environment["instruments"] = mark


class _Taken:
    """Measurements before a step, kept until the step has been made."""

    def __init__(self, look: Look, gradient: Tensor, loss: float, rows: tuple[Tensor, Tensor] | None) -> None:
        self.look, self.gradient, self.loss, self.rows = look, gradient, loss, rows


def _rebuilt(workload: Workload) -> dict[str, Tensor]:
    """Return the trial's initial parameters, rebuilt from its seed."""
    state = get_rng_state()
    model = initial_model(workload)
    set_rng_state(state)
    device = next(workload.network.parameters()).device
    return {name: p.detach().to(device) for name, p in model.named_parameters()}


def _check_number(name: str, value: int | None, least: int) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        raise BadInputError(f"Instruments: {name} must be an integer of {least} or more, but got {value!r}.")


@contextmanager
def _buffers_left_alone(workload: Workload) -> Iterator[None]:
    """Restore the buffers that a forward pass changes, such as the states from which a text continues."""
    kept = {name: buffer.clone() for name, buffer in workload.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in workload.named_buffers():
                buffer.copy_(kept[name])
