"""TimeBudget: the clock of a trial, its evaluations, and its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import lightning as L

from algoperf_lightning.result import TrialResult
from algoperf_lightning.spec import Ruleset, StopAt, Unit
from algoperf_lightning.workload import Workload

from .clock_state import check_is_timed, clock_state
from .rules import Rules, rules_of, timed_workload
from .run_clock import RunClock
from .run_state import Phase, RunState
from .step_end_only import StepEndOnly
from .timed_run import TimedRun
from .trainer_options import prepare_trainer, silence_false_alarms


class TimeBudget(StepEndOnly, L.Callback):
    """Measure how many seconds or steps a submission needs to reach the validation target.

    The clock runs from the start of the training loop: data selection, steps (lazy compilation included), and the
    submission's ``before_evaluation`` and ``after_evaluation`` count; evaluation, checkpoints and loggers do not. The
    workload is evaluated after step 1, and then after the first step at which its evaluation period has passed. The run
    ends at the target, at the end of the budget (without an evaluation past it), at ``max_steps``, or when the
    submission stops it. The first rank's clock decides for all ranks. It is read about once a second, and more often
    shortly before an evaluation or the end of the budget.

    With ``unit="steps"``, budget and evaluation period count training steps: the result does not depend on the speed or
    load of the machine, but ignores the cost of a step. The budget is the step hint, with an evaluation after its last
    step; seconds are recorded as well.

    With ``unit="epochs"``, they count passes over the training data: the workload is evaluated before the first step
    and after every pass. A pass has as many steps as there are whole batches in the training data.

    Args:
        ruleset: ``external`` (hyperparameters are tuned from outside) or ``self-tuning``, which has a longer budget.
        unit: What budget and evaluation period count: ``seconds`` of submission time, ``steps`` or ``epochs``.
        scale: Factor on the workload's seconds, for a machine that is slower than the benchmark's; ``algoperf
            calibrate`` measures it.
        budget: Budget in ``unit``, instead of the workload's; the record shows it. Few workloads define a number of
            epochs.
        eval_period: Distance between evaluations in ``unit``, instead of the workload's.
        target: Validation target, instead of the workload's.
        stop_at: ``validation`` ends the run at the validation target, ``both`` when the test target is reached as well
            (as in the official runs; no score changes). With ``budget``, the run continues to the end of its budget, as
            always on a workload without a target; its result is then ``TrialResult.final``.
        stop_diverged: End the run, without an evaluation, when the loss of a step is NaN or infinite. By default, the
            submission may recover from it.
        clock: Function that returns seconds and never decreases. The record names it. Only runs with the
            default clock can be scored by seconds.

    Raises:
        BadInputError: If a number is not positive, the ruleset or unit is unknown, or ``scale`` is combined
            with an option with which it has no meaning.
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
        stop_at: StopAt = "validation",
        stop_diverged: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = Rules(ruleset, unit, scale, budget, eval_period, target, stop_at, stop_diverged, clock)
        self._clock = RunClock(clock, unit)
        self._result: TrialResult | None = None  # this and the next: of the last run, kept after its end
        self._state: RunState | None = None
        self._run: TimedRun | None = None
        self._unsilence = silence_false_alarms()  # now, because creating a Trainer already shows one

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
    def now(self) -> float:
        """Submission seconds now, on this rank."""
        return self._clock.now

    @property
    def next_reading(self) -> float:
        """Submission seconds at the next reading of the clock; except for slow steps, the maximum for a killed run."""
        return self._clock.next_reading

    @property
    def state_key(self) -> str:
        """The key of the clock in a checkpoint."""
        return "TimeBudget"

    # Start

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
        self._run = TimedRun(trainer, workload, self._rules, self._clock)
        self._result, self._state = self._run.result, self._run.state

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if the resumed trial is finished; otherwise count the interruption."""
        if self._run is not None and trainer.ckpt_path:
            self._run.resume()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, or resume it at the time of a resumed run."""
        if self._run is not None:
            self._run.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluate the untrained model if this is due, once all callbacks have started."""
        if self._run is not None:
            self._run.evaluate_untrained()

    # Read

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step; read the clock if something is due."""
        assert self._run is not None
        if self._run.count_step(outputs):
            self._run.read()

    # Evaluate

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pause the clock also for evaluations requested by others, such as EarlyStopping at the end of a run."""
        if self._run is not None and trainer.state.fn == "fit" and self._run.state.phase is Phase.TRAINING:
            self._run.ask_for_evaluation()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the evaluation; end the run if it is finished, otherwise restart the clock."""
        if self._run is not None and self._run.state.phase is Phase.EVALUATING:
            self._run.record_evaluation()

    # End

    def end(self, trainer: L.Trainer, message: str) -> None:
        """End the run right after an evaluation, on all ranks; the record contains the reason."""
        if self._run is not None:
            self._run.end(self._run.state.end(message))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        if self._run is not None:
            self._run.finish()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Exit like a terminated process, after everything was saved."""
        if self._run is not None:
            self._run.exit_if_preempted()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Record the error."""
        if self._run is not None:
            self._run.note(exception)
            with suppress(Exception):  # the device or the disk may have failed; the original error is reported anyway
                self._run.save_log(unfinished=True)
            self._release()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore the Trainer, the process's signals and its warnings."""
        self._release()

    def _release(self) -> None:
        self._unsilence()
        run, self._run = self._run, None  # which holds model and data
        if run is not None:
            run.release()

    # The clock, for callbacks whose work is not the submission's

    def untimed(self) -> AbstractContextManager[None]:
        """Return a context in which the submission's clock is stopped, for work that is not the submission's."""
        return self._clock.untimed()

    def charge_until(self, seconds: float) -> None:
        """Charge time that a killed run used after its last checkpoint, up to ``seconds`` on its clock."""
        self._clock.charge_until(seconds)

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the clock, the evaluations, the cadence and the rules: plain types only."""
        if self._result is None or self._state is None:
            return {}
        rules = rules_of(self._result)
        return {**self._state.to_dict(), **clock_state(self._clock, self._result), "rules": rules}

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the log before the checkpoint, so that a run resumed from this checkpoint has a complete log."""
        if self._run is not None:
            self._run.save_log()

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
            RecordError: If it is not the state of a clock.
        """
        assert self._run is not None  # Lightning loads states after setup, for a fit only
        self._run.restore(state_dict)
