"""Ending trials that cannot be the fastest of their study: when, when not, and that no score changes by it."""

import copy
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from controlled import controlled_fit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algoperf_lightning.callbacks import StopHopeless, TrialRecorder
from algoperf_lightning.result import Evaluation, Status, TrialResult
from algoperf_lightning.scoring.leaderboard import score_runs
from algoperf_lightning.scoring.mathematics import MODES
from algoperf_lightning.scoring.readers import read_runs

sys.path.insert(0, str(Path(__file__).parents[1] / "scoring"))
from scoring_cases import suite


def record(folder, times, hit=None, *, submission="s", workload="digits"):
    """Write a trial with evaluations at some times, the one numbered ``hit`` of which meets the target."""
    result = TrialResult(
        workload=workload, version="custom", ruleset="external", submission=submission, hyperparameters={}, seed=0,
        batch_size=8, budget=1000.0, eval_period=1.0, metric="accuracy", direction="max", validation_target=0.9,
        test_target=None, stop_at="validation",
    )  # fmt: skip
    values = [0.95 if number == hit else 0.1 for number in range(len(times))]
    result.evaluations = [
        Evaluation(number, time, time, 1.0, {"validation/accuracy": value, "test/accuracy": value})
        for number, (time, value) in enumerate(zip(times, values, strict=True))
    ]
    result.status = Status.BUDGET_SPENT if hit is None else Status.REACHED
    result.submission_seconds = times[-1] if times else 0.0
    folder.mkdir(parents=True, exist_ok=True)
    result.write_trial(folder)
    result.write_evaluations(folder)
    return result


def run_beside(tmp_path, **timed):
    recorder = TrialRecorder(tmp_path / "trial_2", checkpoint=False)
    budget, *_ = controlled_fit(tmp_path, callbacks=[StopHopeless(tmp_path), recorder], **timed)
    assert TrialResult.read(tmp_path / "trial_2").status is budget.result.status
    return budget.result


def test_a_trial_ends_when_another_has_been_faster_and_the_record_says_so(tmp_path):
    record(tmp_path / "trial_1", [0.5, 1.5, 2.5, 3.5], hit=3)
    result = run_beside(tmp_path)
    assert result.status is Status.STOPPED
    assert result.message == (
        "Stopped as hopeless: trial_1 of the study reached the target after 3.50 s, at evaluation 4."
    )
    assert 3.5 < result.submission_seconds <= 5
    assert result.evaluations[-1].submission_seconds == result.submission_seconds, "it looks right after evaluations"


def test_it_waits_until_it_has_had_as_many_evaluations(tmp_path):
    record(tmp_path / "trial_1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], hit=6)
    result = run_beside(tmp_path)
    assert result.status is Status.STOPPED
    assert len(result.evaluations) == 7


@pytest.mark.parametrize(
    "others",
    [[], [([1.0, 2.0], None)], [([100.0], 0)], [(list(np.linspace(0.1, 1, 50)), 49)]],
    ids=["none", "missed", "slower", "at a later evaluation"],
)
def test_it_goes_on_as_long_as_it_can_be_the_fastest(tmp_path, others):
    for number, (times, hit) in enumerate(others, start=3):
        record(tmp_path / f"trial_{number}", times, hit)
    result = run_beside(tmp_path)
    assert result.status is Status.BUDGET_SPENT
    assert not result.message


@pytest.mark.parametrize(("times", "ended"), [([100.0, 200.0, 300.0], True), ([0.01, 0.02, 0.03], False)])
def test_in_steps_the_trial_of_fewest_steps_is_the_fastest_however_long_they_took(tmp_path, times, ended):
    rival = record(tmp_path / "trial_1", times, hit=2)
    if not ended:
        rival.evaluations[2] = dataclasses.replace(rival.evaluations[2], step=50)
        rival.write_evaluations(tmp_path / "trial_1")
    result = run_beside(tmp_path, budget={"unit": "steps", "budget": 40, "eval_period": 10})
    assert result.status is (Status.STOPPED if ended else Status.BUDGET_SPENT)
    assert result.message == (
        "Stopped as hopeless: trial_1 of the study reached the target after 2 steps, at evaluation 3." if ended else ""
    )


def test_a_trial_that_has_reached_the_validation_target_goes_on_to_the_test_target(tmp_path):
    record(tmp_path / "trial_1", [0.5, 1.5, 2.5], hit=2)
    result = run_beside(
        tmp_path, budget={"stop_at": "both"}, scores=[0.1, 0.99, 0.99, 0.99, 0.99], test_scores=[0.1, 0.1, 0.1, 0.1, 1]
    )
    assert result.status is Status.REACHED
    assert len(result.evaluations) == 5
    assert result.time_to_target < 2.5


def test_an_unreadable_record_does_not_hide_the_others(tmp_path):
    (tmp_path / "trial_0" / "trial.json").mkdir(parents=True)
    record(tmp_path / "trial_1", [0.5], hit=0)
    assert run_beside(tmp_path).status is Status.STOPPED


def test_a_study_that_cannot_be_read_ends_no_run(tmp_path):
    with pytest.warns(
        UserWarning, match="cannot read the trials of .*nowhere, so this one continues: FileNotFoundError"
    ):
        budget, *_ = controlled_fit(tmp_path, callbacks=[StopHopeless(tmp_path / "nowhere")])
    assert budget.result.status is Status.BUDGET_SPENT


def test_its_own_record_and_other_folders_do_not_matter(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "plan.json").write_text("{}")
    result = run_beside(tmp_path, scores=[0.1, 0.99])
    assert result.status is Status.REACHED


times = st.lists(st.floats(0.1, 50.0), min_size=1, max_size=8, unique=True).map(sorted)
trials = st.lists(st.tuples(times, st.booleans()), min_size=2, max_size=4)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(studies=st.lists(trials, min_size=1, max_size=2), rival=times)
@pytest.mark.parametrize("mode", MODES)
def test_scores_are_the_same_with_and_without(tmp_path_factory, studies, rival, mode):
    """Every trial is cut off where the callback would have ended it, looking at all others as they ended in full."""
    boards = []
    for stopped in (False, True):
        root = tmp_path_factory.mktemp("runs")
        record(root / "rival" / "study_1" / "a" / "trial_1", rival, len(rival) - 1, submission="rival", workload="a")
        for study, rows in enumerate(studies, start=1):
            folder = root / "s" / f"study_{study}" / "a"
            full = [
                record(folder / f"trial_{number}", when, len(when) - 1 if reached else None, workload="a")
                for number, (when, reached) in enumerate(rows, start=1)
            ]
            if stopped:
                for number, result in enumerate(full, start=1):
                    result.folder = folder / f"trial_{number}"
                    cut_off(StopHopeless(folder), result)
                for number, result in enumerate(full, start=1):
                    result.write_evaluations(folder / f"trial_{number}")
        boards.append(score_runs(read_runs([root]), suite(base=("a",), studies=len(studies), trials=4), mode))
    full, cut = boards
    assert np.array_equal(full.scores, cut.scores)
    assert np.array_equal(full.times, cut.times)


def cut_off(callback, result):
    whole = copy.deepcopy(result.evaluations)
    for count in range(1, len(whole) + 1):
        result.evaluations = whole[:count]
        result.submission_seconds = whole[count - 1].submission_seconds
        if result.evaluation_at_target("validation") is not None or callback._faster_trial(result):
            return
