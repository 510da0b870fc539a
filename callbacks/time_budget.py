"""TimeBudget: the clock of a trial, its evaluations, and its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

import lightning as L

from algoperf_lightning.records.busy_machine import load_average
from algoperf_lightning.result import Evaluation, Status, TrialResult
from algoperf_lightning.rules.checks import RuleChecks
from algoperf_lightning.spec import Ruleset, Unit
from algoperf_lightning.utilities.interruption import Preempted
from algoperf_lightning.workload import Workload

from .call_guard import CallGuard
from .clock_state import check_clock_state, check_is_timed, clock_state, restore_clock
from .evaluation_log import EvaluationLog
from .guards import RunGuards
from .losses import RecentLosses
from .rules import Rules, check_rules, go_on_in, rules_of, timed_workload
from .run_clock import RunClock, agree
from .run_end import conclude, end_of, say_over, signal_name, why_stopped
from .step_end_only import StepEndOnly
from .submission_states import SubmissionStates
from .trainer_options import NEVER, prepare_trainer, silence_false_alarms
from .trainer_seams import outside_inference_mode


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
        stop_diverged: End the run, without an evaluation, when the loss of a step was NaN or infinite, instead of
            letting the submission recover from it.
        clock: Where seconds come from; must never run backwards. The record names it, and only the default counts when
            runs are scored by seconds.

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
        stop_diverged: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = Rules(ruleset, unit, scale, budget, eval_period, target, stop_at, stop_diverged, clock)
        self._result: TrialResult | None = None
        self._log: EvaluationLog | None = None
        self._clock = RunClock(clock, unit)
        self._step = 0
        self._losses = RecentLosses()
        self._last_evaluation = -math.inf
        self._evaluating = False
        self._final = False
        self._ended = ""
        self._active = self._was_over = False
        self._guards: RunGuards | None = None
        self._calls: CallGuard | None = None
        self._states: SubmissionStates | None = None
        self._checks: RuleChecks | None = None
        self._unsilence = silence_false_alarms()  # now, as one is said when a Trainer is made

    @property
    def result(self) -> TrialResult:
        """The measurements so far.

        Raises:
            RuntimeError: If no run was started in this process.
        """
        if self._result is None:
            raise RuntimeError(
                "No run was measured in this process yet. If Trainer.fit started other processes (a notebook "
                "launch), add a TrialRecorder and read its folder: TrialResult.read(folder)."
            )
        return self._result

    @property
    def seconds(self) -> float:
        """Submission seconds at the last reading of the clock, the same on every rank."""
        return self._clock.seconds

    @property
    def next_reading(self) -> float:
        """Submission seconds at the next reading of the clock: an upper bound for a killed run, but for a slow step."""
        return self._clock.next_reading

    @property
    def state_key(self) -> str:
        """The key of the clock in a checkpoint."""
        return "TimeBudget"

    # The run

    def check_trainer(self, trainer: L.Trainer, workload: Workload) -> None:
        """Refuse or correct options that would distort the measurement, before any callback is set up."""
        prepare_trainer(trainer, workload, self)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the timed objects, and start a new record."""
        if stage != "fit":
            return
        workload = timed_workload(pl_module)
        self._unsilence()
        self._unsilence = silence_false_alarms()
        workload.begin_trial()
        self._result = self._rules.begin(trainer, workload)
        self._log = EvaluationLog(self._result, workload.view)
        self._step, self._last_evaluation, self._ended = 0, -math.inf, ""
        self._evaluating = self._final = self._was_over = False
        self._losses = RecentLosses()
        self._clock.set(0.0, 0.0, 0.0)
        self._checks = pl_module.observer = RuleChecks(pl_module, self._clock.source)
        limit = partial(self._rules.longest_step, self._result, workload)
        self._calls = CallGuard(trainer, workload, limit, partial(self._note, trainer))
        self._active = True

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if the resumed trial is finished; otherwise count the interruption."""
        if self._result is None or not trainer.ckpt_path or not isinstance(pl_module, Workload):
            return
        self._was_over = self._is_over() or 0 <= trainer.max_steps <= self._step
        if self._was_over:
            conclude(self.result, self._ended or why_stopped(trainer, pl_module, self._step))
            say_over(self.result)
        else:
            self.result.preemptions += 1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, or resume it at the time of a resumed run."""
        if self._result is None or self._checks is None or not isinstance(pl_module, Workload):
            return
        self._guards = RunGuards(trainer, self.untimed)
        self._states = SubmissionStates(trainer, pl_module, self.result, self._checks, self._clock.timed)
        self.charge_until(self._clock.now + self._checks.charge)
        if self._is_over():
            trainer.should_stop = True
            return
        self.result.status, self.result.message = Status.RUNNING, ""
        self.result.notes = list(pl_module.notes)
        trainer.val_check_batch = NEVER
        trainer.fit_loop.max_batches = math.inf  # no progress bar shall promise an end
        self._clock.start(trainer, self._step)
        self._guards.watch(
            lambda: self._step if self._clock.running else None,
            partial(self._rules.longest_step, self.result, pl_module),
            partial(self._note, trainer),
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step; read the clock if something is due."""
        self._step += 1
        self._losses.add(self._step, outputs)
        if self._clock.is_due(self._step) or self._step == trainer.max_steps:
            self._read_clock(trainer, pl_module)

    def _read_clock(self, trainer: L.Trainer, workload: Any) -> None:
        with self.untimed():  # it waits for the device, as the reading does
            nonfinite = self._losses.first_nonfinite()
        stop, signum, steps_ago = self._clock.read(
            trainer,
            self._step,
            workload.view.stop_requested,
            self._signum,
            0 if nonfinite is None else self._step - nonfinite + 1,
        )
        if stop:
            workload.view.stop()  # whichever rank asked, so that all know why the run ends
        result = self.result
        result.steps, result.submission_seconds = self._step, self.seconds
        result.wall_seconds, result.processor_seconds = self._clock.wall_seconds, self._clock.processor_seconds
        if steps_ago and result.nonfinite_loss_step is None:
            result.nonfinite_loss_step = self._step - int(steps_ago) + 1
        # Of steps the last one is evaluated; of seconds no evaluation is made past the budget.
        last_step = result.unit == "steps" and self._used >= result.budget
        self._final = last_step or bool(stop) or 0 <= trainer.max_steps <= trainer.global_step
        if self._used >= result.budget and not last_step:
            self._end(trainer, Status.BUDGET_SPENT)
        elif steps_ago and result.stop_diverged:
            self._end(trainer, Status.STOPPED, f"The loss was not finite at step {result.nonfinite_loss_step:,}.")
        elif signum and not last_step:
            self._end_preempted(trainer, int(signum))
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
        workload.calls.before_evaluation(workload.network)
        (signum,) = self._clock.pause(trainer, self._signum)
        self.result.steps, self.result.submission_seconds = self._step, self.seconds
        if self.result.unit == "seconds" and self._used >= self.result.budget:
            workload.calls.after_evaluation(workload.network)
            self._end(trainer, Status.BUDGET_SPENT)
        elif signum:
            workload.calls.after_evaluation(workload.network)
            self._end_preempted(trainer, int(signum))
        else:
            self._evaluating = True
            trainer.val_check_batch = 1
            if self._guards is not None:
                self._guards.evaluating(True)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pause also for evaluations requested by others, such as EarlyStopping at the end of a run."""
        if self._result is not None and trainer.state.fn == "fit" and not self._evaluating:
            self._final = True
            with outside_inference_mode():
                self._begin_evaluation(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the evaluation; end the run if it is finished, otherwise restart the clock."""
        if self._result is None or not self._evaluating or not isinstance(pl_module, Workload):
            return
        result = self.result
        if self._guards is not None:
            self._guards.evaluating(False)
        self._evaluating = False
        trainer.val_check_batch = NEVER
        self._check_rules()
        result.wall_seconds = self._clock.wall_seconds
        result.load = max(result.load, load_average())
        evaluation = Evaluation(
            self._step, self.seconds, result.wall_seconds, self._losses.last, dict(pl_module.evaluation)
        )
        assert self._log is not None
        self._log.add(evaluation)
        self._last_evaluation = self._used
        (reached,) = agree(trainer, self.result.is_reached)
        self._clock.resume(trainer)
        with outside_inference_mode():
            pl_module.calls.after_evaluation(pl_module.network)
            pl_module.step_schedules()
        self._check_record()
        if reached:
            self._end(trainer, Status.REACHED)
        elif self._used >= result.budget:
            self._end(trainer, Status.BUDGET_SPENT)
        elif self._final:
            self._end(trainer, Status.STOPPED, why_stopped(trainer, pl_module, self._step))
        else:
            self._clock.go_on(trainer, self._step)
            self._look_ahead()

    def _check_record(self) -> None:
        if self._log is not None:
            with self.untimed():
                self._log.check()

    def _check_rules(self) -> None:
        if self._checks is not None:
            self._checks.look()
            self.result.warnings = list(self._checks.warnings)

    # The end

    def end(self, trainer: L.Trainer, message: str) -> None:
        """End the run right after an evaluation, on all ranks; the record contains the reason."""
        self._end(trainer, Status.STOPPED, message)

    def _end_preempted(self, trainer: L.Trainer, signum: int) -> None:
        assert self._guards is not None
        self._guards.take_signal(signum)
        self._end(trainer, Status.PREEMPTED, f"Ended by {signal_name(signum)}; it can be resumed.")

    def _end(self, trainer: L.Trainer, status: Status, message: str = "") -> None:
        self._clock.pause_here()
        self.result.status, self.result.message = status, message
        if status is Status.STOPPED and not 0 <= trainer.max_steps <= trainer.global_step:
            self._ended = message  # for good; a run that max_steps ended may be continued with more of them
        trainer.should_stop = True
        # Lightning evaluates once more when a run is stopped; this one had its last evaluation.
        if self._guards is not None:
            self._guards.no_more_validation()

    def _is_over(self) -> bool:
        return bool(self._ended) or self.result.is_reached or self._used >= self.result.budget

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        if self._result is None or self._was_over or not isinstance(pl_module, Workload):
            return
        self._clock.stop()
        self._check_rules()
        self._check_record()
        if self.result.status is Status.RUNNING:
            conclude(self.result, self._ended or why_stopped(trainer, pl_module, self._step))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Exit like a terminated process, after everything was saved."""
        if self._result is not None and self.result.status is Status.PREEMPTED and self._guards is not None:
            raise self._guards.preemption()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Record the error."""
        if self._active:
            self._note(trainer, exception)
            self._release()

    def _note(self, trainer: L.Trainer, exception: BaseException) -> None:
        self._clock.stop()
        if isinstance(exception, Preempted) and self.result.status is Status.PREEMPTED:
            return  # everything is said and saved: the process ends by it
        self.result.steps, self.result.submission_seconds = self._step, self._clock.now
        during = "evaluation" if self._evaluating else "training"
        self.result.status, self.result.message = end_of(exception, during, self._signum, trainer.world_size)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore the Trainer, the process's signals and its warnings."""
        self._release()

    def _release(self) -> None:
        self._active = False
        self._unsilence()
        for each in (self._guards, self._states, self._calls):
            if each is not None:
                each.restore()
        self._guards = self._log = self._states = self._calls = self._checks = None

    # The clock

    def untimed(self) -> AbstractContextManager[None]:
        """Return a context in which the submission's clock is stopped, for work that is not the submission's."""
        return self._clock.untimed()

    def charge_until(self, seconds: float) -> None:
        """Charge time that a killed run used after its last checkpoint, up to ``seconds`` on its clock."""
        self._clock.charge_until(seconds)

    @property
    def _signum(self) -> int:
        """The received signal, 0 if there was none."""
        return 0 if self._guards is None else self._guards.signum

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the clock, the evaluations, the cadence and the rules: plain types only."""
        if self._result is None:
            return {}
        cadence = {"step": self._step, "last_evaluation": self._last_evaluation, "ended": self._ended}
        return {**cadence, **clock_state(self._clock, self.result), "rules": rules_of(self.result)}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of a run that was not timed.

        Raises:
            RecordError: If the clock's state is missing.
        """
        if self._result is not None:
            check_is_timed(checkpoint, self.state_key, trainer.ckpt_path)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint, with the time that was used.

        Raises:
            CheckpointMismatchError: If the run was timed by other rules, or under other conditions.
            RecordError: If it is no state of a clock.
        """
        result = self.result
        check_clock_state(state_dict, result)
        check_rules(result, state_dict["rules"])
        self._step = state_dict["step"]
        self._last_evaluation = state_dict["last_evaluation"]
        self._ended = state_dict.get("ended", "")
        restore_clock(self._clock, result, state_dict)
        if self._log is not None:
            self._log.restore(state_dict["evaluations"], state_dict.get("checksum"))
        go_on_in(result, state_dict.get("environments", []), None if self._is_over() else self._step)
