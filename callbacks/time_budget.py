"""TimeBudget: the clock of a trial, its evaluations, and its end."""

from __future__ import annotations

import math
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from algoperf_lightning.checkpoints import SafeCheckpointIO
from algoperf_lightning.record_checksum import Ledger
from algoperf_lightning.result import Evaluation, Status, TrialResult
from algoperf_lightning.spec import Ruleset, Unit
from algoperf_lightning.workload import CheckpointMismatchError, Workload, WorkloadView

from .rules import Rules, check_rules, rules_of
from .run_clock import RunClock, agree
from .step_end_only import StepEndOnly
from .trainer_options import NEVER, prepare_trainer, silence_false_alarms
from .trainer_seams import TrainerSeams


class TimeBudget(StepEndOnly, L.Callback):
    """Measure what a submission needs to reach the validation target: seconds, or steps.

    The clock runs from the start of the training loop: data selection, steps (lazy compilation included), and the
    submission's ``before_evaluation`` and ``after_evaluation`` count; evaluation, checkpoints and loggers do not. The
    workload is evaluated after step 1, and then after the first step at which its evaluation period has passed. The run
    ends at the target, at the end of the budget (without an evaluation past it), at ``max_steps``, or when the
    submission says so. The first rank's clock decides for all ranks. It is read about once a second, and more closely
    before something is due.

    With ``unit="steps"``, budget and cadence count training steps: the result is the same on every machine that
    computes alike, however slow or busy it is, but says nothing of what a step costs. The budget is the step hint, with
    an evaluation after its last step; seconds are recorded as well.

    Args:
        ruleset: ``external`` (hyperparameters are tuned from outside) or ``self-tuning``, which has a longer budget.
        unit: What budget and evaluation period count: ``seconds`` of submission time, or ``steps``.
        scale: Factor on the workload's seconds, for a machine that is slower than the benchmark's; ``algoperf
            calibrate`` measures it.
        budget: In ``unit``, instead of the workload's; the record shows it.
        eval_period: In ``unit``, from one evaluation to the next, instead of the workload's.
        target: Validation target, instead of the workload's.
        stop_at: ``validation`` ends the run at the validation target, ``both`` only when the test target was reached
            too (as the official runs do; no score changes).
        clock: Where seconds come from; must never run backwards.

    Raises:
        BadInputError: If a number is not positive, the ruleset or unit is unknown, or ``scale`` is given with
            something it has no meaning for.
    """

    def __init__(
        self,
        ruleset: Ruleset = "external",
        *,
        unit: Unit = "seconds",
        scale: float = 1.0,
        budget: float | None = None,
        eval_period: float | None = None,
        target: float | None = None,
        stop_at: Literal["validation", "both"] = "validation",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = Rules(ruleset, unit, scale, budget, eval_period, target, stop_at)
        self._result: TrialResult | None = None
        self._ledger: Ledger | None = None
        self._view: WorkloadView | None = None
        self._clock = RunClock(clock, unit)
        self._step = 0
        self._loss = math.nan
        self._last_evaluation = -math.inf
        self._evaluating = False
        self._final = False
        self._preempted = False
        self._seams: TrainerSeams | None = None
        silence_false_alarms()

    @property
    def result(self) -> TrialResult:
        """What was measured so far.

        Raises:
            RuntimeError: If no run was started in this process.
        """
        if self._result is None:
            raise RuntimeError(
                "No run was measured in this process yet. If Trainer.fit started processes of its own (a notebook "
                "launch), add a TrialRecorder and read its folder: TrialResult.read(folder)."
            )
        return self._result

    @property
    def seconds(self) -> float:
        """Submission seconds at the last reading of the clock, the same on every rank."""
        return self._clock.seconds

    @property
    def next_reading(self) -> float:
        """Submission seconds at which the clock is read next; a killed run used no more, but for a slow step."""
        return self._clock.next_reading

    @property
    def state_key(self) -> str:
        """The key of the clock in a checkpoint."""
        return "TimeBudget"

    # The run

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check what is to be timed, and begin a fresh record."""
        if stage != "fit":
            return
        if not isinstance(pl_module, Workload):
            raise TypeError(
                f"TimeBudget times workloads, but Trainer.fit got {type(pl_module).__name__}. "
                "Pass a Workload: trainer.fit(get_workload('digits')(submission))."
            )
        prepare_trainer(trainer)
        if not isinstance(trainer.strategy.checkpoint_io, SafeCheckpointIO):
            trainer.strategy.checkpoint_io = SafeCheckpointIO(trainer.strategy.checkpoint_io)
        trainer.callbacks = sorted(trainer.callbacks, key=self._turn)
        self._result = self._rules.begin(trainer, pl_module)
        self._ledger = Ledger(self._result)
        self._result.checksum = self._ledger.checksum
        self._view = pl_module.view
        self._view.begin(self._result)
        self._step, self._last_evaluation = 0, -math.inf
        self._evaluating = self._final = self._preempted = False
        self._clock.set(0.0, 0.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, or let it go on from where a resumed run stood."""
        if self._result is None:
            return
        self._seams = TrainerSeams(trainer, self.untimed)
        if threading.current_thread() is threading.main_thread():
            self._seams.on_preemption(self._on_preemption)
        if self._is_over():
            trainer.should_stop = True
            return
        self.result.status, self.result.message = Status.RUNNING, ""
        trainer.val_check_batch = NEVER
        trainer.fit_loop.max_batches = math.inf  # no progress bar shall promise an end
        self._clock.start(trainer, self._step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step; read the clock if it is time to."""
        self._step += 1
        if self._clock.is_due(self._step) or self._step == trainer.max_steps:
            self._read_clock(trainer, pl_module, outputs)

    def _read_clock(self, trainer: L.Trainer, workload: Any, outputs: Any) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        diverged = False
        if isinstance(loss, torch.Tensor):  # None, if the submission skipped the step
            self._loss = float(loss)
            diverged = not math.isfinite(self._loss)
        stop, preempted, nonfinite = self._clock.read(
            trainer, self._step, workload.view.stop_requested, self._preempted, diverged
        )
        result = self.result
        result.steps, result.submission_seconds, result.wall_seconds = (
            self._step,
            self.seconds,
            self._clock.wall_seconds,
        )
        if nonfinite and result.nonfinite_loss_step is None:
            result.nonfinite_loss_step = self._step
        # Of steps the last one is evaluated; of seconds no evaluation is made past the budget.
        last_step = result.unit == "steps" and self._used >= result.budget
        self._final = last_step or stop or 0 <= trainer.max_steps <= trainer.global_step
        if self._used >= result.budget and not last_step:
            self._end(trainer, Status.BUDGET_SPENT)
        elif preempted and not last_step:
            self._end(trainer, Status.PREEMPTED, "Preempted by a signal; resume with ckpt_path.")
        elif self._until_evaluation <= 0 or self._final:
            self._begin_evaluation(trainer, workload)
        else:
            self._look_ahead()

    def _look_ahead(self) -> None:
        # From agreed numbers only: every rank must come to the same step.
        self._clock.look_ahead(min(self._until_evaluation, self.result.budget - self._used))

    @property
    def _used(self) -> float:
        return self._clock.used(self._step)

    @property
    def _until_evaluation(self) -> float:
        return self._last_evaluation + self.result.eval_period - self._used

    # Evaluation

    def _begin_evaluation(self, trainer: L.Trainer, workload: Any) -> None:
        workload.submission.before_evaluation(workload.network)
        self._clock.pause(trainer)
        self.result.steps, self.result.submission_seconds = self._step, self.seconds
        if self.result.unit == "seconds" and self._used >= self.result.budget:
            workload.submission.after_evaluation(workload.network)
            self._end(trainer, Status.BUDGET_SPENT)
        else:
            self._evaluating = True
            trainer.val_check_batch = 1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pause also for an evaluation that somebody else asked for, as EarlyStopping does when it ends a run."""
        if self._result is not None and trainer.state.fn == "fit" and not self._evaluating:
            self._final = True
            with _outside_inference_mode():
                self._begin_evaluation(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the evaluation, end the run if it is over, else let the clock go on."""
        if self._result is None or not self._evaluating or not isinstance(pl_module, Workload):
            return
        result = self.result
        self._evaluating = False
        trainer.val_check_batch = NEVER
        self._check_rules(pl_module)
        result.wall_seconds = self._clock.wall_seconds
        self._record(Evaluation(self._step, self.seconds, result.wall_seconds, self._loss, dict(pl_module.evaluation)))
        self._last_evaluation = self._used
        (reached,) = agree(trainer, self._target_reached())
        self._clock.resume(trainer)
        with _outside_inference_mode():
            pl_module.submission.after_evaluation(pl_module.network)
            pl_module.step_schedules()
        self._check_record()
        if reached:
            self._end(trainer, Status.REACHED)
        elif self._used >= result.budget:
            self._end(trainer, Status.BUDGET_SPENT)
        elif self._final:
            self._end(trainer, Status.STOPPED, self._why_stopped(trainer, pl_module))
        else:
            self._clock.go_on(trainer, self._step)
            self._look_ahead()

    def _record(self, evaluation: Evaluation) -> None:
        self._check_record()
        assert self._ledger is not None
        assert self._view is not None
        self._ledger.add(evaluation)
        self.result.evaluations.append(evaluation)
        self.result.checksum = self._ledger.checksum
        self._view.show(self.result.evaluations)

    def _check_record(self) -> None:
        if self._ledger is not None:
            with self.untimed():
                self._ledger.check(self.result)

    def _target_reached(self) -> bool:
        splits = ["validation", "test"] if self.result.stop_at == "both" else ["validation"]
        return all(
            self.result.evaluation_at_target(split) is not None
            for split in splits
            if self.result.target(split) is not None
        )

    def _check_rules(self, workload: Workload) -> None:
        workload.rule_checks.look()
        self.result.warnings = list(workload.rule_checks.warnings)

    # The end

    def end(self, trainer: L.Trainer, message: str) -> None:
        """End the run here, right after an evaluation, on all ranks; the record will say why."""
        self._end(trainer, Status.STOPPED, message)

    def _end(self, trainer: L.Trainer, status: Status, message: str = "") -> None:
        self._clock.pause_here()
        self.result.status, self.result.message = status, message
        trainer.should_stop = True
        # Lightning evaluates once more when a run is stopped; this one had its last evaluation.
        if self._seams is not None:
            self._seams.no_more_validation()

    def _is_over(self) -> bool:
        return self._target_reached() or self._used >= self.result.budget

    def _why_stopped(self, trainer: L.Trainer, workload: Workload) -> str:
        if workload.view.stop_requested:
            return "The submission ended the run."
        if 0 <= trainer.max_steps <= trainer.global_step:
            return f"max_steps={trainer.max_steps} was reached."
        return "Another callback ended the run."

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        if self._result is None or not isinstance(pl_module, Workload):
            return
        self._clock.stop()
        self._check_rules(pl_module)
        self._check_record()
        if self.result.status is Status.RUNNING:
            if self._is_over():
                self.result.status = Status.REACHED if self._target_reached() else Status.BUDGET_SPENT
            else:
                self.result.status = Status.STOPPED
                self.result.message = self._why_stopped(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave as a process does that was told to terminate, after everything was saved."""
        if self._result is not None and self.result.status is Status.PREEMPTED:
            raise SystemExit(128 + signal.SIGTERM if trainer.is_global_zero else 0)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say in the record what happened."""
        if self._result is None:
            return
        self._clock.stop()
        if isinstance(exception, KeyboardInterrupt):
            self.result.status = Status.PREEMPTED
            self.result.message = "Interrupted from the keyboard; resume with ckpt_path."
        elif not isinstance(exception, SystemExit):
            where = "evaluation" if self._evaluating else "training"
            last = traceback.extract_tb(exception.__traceback__)[-1:]
            place = f" ({last[0].filename}:{last[0].lineno})" if last else ""
            self.result.status = Status.FAILED
            self.result.message = f"{type(exception).__name__} in {where}: {exception}{place}"
        self._release()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the Trainer as it was."""
        self._release()

    def _release(self) -> None:
        if self._seams is not None:
            self._seams.restore()
            self._seams = None
        self._view = None

    # The clock

    def untimed(self) -> AbstractContextManager[None]:
        """Return a block in which the submission's time stands still, for work that is not the submission's."""
        return self._clock.untimed()

    def charge_until(self, seconds: float) -> None:
        """Charge time that a killed run used after its last checkpoint, up to ``seconds`` on its clock."""
        self._clock.charge_until(seconds)

    def _on_preemption(self, signum: int, frame: FrameType | None) -> None:
        self._preempted = True

    def _turn(self, callback: L.Callback) -> int:
        # Others first, as their work at the end of a step or an evaluation must not lie between the clock's reading and
        # its pause; then the clock, then what shows and writes its result.
        if isinstance(callback, Checkpoint):
            return 3
        if callback is self:
            return 1
        return 2 if getattr(callback, "follows_clock", False) else 0

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the clock, the evaluations, the cadence and the rules: plain types only."""
        if self._result is None:
            return {}
        return {
            "step": self._step,
            "seconds": self._clock.now,
            "wall_seconds": self._clock.wall_seconds,
            "last_evaluation": self._last_evaluation,
            "nonfinite_loss_step": self.result.nonfinite_loss_step,
            "preemptions": self.result.preemptions,
            "evaluations": [evaluation.to_row() for evaluation in self.result.evaluations],
            "checksum": self.result.checksum,
            "rules": rules_of(self.result),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, with the time that was used.

        Raises:
            CheckpointMismatchError: If the run was timed by other rules.
        """
        result = self.result
        check_rules(result, state_dict["rules"])
        self._step = state_dict["step"]
        self._last_evaluation = state_dict["last_evaluation"]
        self._clock.set(state_dict["seconds"], state_dict["wall_seconds"])
        result.steps, result.submission_seconds = self._step, self.seconds
        result.wall_seconds = state_dict["wall_seconds"]
        result.nonfinite_loss_step = state_dict["nonfinite_loss_step"]
        result.preemptions = state_dict["preemptions"] + 1
        result.evaluations[:] = [Evaluation.from_row(row) for row in state_dict["evaluations"]]
        self._ledger = Ledger(result)
        result.checksum = self._ledger.checksum
        if state_dict.get("checksum", result.checksum) != result.checksum:
            raise CheckpointMismatchError(
                "The evaluations in the checkpoint are not those that the clock recorded: its checksum is "
                f"{state_dict['checksum']}, that of the evaluations is {result.checksum}. Start without ckpt_path."
            )
        if self._view is not None:
            self._view.show(result.evaluations)


@contextmanager
def _outside_inference_mode() -> Iterator[None]:
    """Let a submission work on parameters as in training; tensors made in inference mode could not be trained on."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
