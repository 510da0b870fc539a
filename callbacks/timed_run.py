"""One timed fit: carries out the decisions of the state machine on clock, record, Trainer and submission."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning as L

from algoperf_lightning.records.busy_machine import load_average
from algoperf_lightning.result import Evaluation, Status, TrialResult
from algoperf_lightning.rules.checks import RuleChecks
from algoperf_lightning.utilities.interruption import Preempted
from algoperf_lightning.workload import Workload

from .call_guard import CallGuard
from .clock_state import check_clock_state, restore_clock
from .evaluation_log import EvaluationLog
from .guards import RunGuards
from .losses import RecentLosses
from .rules import Rules, check_rules, go_on_in
from .run_clock import RunClock, agree
from .run_end import end_of, say_over
from .run_log import RunLog
from .run_state import End, Limits, Next, Phase, Reading, RunState
from .submission_states import SubmissionStates
from .trainer_options import NEVER
from .trainer_seams import evaluate_now, outside_inference_mode


class TimedRun:
    """A fit from its setup to its release, in the order of its methods.

    Args:
        trainer: The Trainer of the run.
        workload: The trained workload.
        rules: The rules of the trial.
        clock: Its clock, which is set to 0.

    Raises:
        UsedObjectError: If the workload or its submission was used before.
    """

    def __init__(self, trainer: L.Trainer, workload: Workload, rules: Rules, clock: RunClock) -> None:
        workload.begin_trial()
        self._trainer, self._workload, self._clock = trainer, workload, clock
        self.result = result = rules.begin(trainer, workload)
        self.state = RunState(_limits(result, trainer.max_steps))
        self._log = EvaluationLog(result, workload.view)
        self._submission_log = RunLog(trainer, workload, self.state, clock, result)
        self._was_over = False
        self._losses = RecentLosses()
        clock.set(0.0, 0.0, 0.0)
        self._checks = workload.observer = RuleChecks(workload, clock.source)
        self._limit = partial(rules.longest_step, result, workload)
        self._calls = CallGuard(trainer, workload, self._limit, self.note)
        self._guards: RunGuards | None = None  # for the training loop only, like the next ones
        self._states: SubmissionStates | None = None

    @property
    def _is_over(self) -> bool:
        """Whether the run is complete, as in a finished trial that is resumed."""
        return self.state.is_over(self.result.is_reached)

    # Start

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue from the state of another run's clock.

        Raises:
            CheckpointMismatchError: If the run was timed by other rules, or under other conditions.
            RecordError: If it is not the state of a clock.
        """
        result = self.result
        check_clock_state(saved, result)
        check_rules(result, saved["rules"])
        restore_clock(self._clock, result, saved)
        self.state.restore(saved, self._clock.seconds)
        self._log.restore(saved["evaluations"], saved.get("checksum"))
        go_on_in(result, saved.get("environments", []), None if self._is_over else self.state.step)

    def resume(self) -> None:
        """Warn if the resumed trial is finished; otherwise count the interruption."""
        self._was_over = self._is_over or self.state.at_max_steps
        if self._was_over:
            self._conclude()
            say_over(self.result)
        else:
            self.result.preemptions += 1

    def start(self) -> None:
        """Start the clock, or resume it at the time of a resumed run."""
        trainer, result = self._trainer, self.result
        self._guards = RunGuards(trainer, self._clock.untimed)
        self._states = SubmissionStates(trainer, self._workload, result, self._checks, self._clock.timed)
        self._clock.charge_until(self._clock.now + self._checks.charge)
        if trainer.ckpt_path:
            self._submission_log.forget()
        if self._was_over:
            trainer.should_stop = True
            return
        decision = self.state.start(self._clock.seconds, result.is_reached)
        if isinstance(decision, End):
            result.submission_seconds = self._clock.seconds
            self.end(decision)
            return
        result.status, result.message = Status.RUNNING, ""
        result.notes = list(self._workload.notes)
        trainer.val_check_batch = NEVER
        trainer.fit_loop.max_batches = math.inf  # progress bars must not show an end
        self._clock.start(trainer, self.state.step)
        if decision is Next.EVALUATE:
            self._clock.pause_here()
        self._guards.watch(lambda: self.state.step if self._clock.running else None, self._limit, self.note)

    def evaluate_untrained(self) -> None:
        """Evaluate before the first step if this is due; the submission has not run yet."""
        if self.state.phase is Phase.EVALUATING and self._guards is not None:
            self._guards.evaluating(True)
            evaluate_now(self._trainer)

    # Read

    def count_step(self, outputs: Any) -> bool:
        """Count a step, and return whether to read the clock after it."""
        state = self.state
        state.step += 1
        self._losses.add(state.step, outputs)
        return self._clock.is_due(state.step) or state.step == state.limits.max_steps

    def read(self) -> None:
        """Read the clock on all ranks, and do what is due."""
        decision = self.state.read(self._agree_on_reading())
        if isinstance(decision, End):
            self.end(decision)
        elif decision is Next.PREPARE:
            self._prepare_evaluation()
        else:
            # Only from numbers that are equal on all ranks: every rank must compute the same step.
            self._clock.look_ahead(self.state.until_due)

    def _agree_on_reading(self) -> Reading:
        step, result, view = self.state.step, self.result, self._workload.view
        with self._clock.untimed():  # it waits for the device, like the reading
            self._submission_log.collect(self._losses.drain())
        nonfinite = self._losses.first_nonfinite()
        ago = 0 if nonfinite is None else step - nonfinite + 1
        stop, signum, steps_ago = self._clock.read(self._trainer, step, view.stop_requested, self._signum, ago)
        if stop:
            view.stop()  # whichever rank requested it, so that all record why the run ends
        result.steps, result.submission_seconds = step, self._clock.seconds
        result.wall_seconds, result.processor_seconds = self._clock.wall_seconds, self._clock.processor_seconds
        if steps_ago and result.nonfinite_loss_step is None:
            result.nonfinite_loss_step = step - int(steps_ago) + 1
        nonfinite = result.nonfinite_loss_step if steps_ago else None
        return Reading(self._clock.seconds, bool(stop), int(signum), nonfinite)

    # Evaluate

    def ask_for_evaluation(self) -> None:
        """Prepare an evaluation that Lightning makes when something else ends the run."""
        with outside_inference_mode():
            self.state.ask_for_evaluation()
            self._prepare_evaluation()

    def _prepare_evaluation(self) -> None:
        calls, network = self._workload.calls, self._workload.network
        calls.before_evaluation(network)
        (signum,) = self._clock.pause(self._trainer, self._signum)
        self.result.steps, self.result.submission_seconds = self.state.step, self._clock.seconds
        decision = self.state.prepared(self._clock.seconds, int(signum))
        if isinstance(decision, End):
            calls.after_evaluation(network)
            self.end(decision)
            return
        self._trainer.val_check_batch = 1
        if self._guards is not None:
            self._guards.evaluating(True)

    def record_evaluation(self) -> None:
        """Record the evaluation that Lightning has made, and restart the clock or end the run."""
        if self._guards is not None:
            self._guards.evaluating(False)
        self.state.evaluated()
        self._trainer.val_check_batch = NEVER
        self._check_rules()
        self._add_evaluation()
        (reached,) = agree(self._trainer, self.result.is_reached)
        self._clock.resume(self._trainer)
        if self.state.step:  # the submission was not asked to prepare for an evaluation of the untrained model
            with outside_inference_mode():
                self._workload.calls.after_evaluation(self._workload.network)
                self._workload.step_schedules()
        self._check_record()
        self.save_log()
        decision = self.state.resumed(bool(reached), self._workload.view.stop_requested)
        if isinstance(decision, End):
            self.end(decision)
        else:
            self._clock.go_on(self._trainer, self.state.step)
            self._clock.look_ahead(self.state.go_on(self._clock.seconds))

    def _add_evaluation(self) -> None:
        result = self.result
        result.wall_seconds = self._clock.wall_seconds
        result.load = max(result.load, load_average())
        metrics = dict(self._workload.evaluation)
        self._log.add(Evaluation(self.state.step, self._clock.seconds, result.wall_seconds, self._losses.last, metrics))
        self._submission_log.evaluated()

    # End

    def end(self, decision: End) -> None:
        """End the run, on all ranks after the same step."""
        self._clock.pause_here()
        self.result.status, self.result.message = decision.status, decision.message
        if self._guards is not None and decision.signum:
            self._guards.take_signal(decision.signum)
        self._trainer.should_stop = True
        # Lightning evaluates once more when a run is stopped, but this run had its last evaluation.
        if self._guards is not None:
            self._guards.no_more_validation()

    def finish(self) -> None:
        """Stop the clock when the Trainer has left its loop."""
        if self._was_over:
            return
        self._clock.stop()
        self._check_rules()
        self._check_record()
        self.save_log()
        if self.result.status is Status.RUNNING:
            self._conclude()

    def note(self, exception: BaseException) -> None:
        """Record an exception that ends the run; called by the watchdog's thread, too."""
        self._clock.stop()
        result = self.result
        if isinstance(exception, Preempted) and result.status is Status.PREEMPTED:
            return  # the run was saved and reported; this exception ends the process
        result.steps, result.submission_seconds = self.state.step, self._clock.now
        during = "evaluation" if self.state.phase is Phase.EVALUATING else "training"
        end = end_of(exception, during, self._signum, self._trainer.world_size)
        result.status, result.message = end.status, end.message

    def save_log(self, *, unfinished: bool = False) -> None:
        """Write the log, off the clock, so that it is complete up to the next checkpoint.

        Args:
            unfinished: Also write the values of a step that was not completed.
        """
        with self._clock.untimed():
            self._submission_log.collect(self._losses.drain())
            self._submission_log.flush(self.state.step + unfinished)

    def exit_if_preempted(self) -> None:
        """Exit like a terminated process, after everything was saved.

        Raises:
            Preempted: If a signal ended the run.
        """
        if self.result.status is Status.PREEMPTED and self._guards is not None:
            raise self._guards.preemption()

    def release(self) -> None:
        """Restore the Trainer and the process's signals."""
        for each in (self._guards, self._states, self._calls):
            if each is not None:
                each.restore()
        self._guards = self._states = None
        self._submission_log.end()

    def _conclude(self) -> None:
        end = self.state.conclude(self.result.is_reached, self._workload.view.stop_requested)
        self.result.status, self.result.message = end.status, end.message

    def _check_record(self) -> None:
        with self._clock.untimed():
            self._log.check()

    def _check_rules(self) -> None:
        self._checks.look()
        self.result.warnings = list(self._checks.warnings)

    @property
    def _signum(self) -> int:
        """The received signal, 0 if there was none."""
        return 0 if self._guards is None else self._guards.signum


def _limits(result: TrialResult, max_steps: int) -> Limits:
    """Return the limits of a run; epochs are converted to steps."""
    each = result.steps_per_unit
    return Limits(
        unit="seconds" if result.unit == "seconds" else "steps",
        budget=result.budget * each,
        eval_period=result.eval_period * each,
        stop_diverged=result.stop_diverged,
        max_steps=max_steps,
        untrained=result.unit == "epochs",
    )
