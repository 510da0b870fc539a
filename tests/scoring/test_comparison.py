"""Comparing two submissions: pairs or groups, what is said, and error rates of the whole."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scoring_cases import extract, suite, trial

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import Runs, get_benchmark, score_runs
from algoperf_lightning.scoring.comparison import Question, compare, compare_all
from algoperf_lightning.scoring.comparison_outputs import as_data, bounds, figure, pairs_table, reached
from algoperf_lightning.scoring.ratios import Ratio
from algoperf_lightning.scoring.verdict import interval, shown, verdict

inf = math.inf


def board_of(times, *, seeds=None, **rest):
    """A board of ``{submission: {workload: [seconds, ...]}}``; with seeds by submission, each study's."""
    runs = Runs()
    for submission, by_workload in times.items():
        for workload, studies in by_workload.items():
            for study, seconds in enumerate(studies):
                record = {} if seeds is None else {"record": {"seed": seeds[submission] + study}}
                runs.trials.append(trial(submission, workload, seconds, study=str(study), **record))
    workloads = sorted({each.workload for each in runs.trials})
    studies = max(len(each) for by in times.values() for each in by.values())
    return score_runs(runs, suite(base=workloads, studies=studies, **rest))


TIGHT = {
    "x": {name: [100.0 + i + j for i in range(5)] for j, name in enumerate("abcd")},
    "y": {name: [120.5 + i + j for i in range(5)] for j, name in enumerate("abcd")},
}


def test_a_clear_difference_is_said_with_its_ratio():
    found = compare(board_of(TIGHT), "x", "y")
    assert found.overall.ratio.value == pytest.approx(102 / 122.5, abs=0.01)
    assert found.overall.p_value < 1e-5
    assert found.overall.probability_faster == 1
    assert found.seen(faster=True) == list("abcd")
    text = verdict(found)
    assert text.startswith("x needs 17 % fewer seconds than y (95 %:")
    assert "significantly on a, b, c and d" in text


def test_exchanged_names_give_the_inverse():
    board = board_of(TIGHT)
    there, back = compare(board, "x", "y"), compare(board, "y", "x")
    assert there.overall.ratio.value == pytest.approx(1 / back.overall.ratio.value)
    assert there.overall.p_value == pytest.approx(back.overall.p_value)
    assert there.overall.probability_faster == pytest.approx(1 - back.overall.probability_faster)
    assert "more seconds than x" in verdict(back)


@pytest.mark.parametrize(
    ("seeds", "paired", "because"),
    [
        pytest.param({"x": 7, "y": 7}, True, "", id="same seeds"),
        pytest.param({"x": 7, "y": 8}, False, "other seeds or trials in study 0", id="other seeds"),
        pytest.param(None, False, "the logs contain no seeds", id="no seeds"),
    ],
)
def test_runs_of_the_same_seeds_are_pairs(seeds, paired, because):
    found = compare(board_of(TIGHT, seeds=seeds), "x", "y")
    assert {each.gathered.sample.paired for each in found.workloads} == {paired}
    assert all(each.gathered.unpaired.startswith(because) for each in found.workloads)
    assert paired != any("Not paired" in note for note in found.notes)


def test_a_study_that_one_lacks_makes_groups_of_pairs():
    times = {"x": {"a": [100.0, 110.0, 105.0]}, "y": {"a": [120.0, 130.0]}}
    (on,) = compare(board_of(times, seeds={"x": 1, "y": 1}), "x", "y").workloads
    assert on.gathered.unpaired == "only x has study 2"
    assert (len(on.gathered.sample.first), len(on.gathered.sample.second)) == (3, 2)


def test_pairs_see_what_groups_do_not():
    slow = [100.0, 200.0, 300.0, 400.0, 500.0, 600.0]
    times = {"x": {"a": [each * 0.95 for each in slow]}, "y": {"a": slow}}
    pairs = compare(board_of(times, seeds={"x": 1, "y": 1}), "x", "y")
    groups = compare(board_of(times), "x", "y")
    assert pairs.overall.p_value <= 0.05 < groups.overall.p_value


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        pytest.param([100.0] * 5, [inf] * 5, "needs less than 0.1 times the seconds of y", id="only x reaches"),
        pytest.param([inf] * 5, [100.0] * 5, "needs more than 10 times the seconds of y", id="only y reaches"),
        pytest.param([inf] * 5, [inf] * 5, "Neither x nor y reached a target", id="nobody"),
        pytest.param([100.0], [120.0], "There are too few runs", id="one study"),
        pytest.param([100.0, 101.0, 130.0], [110.0, 99.0, 140.0], "do not show which", id="no difference"),
    ],
)
def test_the_verdict_says_no_more_than_is_known(first, second, words):
    found = compare(board_of({"x": {"a": first}, "y": {"a": second}}), "x", "y")
    assert words in verdict(found)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([1.0, 1.1, 1.2, 1.3], [900.0, 910.0, 920.0, 930.0], "needs 0.0013 times the seconds of y (95 %: 0.00"),
        ([900.0, 910.0, 920.0, 930.0], [1.0, 1.1, 1.2, 1.3], "times the seconds of y (95 %: 692 to 930 times"),
    ],
)
def test_large_factors_are_not_rounded_to_a_hundred_percent(first, second, words):
    assert words in verdict(compare(board_of({"x": {"a": first}, "y": {"a": second}}), "x", "y"))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Ratio(math.nan, 0.0, 0.01, 0.95), "95 %: at most 0.01 times"),
        (Ratio(math.nan, 0.9999, inf, 0.95), "95 %: at least as many"),
        (Ratio(math.nan, 0.9, inf, 0.95), "95 %: at most 10 % fewer"),
        (Ratio(math.nan, 3.0, inf, 0.95), "95 %: at least 3 times"),
        (Ratio(1.1, 1.0, 1.2, 0.9), "90 %: 0 to 20 % more"),
    ],
)
def test_an_interval_in_words_is_open_on_the_right_side(ratio, words):
    assert interval(ratio, "seconds") == words


def test_a_small_p_value_reads_as_people_write_it():
    assert "; p < 0.0001)" in verdict(compare(board_of(TIGHT), "x", "y"))


def test_opposite_differences_are_not_averaged_away():
    times = {
        "x": {"a": TIGHT["x"]["a"], "b": TIGHT["y"]["b"], "c": TIGHT["x"]["c"]},
        "y": {"a": TIGHT["y"]["a"], "b": TIGHT["x"]["b"], "c": TIGHT["y"]["c"]},
    }
    text = verdict(compare(board_of(times), "x", "y"))
    assert text.startswith("Which is faster depends on the workload: x on a and c, y on b")


def test_what_is_missing_is_named():
    times = {
        "x": {"a": [100.0, 101.0], "b": [inf, inf], "c": [50.0, 60.0]},
        "y": {"a": [100.0, 99.0], "b": [inf, inf]},
    }
    notes = " ".join(compare(board_of(times), "x", "y").notes)
    assert "Left out: c, where x or y has no run" in notes
    assert "No run reached the target on b" in notes
    assert "2 and 2 studies cannot give a p-value below 0.33" in notes


def test_a_workload_that_nobody_reached_is_no_even_chance():
    times = {"x": {"a": [10.0, 11.0], "b": [inf, inf]}, "y": {"a": [20.0, 21.0], "b": [inf, inf]}}
    found = compare(board_of(times), "x", "y")
    assert found.overall.probability_faster == 1
    data = as_data(found)
    assert data["workloads"]["b"]["probability_faster"] is None
    json.dumps(data, allow_nan=False)


def test_a_long_name_leaves_room_for_the_ratios():
    times = {"x" * 150: {"a": [10.0, 11.0]}, "y": {"a": [20.0, 22.0]}}
    console = Console(width=100, file=io.StringIO())
    console.print(*pairs_table(compare_all(board_of(times))[0], 100))
    assert "0.50" in console.file.getvalue()
    assert "…" not in console.file.getvalue()


def test_differences_within_the_distance_of_evaluations_are_named():
    # With 4 evaluations a trial, two of them are a quarter of the time apart.
    notes = compare(board_of({"x": {"a": [100.0, 101, 102, 103]}, "y": {"a": [110.0, 111, 112, 113]}}), "x", "y").notes
    assert any(
        "On a the times differ by less than the distance between two evaluations (25.0% of" in note for note in notes
    )


def test_trials_by_themselves():
    runs = Runs()
    for submission, start in (("x", 100.0), ("y", 150.0)):
        runs.trials += [trial(submission, "a", start + number, number=str(number)) for number in range(8)]
    board = score_runs(runs, suite(base=("a",), trials=8))
    assert compare(board, "x", "y").overall.ratio.level == 0  # one study of each
    by_trial = compare(board, "x", "y", Question(run="trial"))
    assert by_trial.overall.p_value < 0.001
    assert len(by_trial.workloads[0].gathered.sample.first) == 8


@pytest.mark.parametrize(
    ("names", "question", "message"),
    [
        (("x", "z"), {}, "Unknown submission 'z'"),
        (("x", "x"), {}, "'x' was given twice"),
        (("x", "y"), {"run": "seed"}, "Unknown run 'seed'"),
        (("x", "y"), {"difference": 1.0}, "difference must be between 0 and 1"),
        (("x", "y"), {"level": 0.0}, "level must be between 0 and 1"),
    ],
)
def test_bad_questions_are_named(names, question, message):
    with pytest.raises(BadInputError, match=message):
        compare(board_of(TIGHT), *names, Question(**question))


def test_no_common_workload_and_a_single_submission():
    apart = board_of({"x": {"a": [1.0, 2.0]}, "y": {"b": [1.0, 2.0]}})
    with pytest.raises(BadInputError, match="x and y were not run on a common workload"):
        compare(apart, "x", "y")
    with pytest.raises(BadInputError, match="x is the only submission"):
        compare_all(board_of({"x": {"a": [1.0]}}))


def test_all_pairs_of_the_first_competition():
    benchmark = get_benchmark("0.5", "external")
    runs = extract(benchmark)
    kept = ("shampoo_submission", "schedule_free_adamw", "baseline", "schedule_free_prodigy")
    runs.trials = [each for each in runs.trials if each.submission in kept]
    found, notes = compare_all(score_runs(runs, benchmark))
    assert not notes
    by_names = {frozenset((pair.first, pair.second)): pair for pair in found}
    assert len(by_names) == 6
    clear = by_names[frozenset(("schedule_free_adamw", "baseline"))]
    assert clear.first == "schedule_free_adamw"
    assert clear.overall.ratio.high < 1
    assert clear.overall.p_value < clear.overall.corrected < 0.05
    mixed = by_names[frozenset(("shampoo_submission", "schedule_free_adamw"))]
    sides = [
        set(mixed.seen(faster=faster)) for faster in (mixed.first == "shampoo_submission", mixed.first[:2] == "sc")
    ]
    assert {"imagenet_vit", "ogbg"} <= sides[0]
    assert {"wmt", "fastmri"} <= sides[1]


def test_the_example_of_the_documentation_is_this_one():
    benchmark = get_benchmark("0.5", "external")
    runs = extract(benchmark)
    runs.trials = [each for each in runs.trials if each.submission in ("nadamp", "baseline")]
    found = compare(score_runs(runs, benchmark), "nadamp", "baseline")
    page = " ".join((Path(__file__).parents[2] / "docs" / "compare.md").read_text().split())
    assert verdict(found) in page
    for each in found.workloads:
        difference = each.difference
        chance = f"{difference.probability_faster:.0%} {shown(difference.p_value)} {shown(difference.corrected)}"
        ratio = f"{figure(difference.ratio.value)} {bounds(difference.ratio, 0.95)}"
        assert f"{each.workload} {reached(each)} {ratio} {chance} " in page  # the extract's evaluations are made up


@pytest.mark.slow
@pytest.mark.parametrize("missed", [0.0, 0.25])
@pytest.mark.parametrize("seeds", [None, {"x": 1, "y": 1}], ids=["groups", "pairs"])
def test_error_rates_of_no_difference(missed, seeds):
    """Overall, and for any of the workloads after the correction; misses are of one kind for both."""
    rng = np.random.default_rng(5)
    rounds, overall, any_workload, covered = 200, 0, 0, 0
    for _ in range(rounds):
        times = {
            name: {
                workload: np.where(rng.random(7) < missed, inf, 100 * rng.lognormal(0, 0.2, 7)).tolist()
                for workload in "abcdef"
            }
            for name in "xy"
        }
        found = compare(board_of(times, seeds=seeds), "x", "y")
        overall += found.overall.p_value <= 0.05
        any_workload += any(each.difference.corrected <= 0.05 for each in found.workloads)
        covered += found.overall.ratio.low <= 1 <= found.overall.ratio.high
    assert overall / rounds <= 0.096  # 0.05 and three standard errors
    assert any_workload / rounds <= 0.096
    assert covered / rounds >= 0.904


@pytest.mark.slow
@pytest.mark.parametrize("missed", [0.0, 0.2])
def test_the_power_stated_from_data_is_on_average_the_true_one(missed):
    rng = np.random.default_rng(6)
    stated, seen, rounds = [], 0, 150
    for _ in range(rounds):
        times = {
            name: {
                workload: np.where(rng.random(5) < missed, inf, scale * rng.lognormal(0, 0.15, 5)).tolist()
                for workload in "abcdef"
            }
            for name, scale in (("x", 90.0), ("y", 100.0))
        }
        found = compare(board_of(times), "x", "y")
        stated.append(found.overall.power)
        seen += found.overall.p_value <= 0.05
    assert np.mean(stated) == pytest.approx(seen / rounds, abs=0.1)
