"""Our own run folders: studies and entries, crashes, damage, and what is found in them."""

import math
import shutil

import pytest
from scoring_cases import kinds, own_run, run_on, suite

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import Status
from algoperf_lightning.scoring import read_runs, score_runs
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.tuning.plan import Study


def test_own_runs_of_one_study(tmp_path):
    for k in (1, 2):
        own_run(tmp_path / f"shapes/adamw/trial_{k}")
    runs = read_runs([tmp_path])
    assert [each.key for each in runs.trials] == [("adamw", "shapes", "0", "1"), ("adamw", "shapes", "0", "2")]
    assert kinds(runs.findings) == ["assumed"]
    assert runs.trials[0].version == "1.0"


def test_self_tuning_runs_without_study_are_studies(tmp_path):
    for k in (1, 2):
        own_run(tmp_path / f"shapes/adamw/trial_{k}", ruleset="self-tuning")
    assert [each.key[2:] for each in read_runs([tmp_path]).trials] == [("1", "1"), ("2", "2")]


def test_own_runs_of_several_studies(tmp_path):
    for study in (0, 1):
        own_run(tmp_path / f"tuned/study_{study}/shapes/trial_1")
    runs = read_runs([tmp_path])
    assert [each.key for each in runs.trials] == [("adamw", "shapes", "0", "1"), ("adamw", "shapes", "1", "1")]
    assert runs.findings == []


@pytest.mark.parametrize("layout", ["{entry}/study_0/shapes/trial_1", "shapes/{entry}/trial_1"])
def test_one_algorithm_entered_twice(tmp_path, layout):
    for entry in ("careful", "bold"):
        own_run(tmp_path / layout.format(entry=entry))
    runs = read_runs([tmp_path])
    assert [each.submission for each in runs.trials] == ["bold", "careful"]
    assert any("adamw was entered as bold, careful" in finding.message for finding in runs.findings)


def test_folders_of_several_submissions_name_none(tmp_path):
    for root in ("one", "two"):
        for k, submission in enumerate(("adamw", "sgd")):
            study = 2 * k + (root == "two")
            own_run(tmp_path / root / f"study_{study}/shapes/trial_1", submission=submission)
    runs = read_runs([tmp_path])
    assert {each.submission for each in runs.trials} == {"adamw", "sgd"}


def test_own_runs_without_evaluations_or_unfinished(tmp_path):
    own_run(tmp_path / "a/study_0/shapes/trial_1", values=(), seconds=(), status=Status.FAILED, message="out of memory")
    own_run(tmp_path / "a/study_0/shapes/trial_2", values=(0.5,), seconds=(1.0,), status=Status.RUNNING)
    runs = read_runs([tmp_path])
    assert [each.number for each in runs.trials] == ["1", "2"]
    assert kinds(runs.findings) == ["trial without evaluations", "unfinished"]
    assert "out of memory" in runs.findings[0].message


def plan(folder, **changes):
    """Write the plan of a study of digits, one trial, as ``algoperf tune`` does."""
    options = {"class_path": "algoperf_lightning.workloads.Digits", "init_args": {}}
    fields = {"submission": "adamw", "class_path": "", "workload": "digits", "workload_options": options, "number": 1}
    fields |= {"studies": 3, "ruleset": "self-tuning", "version": "1.0", "unit": "seconds", "scale": 1.0}
    fields |= {"budget": 90.0, "seed": 1, "method": "", "search_space": None, "defaults": {}, "points": ({},)}
    study = Study(folder=folder, **{**fields, "seeds": (1,), **changes})
    study.write()
    return study.trials[0].folder


@pytest.mark.parametrize("crash", ["with a record", "before its record"])
def test_a_crash_never_scores_better_than_a_missed_target(tmp_path, crash):
    """Two of three studies missed: no time. If they crashed instead, there is none either."""
    for study in (1, 2, 3):
        folder = tmp_path / f"adamw/study_{study}/digits/trial_1"
        if study == 1:
            run_on(folder, "digits", 10.0, ruleset="self-tuning")
        elif crash == "with a record":
            run_on(folder, "digits", math.inf, ruleset="self-tuning", status=Status.FAILED)
            (folder / "evaluations.csv").write_text("")
        else:
            plan(folder.parent, number=study)
            (folder / "failure_rank_0.txt").write_text("ImportError: no module named apex")
    runs = read_runs([tmp_path])
    assert [each.key for each in runs.trials] == [("adamw", "digits", str(study), "1") for study in (1, 2, 3)]
    board = score_runs(runs, choose_benchmark(runs))
    assert board.cells["adamw", "digits"].reason == "missed"
    assert kinds(board.findings) == ["assumed", "nothing counts", "trial without evaluations"]
    assert crash == "with a record" or any("no module named apex" in each.message for each in board.findings)


def test_a_submission_that_only_crashed_is_scored_as_one_that_missed(tmp_path):
    run_on(tmp_path / "good/study_1/digits/trial_1", "digits", 10.0, submission="good")
    (
        plan(tmp_path / "bad/study_1/digits", submission="my.own.bad", ruleset="external") / "failure_rank_0.txt"
    ).write_text("no")
    runs = read_runs([tmp_path])
    board = score_runs(runs, choose_benchmark(runs))
    assert {name: board.cells[name, "digits"].reason for name in ("good", "bad")} == {"good": "counts", "bad": "missed"}


def test_a_damaged_record_is_refused(tmp_path):
    folder = own_run(tmp_path / "shapes/adamw/trial_1")
    (folder / "trial.json").write_text("{")
    with pytest.raises(BadInputError, match="is not the record of a trial"):
        read_runs([tmp_path])
    for name, value in (("unit", "hours"), ("scale", 0.0), ("budget", None)):
        changed = own_run(tmp_path / f"other/adamw/{name}", **{name: value})
        with pytest.raises(BadInputError, match=rf"trial\.json: .*{name} .*{value}"):
            read_runs([changed])
    shutil.rmtree(tmp_path / "other")
    (folder / "trial.json").unlink()
    with pytest.raises(BadInputError, match=r"contains evaluations\.csv, but no trial\.json"):
        read_runs([tmp_path])


def test_planned_trials_without_a_record_are_told_once(tmp_path):
    own_run(tmp_path / "adamw" / "study_1" / "digits" / "trial_1", values=(0.5, 0.99))
    for number in (2, 3):
        folder = tmp_path / "adamw" / "study_1" / "digits" / f"trial_{number}"
        folder.mkdir()
        (folder / "config.yaml").write_text("workload: {}\n")
    runs = read_runs([tmp_path])
    (finding,) = (finding for finding in runs.findings if finding.kind == "not begun")
    assert finding.message.startswith("2 planned trials without a record")
    assert finding.strict
    assert len(runs.trials) == 1


def test_equal_findings_of_a_submissions_trials_are_one_and_the_gravest_comes_first(tmp_path):
    setting = "A global setting changed during the run: X."
    for k in range(1, 4):
        warnings = ["entry, line 3: names the workload 'mnist'.", setting, *["A clock was replaced."] * (k == 2)]
        own_run(tmp_path / f"shapes/adamw/trial_{k}", warnings=warnings)
    found = [finding.message for finding in read_runs([tmp_path]).findings if finding.kind == "rule check"]
    first = tmp_path.resolve() / "shapes/adamw/trial_1"
    assert found == [
        f"adamw: A clock was replaced. ({first.with_name('trial_2')})",
        f"adamw: {setting} (3 trials, the first: {first})",
        f"adamw: entry, line 3: names the workload 'mnist'. (3 trials, the first: {first})",
    ]


def test_the_leaderboard_says_first_what_changes_scores(tmp_path):
    own_run(tmp_path / "shapes/adamw/trial_1", warnings=["A global setting changed during the run: X."])
    edited = own_run(tmp_path / "shapes/adamw/trial_2", checksum="2:0123456789abcdef")
    assert edited.is_dir()
    board = score_runs(read_runs([tmp_path]), suite(base=("shapes",)))
    order = [finding.kind for finding in board.findings]
    assert order[0] == "changed record"
    assert order.index("incomplete") < order.index("rule check") < order.index("assumed")
