import itertools
import math
from dataclasses import dataclass, field

import pytest

from algoperf_lightning.callbacks.clock import CHECK_EVERY, CheckPlan, SubmissionClock


class Source:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def clock(source):
    return SubmissionClock(source)


# SubmissionClock


def test_a_new_clock_stands_at_zero(clock, source):
    source.now += 5
    assert clock.seconds == 0
    assert not clock.running


def test_counts_only_while_it_runs(clock, source):
    for ran, stood in ((2.0, 10.0), (0.5, 0.0), (3.0, 100.0)):
        clock.resume()
        assert clock.running
        source.now += ran
        clock.pause()
        assert not clock.running
        source.now += stood
    assert clock.seconds == 5.5


def test_is_read_while_it_runs(clock, source):
    clock.resume()
    readings = []
    for _ in range(4):
        source.now += 0.25
        readings.append(clock.seconds)
    assert readings == [0.25, 0.5, 0.75, 1.0]


def test_resuming_a_running_clock_loses_nothing(clock, source):
    clock.resume()
    source.now += 2
    clock.resume()
    source.now += 3
    assert clock.seconds == 5


def test_pausing_a_paused_clock_counts_nothing(clock, source):
    clock.resume()
    source.now += 2
    clock.pause()
    source.now += 100
    clock.pause()
    assert clock.seconds == 2


def test_setting_a_running_clock_makes_it_stand_there(clock, source):
    clock.resume()
    source.now += 2
    clock.set(7.5)
    source.now += 100
    assert clock.seconds == 7.5
    assert not clock.running
    clock.resume()
    source.now += 0.5
    assert clock.seconds == 8


def test_a_paused_clock_asks_for_no_time():
    def source():
        raise AssertionError("the source was asked")

    clock = SubmissionClock(source)
    clock.pause()
    clock.set(3.0)
    assert clock.seconds == 3.0


# CheckPlan


@dataclass
class Run:
    """A training loop that reads its clock when the plan says so, and evaluates when it then sees that it is due."""

    steps: list[float]
    """Seconds of each step."""
    alone: bool = False
    """One process goes by the plan's seconds; several, which must agree on a step, by its steps."""
    period: float = math.inf
    budget: float = math.inf
    evaluation: float = 0.0
    """Seconds of the clock around each evaluation."""
    readings: list[tuple[int, float]] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)
    end: float | None = None

    def go(self, first_step=0, seconds=0.0, last_evaluation=-math.inf, plan=None):
        plan = plan or CheckPlan()
        plan.start(first_step, seconds)
        for step, duration in enumerate(self.steps, first_step + 1):
            seconds += duration
            if not plan.is_due(step, seconds if self.alone else None):
                continue
            assert self.alone or step == plan.next_step
            self.readings.append((step, seconds))
            plan.measure(step, seconds)
            if seconds >= self.budget:
                self.end = seconds
                break
            if seconds - last_evaluation >= self.period:
                last_evaluation = seconds
                self.evaluations.append((step, seconds))
                seconds += self.evaluation
                plan.skip(step, seconds)
            plan.look_ahead(min(last_evaluation + self.period, self.budget) - seconds)
            self.ahead.append(plan.next_step - step)
        return self

    def due(self):
        """Steps at which evaluations are due, found by looking at every step."""
        seconds, last, found = 0.0, -math.inf, []
        for step, duration in enumerate(self.steps, 1):
            seconds += duration
            if seconds - last >= self.period:
                last = seconds
                found.append(step)
                seconds += self.evaluation
        return found


processes = pytest.mark.parametrize("alone", [True, False], ids=["one-process", "several-processes"])


@processes
@pytest.mark.parametrize("first_step", [0, 1, 500])
def test_the_first_reading_is_at_the_next_step(first_step, alone):
    run = Run(steps=[0.01] * 5, alone=alone).go(first_step, seconds=3.0)
    assert run.readings[0][0] == first_step + 1


def test_after_a_restart_the_next_step_is_read_again():
    plan = CheckPlan()
    Run(steps=[0.001] * 2000).go(plan=plan)
    assert plan.next_step > 2001  # the steps made allowed for a look further ahead
    plan.start(2000, 2.0)
    assert plan.next_step == 2001
    plan.measure(2001, 2.001)
    plan.look_ahead(math.inf)
    assert plan.next_step == 2002


@pytest.mark.parametrize("first_step", [0, 500])
def test_several_processes_never_look_further_ahead_than_the_steps_made(first_step):
    run = Run(steps=[1e-6] * 5000).go(first_step)
    made = [step - first_step for step, _ in run.readings]
    assert all(ahead <= max(1, steps) for ahead, steps in zip(run.ahead, made, strict=True))
    assert run.ahead[:6] == [1, 2, 4, 8, 16, 32]


@processes
@pytest.mark.parametrize("evaluation", [0.0, 0.4], ids=["free-evaluation", "evaluation-on-the-clock"])
@pytest.mark.parametrize(
    ("step", "period"),
    [
        pytest.param(0.001, 1.0, id="a-thousand-steps-a-period"),
        pytest.param(0.01, 0.5, id="fifty"),
        pytest.param(1 / 3, 1.0, id="three-in-binary-fractions"),
        pytest.param(0.3, 1.0, id="three-and-a-third"),
        pytest.param(0.1, 2.5, id="period-beyond-the-longest-look-ahead"),
        pytest.param(0.7, 20.0, id="slow-steps-long-period"),
        pytest.param(2.0, 1.0, id="each-step"),
    ],
)
def test_steps_that_take_equally_long_are_evaluated_at_the_first_step_due(step, period, evaluation, alone):
    run = Run(steps=[step] * 3000, alone=alone, period=period, evaluation=evaluation).go()
    assert [at for at, _ in run.evaluations] == run.due()
    assert len(run.evaluations) > 2


@processes
@pytest.mark.parametrize("step", [0.001, 0.07, 0.3])
def test_the_end_of_the_budget_is_seen_at_the_first_step_past_it(step, alone):
    run = Run(steps=[step] * 20_000, alone=alone, period=2.0, budget=12.34).go()
    assert 12.34 <= run.end < 12.34 + step


@processes
@pytest.mark.parametrize("step", [0.0001, 0.01, 0.3, 0.999, 5.0])
def test_the_clock_is_read_about_once_a_second_when_nothing_is_due(step, alone):
    run = Run(steps=[step] * int(60 / step), alone=alone).go(last_evaluation=0.0)
    gaps = [later - earlier for (_, earlier), (_, later) in itertools.pairwise(run.readings)]
    # One process reads at the first step past the second, several at the last one before it.
    longest = CHECK_EVERY + step if alone else max(CHECK_EVERY, step)
    assert max(CHECK_EVERY, step) - step < max(gaps) <= longest * (1 + 1e-9)
    doubling = 0 if alone else math.log2(CHECK_EVERY / step + 1) + 2
    assert len(gaps) <= 60 / max(longest - step, step) + doubling


@pytest.mark.parametrize(
    ("alone", "most"),
    [
        # Step 1, then once a period.
        pytest.param(True, 1 + 10, id="one-process"),
        # Ten while the look ahead doubles (1, 2, 4, ..., 512 steps), then two a period: one at the step before it is
        # due (rounding) and one at the step.
        pytest.param(False, 10 + 2 * 10, id="several-processes"),
    ],
)
def test_few_readings_in_ten_thousand_steps(alone, most):
    run = Run(steps=[0.001] * 10_000, alone=alone, period=1.0).go()
    assert [step for step, _ in run.evaluations] == run.due()
    assert len(run.evaluations) == 10
    assert len(run.readings) <= most


@pytest.mark.parametrize("slower", [2, 10, 50])
def test_several_processes_are_late_by_no_more_than_steps_became_slower(slower):
    # The look ahead covers at most the time to the evaluation and at most CHECK_EVERY, at the speed known: when steps
    # take `slower` times as long, it takes that many times as long.
    run = Run(steps=[0.01] * 1050 + [0.01 * slower] * int(100 / (0.01 * slower)), period=5.0).go()
    gaps = [later - earlier for (_, earlier), (_, later) in itertools.pairwise(run.readings)]
    assert max(gaps) <= slower * CHECK_EVERY * (1 + 1e-9)
    late = [seconds - earlier - 5.0 for (_, earlier), (_, seconds) in itertools.pairwise(run.evaluations)]
    assert max(late) < slower * CHECK_EVERY
    # One reading tells the new speed; from then on no evaluation is late.
    assert all(seconds < 0.01 * slower * (1 + 1e-9) for seconds in late[4:])
    assert len(late) > 8


UNEVEN = [
    pytest.param([0.01] * 1050 + [0.5] * 200, id="steps-become-slower"),
    pytest.param([0.5] * 50 + [0.01] * 1000, id="steps-become-quicker"),
    pytest.param([30.0] + [0.01] * 1000, id="first-step-compiles"),
    pytest.param([0.01] * 333 + [7.0] + [0.01] * 1000, id="one-step-stalls"),
    pytest.param([0.001 * (1 + i * 7919 % 101) for i in range(1000)], id="steps-of-all-lengths"),
]


@pytest.mark.parametrize("steps", UNEVEN)
def test_one_process_evaluates_at_the_first_step_due_whatever_the_steps_take(steps):
    run = Run(steps=steps, alone=True, period=2.0, evaluation=0.3).go()
    assert [at for at, _ in run.evaluations] == run.due()
    assert len(run.evaluations) > 2


@pytest.mark.parametrize("steps", UNEVEN)
def test_one_process_ends_with_the_step_that_spends_the_budget(steps):
    run = Run(steps=steps, alone=True, period=2.0, budget=20.0).go()
    assert run.end == next(seconds for seconds in itertools.accumulate(steps) if seconds >= 20.0)


@processes
def test_a_slow_first_step_does_not_spread_the_later_readings(alone):
    # Compilation takes 30 s in step 1; the plan must not take that for the speed of all steps.
    run = Run(steps=[30.0] + [0.01] * 1000, alone=alone, period=2.0).go()
    assert [at for at, _ in run.evaluations] == run.due()


def test_quick_first_steps_do_not_hide_from_several_processes_that_later_ones_are_slow():
    # Two steps that take no time at all, then 0.5 s each: at most as many unread steps as were made.
    run = Run(steps=[0.0, 0.0] + [0.5] * 40, period=1.0).go(last_evaluation=0.0)
    steps = [step for step, _ in run.readings]
    assert steps[:3] == [1, 2, 4]
    assert run.evaluations[0] == (4, 1.0)


def test_steps_of_no_measurable_time_double_the_look_ahead_of_several_processes():
    run = Run(steps=[0.0] * 1000, period=1.0).go(last_evaluation=0.0)
    assert [step for step, _ in run.readings] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


@pytest.mark.parametrize("until_due", [0.0, -1.0, 1e-12])
def test_what_is_due_now_is_read_at_the_next_step(until_due):
    plan = CheckPlan()
    plan.start(0, 0.0)
    plan.measure(100, 1.0)
    plan.look_ahead(until_due)
    assert plan.next_step == 101
    assert plan.next_seconds == pytest.approx(1.0)


def test_time_around_an_evaluation_is_no_steps_time():
    plan = CheckPlan()
    plan.start(0, 0.0)
    plan.measure(100, 1.0)
    plan.skip(100, 61.0)  # a minute of preparing for it
    plan.measure(110, 61.1)
    plan.look_ahead(0.505)
    assert plan.next_step == 160
    assert plan.next_seconds == pytest.approx(61.605)


def test_reading_twice_at_one_step_keeps_the_speed():
    plan = CheckPlan()
    plan.start(0, 0.0)
    plan.measure(100, 1.0)
    plan.measure(100, 1.5)
    plan.look_ahead(0.505)
    assert plan.next_step == 150
