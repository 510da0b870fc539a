"""Times split into algorithm and machine, and the same runs counted in steps, without noise, on another machine."""

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_cases import inf, kinds, own_run, run_on, suite

from algoperf_lightning import cli
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.report.cost import cost as cost_section
from algoperf_lightning.scoring import Runs, Trial, choose_benchmark, read_runs, score_runs
from algoperf_lightning.scoring.boards import find_board
from algoperf_lightning.scoring.cost import STEADY, clean_cost, odd_steps, split_times, step_costs, unsteady
from algoperf_lightning.scoring.prices import read_prices
from algoperf_lightning.scoring.units import by_clean_seconds, by_steps
from algoperf_lightning.scoring.views import views_of


def made(submission="s", workload="a", costs=(1.0,) * 10, *, start=5.0, study="0", steps=10, reached=True, **rest):
    """A trial with these seconds per step from evaluation to evaluation, whose last one reaches the target."""
    at = np.arange(len(costs) + 1.0) * steps + 1
    values = np.full(len(at), 0.5)
    values[-1] = 0.9 if reached else 0.8
    return Trial(
        submission=submission,
        study=study,
        workload=workload,
        number="1",
        framework="pytorch",
        steps=at,
        seconds=start + np.concatenate([[0.0], np.cumsum(np.array(costs) * steps)]),
        metrics={"validation/accuracy": values},
        source=f"{submission}/{study}/{workload}",
        **rest,
    )


@pytest.fixture(scope="module")
def version_1():
    runs = read_runs([find_board("v1.0-self-tuning")])
    return score_runs(runs, choose_benchmark(runs))


@pytest.fixture(scope="module")
def views(version_1):
    return views_of(version_1)


# Splitting


def test_the_parts_add_up_and_are_what_they_are():
    noisy = made(costs=[1.0] * 8 + [4.0] * 2)
    board = score_runs(Runs([noisy]), suite(base=("a",)))
    split = split_times(board.cells, step_costs([noisy]))["s", "a"]
    assert (split.seconds, split.steps, split.step_seconds) == (165.0, 101.0, 1.0)
    assert split.added == pytest.approx(64.0)  # four seconds of the start, and three of each of 20 slow steps


def test_an_even_number_of_studies_is_split_in_the_middle():
    trials = [made(study="0", costs=[1.0] * 10), made(study="1", costs=[1.0] * 10 + [3.0] * 2)]
    board = score_runs(Runs(trials), suite(base=("a",), studies=2))
    split = split_times(board.cells, step_costs(trials))["s", "a"]
    assert split.seconds == (105 + 165) / 2
    assert split.steps == (101 + 121) / 2
    assert split.steps * split.step_seconds + split.added == pytest.approx(split.seconds)


def test_costs_are_over_all_trials_of_a_submission_and_workload():
    costs = step_costs([made(costs=[2.0] * 5), made(study="1", costs=[1.0] * 5), made("t", costs=[9.0] * 3)])
    assert costs["s", "a"].seconds == clean_cost(np.array([1.0] * 5 + [2.0] * 5)) == 1.0
    assert costs["s", "a"].intervals == 10
    assert [trial.times for trial in costs["s", "a"].trials] == [2.0, 1.0]
    assert costs["t", "a"].seconds == 9.0


def test_one_evaluation_is_all_that_is_known_of_a_cost():
    only = made(costs=[], start=8.0)
    assert step_costs([only])["s", "a"].seconds == 8.0
    assert math.isnan(step_costs([dataclasses.replace(only, steps=np.array([0.0]))])["s", "a"].seconds)


@given(
    st.lists(st.floats(1.0, 1.2), min_size=10, max_size=30),
    st.integers(0, 5),
    st.floats(1.3, 50.0),
)
def test_a_trial_is_noisy_by_the_share_of_its_seconds(costs, disturbed, factor):
    costs = [*costs, *([factor * STEADY] * disturbed)]
    steady = made(study="1", costs=[1.0] * 50)
    found = unsteady(step_costs([made(costs=costs), steady]))
    mean = sum(costs) / len(costs)
    if abs(mean / STEADY - 1) > 1e-6:
        assert [each.trial.study for _, each in found] == (["0"] if mean > STEADY else [])


def test_a_cost_over_few_intervals_is_not_called_unsteady():
    assert not unsteady(step_costs([made(costs=[1.0] * 30), made(study="1", costs=[9.0, 9.0])]))
    assert unsteady(step_costs([made(costs=[1.0] * 30), made(study="1", costs=[9.0] * 3)]))


def test_noise_is_told_by_name_and_only_of_seconds():
    trials = [made(costs=[1.0] * 30), made(study="1", costs=[3.0] * 30)]
    board = score_runs(Runs(trials), suite(base=("a",), studies=2))
    (finding,) = [each for each in board.findings if each.kind == "unsteady"]
    assert "Of 2 trials, 1 did not run steadily" in finding.message
    assert "a (1, the worst 3 times: s, study 1, trial 1)" in finding.message
    assert "unsteady" not in kinds(score_runs(by_steps(Runs(trials)), suite(base=("a",), unit="steps")).findings)


# Counting otherwise


def test_steps_and_seconds_rank_otherwise():
    trials = [made("dear", costs=[3.0] * 5), made("cheap", costs=[1.0] * 10)]
    seconds = score_runs(Runs(trials), suite(base=("a",)))
    steps = score_runs(by_steps(Runs(trials)), suite(base=("a",), unit="steps"))
    assert dict(zip(seconds.submissions, seconds.ranks.tolist(), strict=True)) == {"cheap": 1, "dear": 2}
    assert dict(zip(steps.submissions, steps.ranks.tolist(), strict=True)) == {"cheap": 2, "dear": 1}
    assert steps.times.tolist() == [[101.0], [51.0]]
    assert steps.title == "a suite, in steps, not AlgoPerf scores"
    assert kinds(steps.findings) == ["counted otherwise"]


@given(st.lists(st.lists(st.sampled_from([1.0, 1.5, 40.0]), min_size=6, max_size=6), min_size=2, max_size=4))
def test_without_noise_noisy_runs_are_what_quiet_ones_are(noise):
    """However much some intervals were held up, as long as every submission has quiet ones."""
    names = [f"s{k}" for k in range(len(noise))]
    cost = {name: 1.0 + k for k, name in enumerate(names)}
    quiet = [made(name, costs=[cost[name]] * (12 + k)) for k, name in enumerate(names)]
    noisy = [
        made(name, costs=[cost[name]] * (6 + k) + [cost[name] * each for each in noise[k]])
        for k, name in enumerate(names)
    ]
    one = score_runs(by_clean_seconds(Runs(quiet)), suite(base=("a",)))
    other = score_runs(by_clean_seconds(Runs(noisy)), suite(base=("a",)))
    np.testing.assert_allclose(one.times, other.times)
    np.testing.assert_allclose(one.times[:, 0], [cost[name] * (10 * (12 + k) + 1) for k, name in enumerate(names)])
    assert other.title == "a suite, in seconds without the machine's noise, estimated, not AlgoPerf scores"


def test_a_step_that_is_a_group_of_updates_is_left_out_of_steps():
    trials = [made("a", costs=[1.0] * 9), made("b", costs=[1.2] * 9), made("grouped", costs=[250.0] * 3, steps=1)]
    assert [key for key, _ in odd_steps(step_costs(trials))] == [("grouped", "a")]
    board = score_runs(by_steps(Runs(trials)), suite(base=("a",), unit="steps"))
    assert board.submissions == ("a", "b")
    (finding,) = [each for each in board.findings if each.kind == "other steps"]
    assert "grouped is left out on a: one of its steps costs 208 to 208 times the median" in finding.message
    assert not odd_steps(step_costs(trials[1:]))  # of two nobody can say which one is odd


def test_official_budgets_in_steps_are_not_those_of_the_seconds(tmp_path):
    for name, used in (("fast", 100.0), ("slow", 200.0)):
        run_on(tmp_path / name / "study_0/wmt/trial_1", "wmt", used, submission=name)
    runs = by_steps(read_runs([tmp_path]))
    board = score_runs(runs, choose_benchmark(runs))
    assert board.benchmark.budget(board.benchmark.base[7]) == 120_000
    assert "other budget" not in kinds(board.findings)


def test_runs_in_seconds_and_in_steps_meet_in_steps(tmp_path, capsys):
    run_on(tmp_path / "one/study_0/digits/trial_1", "digits", 10.0, submission="one")
    run_on(tmp_path / "two/study_0/digits/trial_1", "digits", 21, unit="steps", submission="two")
    cli.main(["score", str(tmp_path), "--unit", "steps", "--draws", "1"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "counted otherwise: Runs budgeted in seconds are counted in steps: one." in shown
    assert "Steps to target" in shown
    assert re.search(r" one 7 -\d", shown)
    assert re.search(r" two 21 -\d", shown)


def test_workloads_of_ones_own_are_counted_in_steps(tmp_path):
    own_run(tmp_path / "s/study_0/shapes/trial_1", seconds=(1.6, 2.0), steps=(5, 10))
    runs = by_steps(read_runs([tmp_path]))
    board = score_runs(runs, choose_benchmark(runs))
    assert board.times.tolist() == [[10.0]]
    assert board.benchmark.unit == "steps"


@pytest.mark.parametrize("count", [by_steps, by_clean_seconds])
def test_unknown_steps_are_named(count):
    unknown = dataclasses.replace(made(), steps=np.full(11, math.nan))
    with pytest.raises(
        BadInputError, match=r"s/0/a: the step of evaluation 0 of s, a, study 0, trial 1 is nan.*--exclude"
    ):
        count(Runs([unknown, made("t")]))


def test_the_tiny_board_without_the_noise_of_its_laptop(capsys):
    cli.main(["score", "--board", "tiny", "--unit", "clean-seconds", "--draws", "1"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "tiny suite, in seconds without the machine's noise, estimated, not AlgoPerf scores" in shown
    assert "counted otherwise: Seconds are steps times the cost of" in shown


def test_export_and_units_exclude_each_other(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["score", "--board", "tiny", "--unit", "steps", "--export", str(tmp_path)])
    assert "--export writes runs as recorded" in capsys.readouterr().err


# The board of version 1.0


def by_hand(board, number):
    """Scores from the first success of each trial, by another way: sets of ratios instead of arrays."""
    best = {}
    for (row, column, _, _), trial in board.table.trials.items():
        workload = board.benchmark.workloads[column]
        values = trial.metrics[f"validation/{workload.metric}"]
        better = (value >= workload.validation_target for value in values)
        if workload.direction == "min":
            better = (value <= workload.validation_target for value in values)
        hits = [k for k, hit in enumerate(better) if hit]
        best.setdefault((row, column), []).append(number(trial, hits[0]) if hits else inf)
    medians = {key: sorted(each)[len(each) // 2] if len(each) % 2 else sum(sorted(each)[len(each) // 2 - 1 :][:2]) / 2
               for key, each in best.items()}  # fmt: skip
    scores = [0.0] * len(board.submissions)
    for column in range(len(board.benchmark.base)):
        fastest = min(value for (_, of), value in medians.items() if of == column)
        for (row, of), value in medians.items():
            if of == column and value < inf:
                points = math.ceil(33 * (value / fastest - 1) - 1e-9)
                scores[row] += 0 if points > 99 else 1 if points <= 0 else (99.5 - points) / 99
    return [score / len(board.benchmark.base) for score in scores]


def test_the_three_views_of_version_1_are_those_of_another_implementation(version_1, views):
    low = {}
    for trial in version_1.table.trials.values():
        made_steps = zip(trial.steps, trial.steps[1:], trial.seconds, trial.seconds[1:], strict=False)
        low.setdefault((trial.submission, trial.workload), []).extend((t - s) / (b - a) for a, b, s, t in made_steps)
    clean = {key: float(np.percentile(each, 10)) for key, each in low.items()}
    numbers = {
        "seconds": lambda trial, k: trial.seconds[k],
        "steps": lambda trial, k: trial.steps[k],
        "clean seconds": lambda trial, k: trial.steps[k] * clean[trial.submission, trial.workload],
    }
    assert list(views.scores) == list(numbers)
    for name, number in numbers.items():
        np.testing.assert_allclose(views.scores[name], by_hand(version_1, number), atol=1e-9, err_msg=name)


def test_the_noisy_trials_of_version_1_are_named(views):
    fastmri = [each for (_, workload), each in views.noisy if workload == "fastmri"]
    assert len(fastmri) > len(views.noisy) / 2
    within_one = [each for each in fastmri if each.trial.submission.startswith("muon_torch")]
    assert min(each.lowest for each in within_one) < 0.047
    assert max(each.highest for each in within_one) > 2.2
    assert [each.times for _, each in views.noisy] == sorted((each.times for _, each in views.noisy), reverse=True)


def test_lawa_counts_groups_of_updates_in_the_first_competition():
    runs = read_runs([find_board("v0.5-external")])
    odd = {key[0] for key, _ in odd_steps(step_costs(runs.trials))}
    assert odd == {"lawa_ema", "lawa_queue", "caspr_adaptive"}  # the last one on ImageNet's ResNet only
    views = views_of(score_runs(runs, choose_benchmark(runs)))
    left_out = np.isnan(views.scores["steps"])
    assert left_out.sum() == 2
    assert (views.ranks["steps"][left_out] > 8).all()


def test_the_report_has_the_three_views(version_1, views):
    section = cost_section(version_1, None)
    scores, splits, noisy = section.tables
    assert [column.name for column in scores.columns][1::2] == ["seconds", "steps", "clean seconds"]
    assert len(splits.rows) == sum(math.isfinite(cell.used) for cell in version_1.cells.values())
    assert len(noisy.rows) == len(views.noisy)
    assert {chart.picture for chart in section.charts} >= {"step_cost_fastmri"}
    assert set(section.files) == {"scores_by_unit.csv", "step_costs.csv", "unsteady_trials.csv"}


def test_runs_in_steps_have_no_such_section():
    runs = read_runs([find_board("tiny")])
    assert cost_section(score_runs(runs, choose_benchmark(runs)), None) is None


def test_cost_on_the_command_line(tmp_path, capsys):
    cli.main(["cost", "--board", "v1.0-self-tuning", "--include", "muon_torch*", "--output", str(tmp_path)])
    shown = capsys.readouterr().out
    for wanted in ("clean seconds", "Seconds to target = steps x seconds per step + added", "Not steady: "):
        assert wanted in shown
    prices = read_prices(tmp_path / "step_costs.csv")
    assert prices["muon_torch", "fastmri"] == pytest.approx(0.0468, abs=1e-4)
    with pytest.raises(SystemExit):
        cli.main(["cost", "--board", "tiny"])
    assert "Only measured seconds can be split" in capsys.readouterr().err
