"""From runs to scores: reasons, traces, flags; other versions and rulesets through the same code."""

import ast
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scoring_cases import kinds, own_run, runs_of, suite, trial

from algoperf_lightning import scoring
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import Runs, get_benchmark, read_runs, score_runs
from algoperf_lightning.scoring.cells import REASONS

inf = math.inf


def test_every_reason():
    benchmark = suite(base=("a",), held_out=(("a2", "a"),))
    times = {
        "best": {"a": 10.0, "a2": 10.0},
        "slow": {"a": 41.0, "a2": 10.0},
        "missed": {"a": inf, "a2": 1.0},
        "nothing": {"a": None, "a2": 1.0},
        "held": {"a": 20.0, "a2": inf},
        "held slow": {"a": 20.0, "a2": 41.0},
        "held nothing": {"a": 20.0, "a2": None},
    }
    board = score_runs(runs_of(times), benchmark)
    reasons = {name: (board.cells[name, "a"].reason, board.cells[name, "a2"].reason) for name in times}
    assert reasons == {
        "best": ("counts", "counts"),
        "slow": ("4x", "counts"),
        "missed": ("missed", "base missed"),
        "nothing": ("no log", "base missed"),
        "held": ("held-out missed", "missed"),
        "held slow": ("held-out 4x", "4x"),
        "held nothing": ("held-out no log", "no log"),
    }
    assert {reason for pair in reasons.values() for reason in pair} == set(REASONS)
    assert board.scores[board.submissions.index("best")] == 1
    assert board.scores.sum() == 1


def test_a_held_out_time_of_a_missed_base_is_never_the_reason_of_the_4x():
    # A held-out time within 4x of the fastest, but the base was missed: still "base missed".
    board = score_runs(
        runs_of({"x": {"a": 10.0, "a2": 10.0}, "y": {"a": inf, "a2": 12.0}}),
        suite(base=("a",), held_out=(("a2", "a"),)),
    )
    assert board.cells["y", "a2"].reason == "base missed"


def test_every_number_is_traced_to_its_trial():
    runs = Runs(
        [
            trial(study="0", number="1", seconds=30.0, index=3),
            trial(study="0", number="2", seconds=20.0, index=4),
            trial(study="1", number="1", seconds=inf),
            trial(study="2", number="7", seconds=50.0),
        ]
    )
    cell = score_runs(runs, suite(base=("a",), studies=3, trials=2)).cells["s", "a"]
    assert [(each.study, each.used, each.trials, each.decides) for each in cell.studies] == [
        ("0", 30.0, 2, False),
        ("1", inf, 1, False),
        ("2", 50.0, 1, True),
    ]
    assert [each.winner.number if each.winner else None for each in cell.studies] == ["1", None, "7"]
    assert cell.used == 50.0
    rules = score_runs(runs, suite(base=("a",), studies=3, trials=2), "rules").cells["s", "a"]
    assert rules.studies[0].winner.number == "2"


def test_an_even_number_of_studies_has_two_that_decide():
    cell = score_runs(runs_of({"s": {"a": [10.0, 20.0]}}), suite(base=("a",), studies=2)).cells["s", "a"]
    assert cell.used == 15
    assert [each.decides for each in cell.studies] == [True, True]


def test_workloads_without_logs_stay_in_the_denominator():
    board = score_runs(runs_of({"s": {"a": 10.0}}), suite(base=("a", "b", "c", "d")))
    assert board.scores.tolist() == [0.25]


def test_an_absent_study_is_not_a_missed_one():
    board = score_runs(runs_of({"s": {"a": [10.0, None, None]}}), suite(base=("a",), studies=3))
    assert board.times.tolist() == [[10.0]]
    assert "expected 3 studies of 1 trial, but got 1 study of 1;" in board.findings[0].message


def test_relative_times_use_any_baseline_and_no_rule():
    runs = runs_of({"x": {"a": 10.0, "b": inf}, "y": {"a": 100.0, "b": 500.5}})
    board = score_runs(runs, suite(), baseline="y")
    assert board.relative.tolist() == [[0.1, 2.0], [1.0, 1.0]]
    assert board.speedups == pytest.approx([0.2**0.5, 1.0])
    assert score_runs(runs, suite()).speedups is None
    with pytest.raises(BadInputError, match="Unknown baseline 'z'"):
        score_runs(runs, suite(), baseline="z")


def test_unknown_mode():
    with pytest.raises(BadInputError, match="Unknown mode 'fast'"):
        score_runs(runs_of({"s": {"a": 1.0}}), suite(), "fast")


# Other versions and rulesets


BY_STUDY = {0: 0.5, 1: 1.0, 2: 2.0, 3: 0.5, 4: 2.0}  # with 3 or 5 studies the median is 1


def made_up_leaderboard(benchmark, factors):
    """Every submission takes its factor times a tenth of each budget; the further trials of a study are slower."""
    return Runs(
        [
            trial(
                submission,
                workload.name,
                factor * benchmark.budget(workload) / 10 * BY_STUDY[study] * (1 + number),
                study=str(study),
                number=str(number),
                index=4 + number,
                metric=workload.metric,
                hit=workload.validation_target,
            )
            for submission, factor in factors.items()
            for workload in benchmark.workloads
            for study in range(benchmark.studies)
            for number in range(benchmark.trials)
        ]
    )


@pytest.mark.parametrize("ruleset", ["external", "self-tuning"])
@pytest.mark.parametrize("version", ["0.5", "0.6", "1.0"])
def test_every_version_and_ruleset_through_the_same_code(version, ruleset):
    benchmark = get_benchmark(version, ruleset)
    board = score_runs(made_up_leaderboard(benchmark, {"quick": 1.0, "slow": 2.5, "late": 4.5}), benchmark, strict=True)
    assert board.findings == ()
    np.testing.assert_allclose(board.times[board.submissions.index("quick")], benchmark.budgets / 10)
    expected = {"quick": 1.0, "slow": (99.5 - 50) / 99, "late": 0.0}
    assert dict(zip(board.submissions, board.scores.tolist(), strict=True)) == pytest.approx(expected)


# Honesty


def test_strict_refuses_incomplete_sets_and_says_what_is_missing():
    runs = runs_of({"x": {"a": 10.0, "b": 10.0}, "y": {"a": 10.0}})
    with pytest.raises(
        BadInputError, match="--strict refuses these runs, which have 1 fault:\n  incomplete: y on b: no log"
    ):
        score_runs(runs, suite(), strict=True)
    complete = runs_of({"x": {"a": 10.0, "b": 10.0}, "y": {"a": 10.0, "b": inf}})
    assert score_runs(complete, suite(), strict=True).findings == ()


def test_the_docs_name_what_strict_lets_pass():
    passed = set()
    for path in Path(scoring.__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and "note" in ast.unparse(call.func)
                and any(each.arg == "strict" and ast.unparse(each.value) == "False" for each in call.keywords)
            ):
                passed.add(next(each.value for each in call.args if isinstance(each, ast.Constant)))
    text = (Path(__file__).parents[2] / "docs/scoring.md").read_text()
    table = text.partition("but never an error:")[2].partition("\n\n")[0]
    first = [row.split("|")[1].partition(":")[0] for row in table.splitlines()[1:]]
    assert {name.strip() for row in first for name in row.split(",")} == passed


def test_runs_on_other_workloads_are_told():
    board = score_runs(runs_of({"s": {"a": 10.0, "z": 1.0}}), suite(base=("a",)), strict=True)
    assert kinds(board.findings) == ["ignored"]
    with pytest.raises(BadInputError, match="None of the runs is on a workload of a suite: found z, expected a"):
        score_runs(runs_of({"s": {"z": 1.0}}), suite(base=("a",)))


def test_times_beyond_the_budget_are_told_and_count():
    board = score_runs(runs_of({"s": {"a": 1000.5}}), suite(base=("a",)))
    assert kinds(board.findings) == ["over budget"]
    assert board.scores.tolist() == [1.0]


def test_the_runs_of_another_version_or_ruleset_are_flagged():
    workload = dataclasses.replace(get_benchmark("0.6", "external").base[0], metric="accuracy", direction="max")
    benchmark = dataclasses.replace(get_benchmark("0.6", "external"), base=(workload,), studies=1, trials=1)
    board = score_runs(Runs([trial(workload="criteo1tb", version="0.5", ruleset="self-tuning")]), benchmark)
    assert kinds(board.findings) == ["other ruleset", "other version"]


def own(tmp_path, **changes):
    """Two submissions on one workload; the second differs in what is given."""
    own_run(tmp_path / "a/study_0/shapes/trial_1")
    own_run(tmp_path / "b/study_0/shapes/trial_1", submission="sgd", **changes)
    benchmark = suite(base=("shapes",))
    base = (dataclasses.replace(benchmark.base[0], budget=60.0),)
    return score_runs(read_runs([tmp_path]), dataclasses.replace(benchmark, base=base))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"version": "0.6"}, ["mixed version"]),
        ({"ruleset": "self-tuning"}, ["mixed ruleset"]),
        ({"environment": {"accelerator": "cuda", "gpus": ["NVIDIA V100"], "ranks": 8}}, ["mixed hardware"]),
        (
            {"environment": {"accelerator": "cpu", "cpu": "a CPU", "ranks": 1, "packages": {"torch": "2.12"}}},
            ["mixed torch"],
        ),
        ({"validation_target": 0.8}, ["other validation target"]),
        ({"metric": "loss"}, ["other metric"]),
        ({"budget": 90.0}, ["other budget"]),
        ({"direction": "min"}, ["other direction"]),
    ],
)
def test_what_makes_times_incomparable_is_flagged(tmp_path, changes, found):
    assert kinds(own(tmp_path, **changes).findings) == found


def test_notes_of_records_are_reported(tmp_path):
    note = "SGD has set requires_grad=False for 1 of the model's 4 trainable parameters: hidden.weight."
    (finding,) = (each for each in own(tmp_path, notes=[note]).findings if each.kind == "noted in records")
    assert not finding.strict
    assert finding.message.endswith(f" on shapes: {note}")


def test_repetitions_of_one_trial_are_flagged(tmp_path):
    for k in (1, 2):
        own_run(tmp_path / f"a/study_0/shapes/trial_{k}", seed=0)
    assert "same seed" in kinds(score_runs(read_runs([tmp_path]), suite(base=("shapes",), trials=2)).findings)


def test_a_notebook_shows_few_lines_of_many_numbers():
    runs = runs_of({"x": {"a": [10.0, 11.0], "b": 5.0}, "y": {"a": 20.0}})
    assert repr(runs) == "Runs(4 trials of 2 submissions on 2 workloads, 0 findings)"
    assert repr(runs.trials[1]) == "Trial(x, a, study 1, trial 1: 4 evaluations)"
    assert repr(score_runs(runs, suite(studies=2))).startswith("Leaderboard(a suite\n  1  1.0000  x\n  2  0.")


def test_scores_that_are_all_zero_are_said_to_be_no_ranking():
    benchmark = suite(base=("a", "b"), held_out=(("a_wide", "a"), ("b_wide", "b")))
    findings = score_runs(runs_of({"x": {"a": 10.0}, "y": {"a": 20.0}}), benchmark).findings
    assert findings[0].kind == "nothing counts"
    assert findings[0].message.endswith("leave these out: --exclude a_wide.")
    assert "nothing counts" not in kinds(score_runs(runs_of({"x": {"a": 10.0}}), suite()).findings)
