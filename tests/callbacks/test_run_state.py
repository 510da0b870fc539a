"""The life of a run without a Trainer: every transition of the state machine, and the rules of docs/clock.md."""

import math
import signal
from dataclasses import replace

import pytest

from algoperf_lightning.callbacks.run_state import End, Limits, Next, Phase, Reading, RunState
from algoperf_lightning.result import Status

SECONDS = Limits("seconds", budget=10.0, eval_period=2.0)
STEPS = Limits("steps", budget=10.0, eval_period=2.0)
STRICT = replace(SECONDS, stop_diverged=True)
UNITS = pytest.mark.parametrize("limits", [SECONDS, STEPS], ids=["seconds", "steps"])

TERM = signal.SIGTERM
SPENT = End(Status.BUDGET_SPENT)
REACHED = End(Status.REACHED)
SIGTERM = End(Status.PREEMPTED, "Ended by SIGTERM; it can be resumed.", TERM)
CTRL_C = End(Status.PREEMPTED, "Ended by Ctrl-C; it can be resumed.", signal.SIGINT)
DIVERGED = End(Status.STOPPED, "The loss was not finite at step 1,048.")
HOPELESS = End(Status.STOPPED, "Hopeless.")
ASKED = End(Status.STOPPED, "The submission ended the run.")
OTHERS = End(Status.STOPPED, "Another callback ended the run.")


def training(limits=SECONDS, step=0, seconds=0.0, last_evaluation=-math.inf):
    """A run in training, ``step`` steps and some seconds into it."""
    state = RunState(limits)
    state.restore({"step": 0, "last_evaluation": last_evaluation, "ended": ""}, seconds)
    assert state.start(seconds, reached=False) is Next.TRAIN
    state.step = step
    return state


def after_evaluation(limits=SECONDS, step=1, seconds=1.0, **reading):
    """A run whose evaluation after a step was just recorded."""
    state = training(limits, step)
    assert state.read(Reading(seconds, **reading)) is Next.PREPARE
    assert state.prepared(seconds) is Next.EVALUATE
    state.evaluated()
    return state


# Start


@UNITS
def test_a_new_run_waits_and_is_evaluated_after_its_first_step(limits):
    state = RunState(limits)
    assert (state.phase, state.used, state.spent) == (Phase.WAITING, 0.0, False)
    assert state.start(0.0, reached=False) is Next.TRAIN
    assert state.phase is Phase.TRAINING
    state.step = 1
    assert state.read(Reading(0.001)) is Next.PREPARE
    assert state.phase is Phase.BEFORE_EVALUATION


@pytest.mark.parametrize(
    ("limits", "saved", "seconds", "reached", "decision"),
    [
        pytest.param(SECONDS, {"step": 7, "ended": ""}, 9.9, False, Next.TRAIN, id="unfinished"),
        pytest.param(SECONDS, {"step": 7}, 9.9, False, Next.TRAIN, id="unfinished-of-an-older-version"),
        pytest.param(SECONDS, {"step": 7, "ended": ""}, 9.9, True, REACHED, id="target-reached"),
        pytest.param(SECONDS, {"step": 7, "ended": ""}, 10.0, False, SPENT, id="budget-of-seconds-spent"),
        pytest.param(STEPS, {"step": 10, "ended": ""}, 3.0, False, SPENT, id="budget-of-steps-spent"),
        pytest.param(STEPS, {"step": 9, "ended": ""}, 99.0, False, Next.TRAIN, id="steps-know-no-seconds"),
        pytest.param(
            SECONDS, {"step": 7, "ended": "Hopeless."}, 5.0, False, End(Status.STOPPED, "Hopeless."), id="ended"
        ),
    ],
)
def test_a_resumed_run_trains_only_if_something_remains(limits, saved, seconds, reached, decision):
    state = RunState(limits)
    state.restore({"last_evaluation": 1.0, **saved}, seconds)
    assert state.is_over(reached) is (decision is not Next.TRAIN)
    assert state.start(seconds, reached) == decision
    assert state.phase is (Phase.TRAINING if decision is Next.TRAIN else Phase.OVER)


def test_time_charged_for_a_kill_may_spend_the_budget():
    state = RunState(SECONDS)
    state.restore({"step": 7, "last_evaluation": 8.0, "ended": ""}, 9.5)
    assert not state.is_over(reached=False)
    assert state.start(10.2, reached=False) == SPENT


def test_a_run_goes_on_from_a_checkpoint_with_its_period():
    state = after_evaluation(SECONDS, step=4, seconds=3.0)
    assert state.to_dict() == {"step": 4, "last_evaluation": 3.0, "ended": ""}
    resumed = RunState(SECONDS)
    resumed.restore(state.to_dict(), 3.5)
    assert (resumed.step, resumed.used, resumed.until_evaluation) == (4, 3.5, 1.5)
    assert resumed.to_dict() == state.to_dict()


# Read


@pytest.mark.parametrize(
    ("limits", "step", "reading", "decision"),
    [
        # The last evaluation was at 4 seconds, or after step 4.
        pytest.param(SECONDS, 50, Reading(5.9), Next.TRAIN, id="nothing-is-due"),
        pytest.param(SECONDS, 50, Reading(6.0), Next.PREPARE, id="period-passed"),
        pytest.param(SECONDS, 50, Reading(9.999), Next.PREPARE, id="late-but-within-the-budget"),
        pytest.param(SECONDS, 50, Reading(10.0), SPENT, id="no-evaluation-past-a-budget-of-seconds"),
        pytest.param(SECONDS, 50, Reading(10.0, stop_requested=True), SPENT, id="nor-one-that-was-asked-for"),
        pytest.param(STEPS, 5, Reading(99.0), Next.TRAIN, id="steps-nothing-is-due"),
        pytest.param(STEPS, 6, Reading(0.1), Next.PREPARE, id="steps-period-passed"),
        pytest.param(STEPS, 10, Reading(0.1), Next.PREPARE, id="steps-the-last-one-is-evaluated"),
        pytest.param(STEPS, 10, Reading(0.1, signum=TERM), Next.PREPARE, id="steps-signal-at-the-last-one"),
        pytest.param(SECONDS, 50, Reading(4.5, stop_requested=True), Next.PREPARE, id="stop"),
        pytest.param(STEPS, 5, Reading(4.5, stop_requested=True), Next.PREPARE, id="steps-stop"),
        pytest.param(replace(SECONDS, max_steps=50), 50, Reading(4.5), Next.PREPARE, id="max-steps"),
        pytest.param(replace(SECONDS, max_steps=51), 50, Reading(4.5), Next.TRAIN, id="before-max-steps"),
        pytest.param(replace(SECONDS, max_steps=50), 50, Reading(10.0), SPENT, id="budget-before-max-steps"),
        pytest.param(SECONDS, 50, Reading(4.5, signum=TERM), SIGTERM, id="signal"),
        pytest.param(SECONDS, 50, Reading(6.0, signum=TERM), SIGTERM, id="signal-before-an-evaluation-that-is-due"),
        pytest.param(SECONDS, 50, Reading(4.5, True, TERM), SIGTERM, id="signal-before-stop"),
        pytest.param(SECONDS, 50, Reading(10.0, signum=TERM), SPENT, id="budget-before-signal"),
        pytest.param(STEPS, 5, Reading(4.5, signum=TERM), SIGTERM, id="steps-signal"),
        pytest.param(SECONDS, 50, Reading(4.5, signum=signal.SIGINT), CTRL_C, id="ctrl-c"),
        pytest.param(SECONDS, 1050, Reading(4.5, nonfinite_step=1048), Next.TRAIN, id="diverged-goes-on"),
        pytest.param(STRICT, 1050, Reading(4.5, nonfinite_step=1048), DIVERGED, id="diverged"),
        pytest.param(STRICT, 1050, Reading(4.5), Next.TRAIN, id="finite"),
        pytest.param(STRICT, 1050, Reading(6.0, nonfinite_step=1048), DIVERGED, id="diverged-before-an-evaluation"),
        pytest.param(STRICT, 1050, Reading(4.5, True, TERM, 1048), DIVERGED, id="diverged-before-stop-and-signal"),
        pytest.param(STRICT, 1050, Reading(10.0, nonfinite_step=1048), SPENT, id="budget-before-diverged"),
        pytest.param(
            replace(STEPS, budget=1050.0, stop_diverged=True),
            *(1050, Reading(4.5, nonfinite_step=1048), DIVERGED),
            id="diverged-at-the-last-step",
        ),
    ],
)
def test_a_reading_decides(limits, step, reading, decision):
    state = training(limits, step, seconds=4.0, last_evaluation=4.0)
    assert state.read(reading) == decision
    expected = {Next.TRAIN: Phase.TRAINING, Next.PREPARE: Phase.BEFORE_EVALUATION}
    assert state.phase is (Phase.OVER if isinstance(decision, End) else expected[decision])
    assert state.seconds == reading.seconds


@UNITS
@pytest.mark.parametrize(("used", "until"), [(4, 2.0), (5, 1.0), (9, -3.0)])
def test_the_next_reading_is_planned_for_what_is_due_first(limits, used, until):
    assert training(limits, used, used, last_evaluation=4.0).until_due == until
    assert training(replace(limits, eval_period=100.0), used, used, last_evaluation=4.0).until_due == 10.0 - used


# Evaluate


@pytest.mark.parametrize(
    ("limits", "step", "seconds", "signum", "decision"),
    [
        pytest.param(SECONDS, 50, 6.5, 0, Next.EVALUATE, id="evaluation"),
        pytest.param(SECONDS, 50, 10.0, 0, SPENT, id="before-evaluation-spent-the-budget"),
        pytest.param(SECONDS, 50, 10.0, TERM, SPENT, id="and-a-signal-came"),
        pytest.param(SECONDS, 50, 6.5, TERM, SIGTERM, id="signal"),
        pytest.param(STEPS, 6, 99.0, 0, Next.EVALUATE, id="steps-know-no-seconds"),
        pytest.param(STEPS, 10, 99.0, 0, Next.EVALUATE, id="steps-the-last-one"),
        pytest.param(STEPS, 10, 99.0, TERM, SIGTERM, id="steps-a-signal-that-came-in-before-evaluation"),
    ],
)
def test_before_evaluation_decides(limits, step, seconds, signum, decision):
    state = training(limits, step, 4.0, last_evaluation=4.0)
    assert state.read(Reading(6.0)) is Next.PREPARE
    assert state.prepared(seconds, signum) == decision
    assert state.phase is (Phase.EVALUATING if decision is Next.EVALUATE else Phase.OVER)


def test_the_next_period_begins_when_the_clock_was_stopped_for_the_evaluation():
    state = training(SECONDS, 50, 4.0, last_evaluation=4.0)
    state.read(Reading(6.0))
    state.prepared(6.5)  # before_evaluation took half a second
    state.evaluated()
    assert state.phase is Phase.AFTER_EVALUATION
    assert state.resumed(reached=False, stop_requested=False) is Next.TRAIN
    assert state.go_on(7.0) == 1.5  # after_evaluation took another: 8.5 s
    assert state.phase is Phase.TRAINING


@pytest.mark.parametrize(
    ("limits", "step", "reading", "reached", "stop_requested", "decision"),
    [
        pytest.param(SECONDS, 1, {}, False, False, Next.TRAIN, id="goes-on"),
        pytest.param(STEPS, 1, {}, False, False, Next.TRAIN, id="steps-goes-on"),
        pytest.param(SECONDS, 1, {}, True, False, REACHED, id="target"),
        pytest.param(STEPS, 10, {}, True, False, REACHED, id="steps-target-at-the-last-one"),
        pytest.param(STEPS, 10, {}, False, False, SPENT, id="steps-the-last-one"),
        pytest.param(SECONDS, 1, {"stop_requested": True}, False, True, ASKED, id="stop"),
        pytest.param(SECONDS, 1, {"stop_requested": True}, True, True, REACHED, id="stop-at-the-target"),
        pytest.param(STEPS, 10, {"stop_requested": True}, False, True, SPENT, id="stop-at-the-end-of-the-budget"),
        pytest.param(SECONDS, 1, {}, False, True, Next.TRAIN, id="stop-asked-meanwhile-waits-for-the-next-reading"),
        pytest.param(
            *(replace(SECONDS, max_steps=3), 3, {}, False, False),
            End(Status.STOPPED, "max_steps=3 was reached."),
            id="max-steps",
        ),
    ],
)
def test_an_evaluation_decides(limits, step, reading, reached, stop_requested, decision):
    state = after_evaluation(limits, step, **reading)
    assert state.resumed(reached, stop_requested) == decision
    assert state.phase is (Phase.TRAINING if decision is Next.TRAIN else Phase.OVER)


@UNITS
def test_a_stop_by_others_is_followed_by_a_last_evaluation(limits):
    state = training(limits, 5, 4.5, last_evaluation=4.0)
    assert state.ask_for_evaluation() is Next.PREPARE
    assert state.prepared(4.6) is Next.EVALUATE
    state.evaluated()
    assert state.resumed(reached=False, stop_requested=False) == OTHERS


# End


@pytest.mark.parametrize("event", ["stop", "hopeless", "diverged", "others"])
def test_what_ended_a_run_ends_it_for_good(event):
    if event == "stop":
        state = after_evaluation(stop_requested=True)
        end = state.resumed(reached=False, stop_requested=True)
    elif event == "hopeless":
        state = after_evaluation()
        state.resumed(reached=False, stop_requested=False)
        end = state.end("Stopped as hopeless.")
    elif event == "diverged":
        state = training(STRICT, 1050)
        end = state.read(Reading(1.0, nonfinite_step=1048))
    else:
        state = training(SECONDS, 5, 1.0)
        state.ask_for_evaluation()
        state.prepared(1.0)
        state.evaluated()
        end = state.resumed(reached=False, stop_requested=False)
    assert end.status is Status.STOPPED
    resumed = RunState(SECONDS)
    resumed.restore(state.to_dict(), state.seconds)
    assert resumed.is_over(reached=False)
    assert resumed.start(state.seconds, reached=False) == End(Status.STOPPED, end.message)


@pytest.mark.parametrize("more", [4, 100, -1])
def test_a_run_that_max_steps_ended_may_be_given_more(more):
    state = after_evaluation(replace(SECONDS, max_steps=3), 3)
    assert state.resumed(reached=False, stop_requested=False).status is Status.STOPPED
    resumed = RunState(replace(SECONDS, max_steps=more))
    resumed.restore(state.to_dict(), state.seconds)
    assert not resumed.is_over(reached=False)
    assert not resumed.at_max_steps
    assert resumed.start(state.seconds, reached=False) is Next.TRAIN


@pytest.mark.parametrize("when", ["reading", "before-evaluation"])
def test_a_preempted_run_can_be_resumed(when):
    state = training(SECONDS, 5, 1.0, last_evaluation=0.5)
    if when == "reading":
        assert state.read(Reading(1.5, signum=TERM)) == SIGTERM
    else:
        state.read(Reading(2.5))
        assert state.prepared(2.5, TERM) == SIGTERM
    resumed = RunState(SECONDS)
    resumed.restore(state.to_dict(), state.seconds)
    assert resumed.start(state.seconds, reached=False) is Next.TRAIN
    assert resumed.until_evaluation == 2.5 - state.seconds  # one that was not made is still due


@pytest.mark.parametrize(
    ("limits", "step", "seconds", "reached", "stop_requested", "end"),
    [
        pytest.param(SECONDS, 5, 3.0, True, True, REACHED, id="target-first"),
        pytest.param(SECONDS, 5, 10.0, False, True, SPENT, id="then-the-budget"),
        pytest.param(STEPS, 10, 3.0, False, True, SPENT, id="of-steps"),
        pytest.param(replace(SECONDS, max_steps=5), 5, 3.0, False, True, ASKED, id="then-the-submission"),
        pytest.param(SECONDS, 5, 3.0, False, False, OTHERS, id="then-whoever-it-was"),
    ],
)
def test_a_run_that_the_trainer_ended_gets_the_first_reason_that_holds(
    limits, step, seconds, reached, stop_requested, end
):
    state = RunState(limits)
    state.restore({"step": step, "last_evaluation": 1.0, "ended": ""}, seconds)
    assert state.conclude(reached, stop_requested) == end
    assert state.phase is Phase.OVER
    assert state.to_dict()["ended"] == ""


# What cannot happen

EVENTS = {
    "start": (Phase.WAITING, lambda state: state.start(0.0, reached=False)),
    "restore": (Phase.WAITING, lambda state: state.restore({"step": 1, "last_evaluation": 0.0}, 1.0)),
    "read": (Phase.TRAINING, lambda state: state.read(Reading(1.0))),
    "ask_for_evaluation": (Phase.TRAINING, lambda state: state.ask_for_evaluation()),
    "go_on": (Phase.TRAINING, lambda state: state.go_on(1.0)),
    "prepared": (Phase.BEFORE_EVALUATION, lambda state: state.prepared(1.0)),
    "evaluated": (Phase.EVALUATING, lambda state: state.evaluated()),
    "resumed": (Phase.AFTER_EVALUATION, lambda state: state.resumed(reached=False, stop_requested=False)),
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", EVENTS)
def test_each_event_has_its_phase(event, phase):
    expected, act = EVENTS[event]
    state = RunState(SECONDS)
    state.phase = phase
    if phase is expected:
        act(state)
    else:
        with pytest.raises(RuntimeError, match=f"the run is {phase.value}, not {expected.value}"):
            act(state)
        assert state.phase is phase
