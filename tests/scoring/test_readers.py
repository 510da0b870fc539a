"""Readers: three formats, recognised by themselves, and what they do with odd, missing and damaged files."""

import gzip
import json
import math
import shutil

import numpy as np
import pytest
from scoring_cases import REAL, kinds, own_run, run_on, runs_of, suite, trial

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import Status
from algoperf_lightning.scoring import get_benchmark, read_runs, score_runs, write_official
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.scoring.compact_csv import COLUMNS
from algoperf_lightning.scoring.runs import natural
from algoperf_lightning.tuning.plan import Study

HEADER = ",".join(COLUMNS)
ROWS = [
    "0.5,external,mine,0,wmt,jax,1,1,60.5,bleu,1.5,1.25",
    "0.5,external,mine,0,wmt,jax,1,100,120.5,bleu,31.5,nan",
    "0.5,external,mine,0,wmt,jax,2,1,61.5,bleu,nan,1.5",
]
OFFICIAL = "validation/bleu,test/bleu,global_step,score,accumulated_submission_time,accumulated_eval_time\n"


def compact(path, *lines, header=HEADER):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def official(root, text=OFFICIAL + "31.5,31,7,90.5,90.5,3\n", place="mine/study_0/wmt_jax/trial_1"):
    (root / place).mkdir(parents=True)
    (root / place / "eval_measurements.csv").write_text(text)
    return root


# The compact table


def test_compact(tmp_path):
    runs = read_runs([compact(tmp_path / "table.csv", *ROWS)])
    first, second = runs.trials
    assert first.key == ("mine", "wmt", "0", "1")
    assert (first.framework, first.version, first.ruleset) == ("jax", "0.5", "external")
    assert first.seconds.tolist() == [60.5, 120.5]
    assert first.steps.tolist() == [1, 100]
    assert first.metrics["validation/bleu"].tolist() == [1.5, 31.5]
    assert math.isnan(first.metrics["test/bleu"][1])
    assert second.source.endswith("table.csv, lines 4-4")
    assert runs.findings == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="windows-line-ends"),
        pytest.param(lambda text: text.replace("nan", ""), id="empty-for-nan"),
        pytest.param(lambda text: text.replace("mine", '"mine"'), id="quotes"),
        pytest.param(
            lambda text: "\n".join(",".join(["x", *line.split(",")[::-1]]) for line in text.splitlines()) + "\n",
            id="other-order-and-more-columns",
        ),
    ],
)
def test_compact_tables_that_mean_the_same(tmp_path, change):
    plain = compact(tmp_path / "plain.csv", *ROWS)
    other = tmp_path / "other.csv"
    other.write_bytes(change(plain.read_text()).encode())
    for one, two in zip(read_runs([plain]).trials, read_runs([other]).trials, strict=True):
        assert one.key == two.key
        np.testing.assert_array_equal(one.seconds, two.seconds)
        for name, values in one.metrics.items():
            np.testing.assert_array_equal(values, two.metrics[name])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param([], "no evaluations", id="no-rows"),
        pytest.param([ROWS[0], ROWS[1][:40]], "line 3: expected 12 fields, but got", id="short-row"),
        pytest.param([ROWS[0] + ",7"], "line 2: expected 12 fields, but got 13", id="long-row"),
        pytest.param([ROWS[0], "", ROWS[1]], "line 3: expected 12 fields, but got 1", id="empty-line"),
        pytest.param([ROWS[0].replace("60.5", "soon")], "must be a number, but got 'soon'", id="not-a-number"),
        pytest.param([ROWS[0].replace("60.5", "-60.5")], "has the time -60.5", id="negative-time"),
        pytest.param([ROWS[0].replace("60.5", "nan")], "has the time nan", id="nan-time"),
        pytest.param([ROWS[0].replace("60.5", "inf")], "has the time inf", id="infinite-time"),
        pytest.param([ROWS[0], ROWS[2], ROWS[1]], "Two logs claim to be mine, wmt, study 0, trial 1", id="twice"),
        pytest.param([ROWS[0], ROWS[2].replace("jax", "pytorch")], "two frameworks, jax and pytorch", id="frameworks"),
    ],
)
def test_compact_tables_that_are_refused(tmp_path, lines, message):
    with pytest.raises(BadInputError, match=message):
        read_runs([compact(tmp_path / "table.csv", *lines)])


def test_a_cut_off_table_is_refused(tmp_path):
    whole = compact(tmp_path / "table.csv", *ROWS).read_bytes()
    (tmp_path / "cut.csv").write_bytes(whole[:-9])
    last = b"".join(line.rpartition(b",")[0] + b"\n" for line in whole.splitlines()).replace(
        b"trial,", b"trial,test_value,"
    )
    (tmp_path / "value.csv").write_bytes(last[:-1])
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(whole * 50)[:-20])
    (tmp_path / "damaged.csv.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    (tmp_path / "empty.csv").write_bytes(b"")
    for name in ("cut.csv", "value.csv", "cut.csv.gz", "damaged.csv.gz", "empty.csv"):
        with pytest.raises(BadInputError, match="cut off"):
            read_runs([tmp_path / name])


def test_a_table_whose_last_line_is_whole_but_for_its_end(tmp_path):
    text = compact(tmp_path / "table.csv", *ROWS).read_text()
    (tmp_path / "table.csv").write_text(text[:-1])
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(text[:-1].encode()))
    for name in ("table.csv", "table.csv.gz"):
        assert len(read_runs([tmp_path / name]).trials) == 2


def test_another_table_is_refused(tmp_path):
    (tmp_path / "scores.csv").write_text("submission,score\nmine,0.5\n")
    with pytest.raises(BadInputError, match="lacks the columns version, ruleset"):
        read_runs([tmp_path / "scores.csv"])
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BadInputError, match="neither a folder of runs, nor a table"):
        read_runs([tmp_path / "notes.txt"])


def test_times_that_run_backwards_are_told(tmp_path):
    rows = [ROWS[1], ROWS[0]]
    runs = read_runs([compact(tmp_path / "table.csv", *rows)])
    assert kinds(runs.findings) == ["time runs backwards"]
    assert "from 120.5 to 60.5 seconds at evaluation 1" in runs.findings[0].message


def test_repeated_evaluations_are_told(tmp_path):
    runs = read_runs([compact(tmp_path / "table.csv", ROWS[0], ROWS[0])])
    assert kinds(runs.findings) == ["evaluation repeated"]


# The official layout


def test_official(tmp_path):
    (only,) = read_runs([official(tmp_path)]).trials
    assert only.key == ("mine", "wmt", "0", "1")
    assert only.framework == "jax"
    assert only.seconds.tolist() == [90.5]
    assert only.metrics["validation/bleu"].tolist() == [31.5]
    assert only.version is None


@pytest.mark.parametrize("below", ["mine", "mine/study_0", "mine/study_0/wmt_jax", "mine/study_0/wmt_jax/trial_1"])
def test_official_from_any_folder(tmp_path, below):
    assert read_runs([official(tmp_path) / below]).trials[0].key == ("mine", "wmt", "0", "1")


def test_a_folder_and_one_in_it(tmp_path):
    assert len(read_runs([official(tmp_path), tmp_path / "mine", tmp_path]).trials) == 1


def test_links_that_lead_back(tmp_path):
    (official(tmp_path) / "mine" / "again").symlink_to(tmp_path)
    assert len(read_runs([tmp_path]).trials) == 1


def test_a_missing_or_empty_log_is_as_if_the_trial_did_not_exist(tmp_path):
    official(tmp_path)
    (tmp_path / "mine/study_0/wmt_jax/trial_2").mkdir()
    official(tmp_path, "", "mine/study_0/wmt_jax/trial_3")
    runs = read_runs([tmp_path])
    assert [each.number for each in runs.trials] == ["1"]
    assert [finding.kind for finding in runs.findings] == ["trial without evaluations"] * 2


def test_a_header_alone_is_a_trial_that_missed(tmp_path):
    runs = read_runs([official(tmp_path, OFFICIAL)])
    assert kinds(runs.findings) == ["trial without evaluations"]
    board = score_runs(runs, get_benchmark("0.6", "self-tuning"))
    assert board.cells["mine", "wmt"].reason == "missed"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param(OFFICIAL + "1,1,1,10,10,1\n31.5,3", [10], id="fields-missing"),
        pytest.param(OFFICIAL + "1,1,1,10,10,1\n31.5,31,2,20,20,", [10, 20], id="a-field-that-does-not-matter"),
        pytest.param("score,validation/bleu\n10,1\n20,31", [10], id="the-value-may-be-cut"),
        pytest.param("validation/bleu,score\n1,10\n31,20", [10], id="the-time-may-be-cut"),
    ],
)
def test_a_cut_off_last_line(tmp_path, text, seconds):
    runs = read_runs([official(tmp_path, text)])
    assert kinds(runs.findings) == ["cut off"]
    assert runs.trials[0].seconds.tolist() == seconds


def test_what_lies_outside_the_layout_contributes_nothing(tmp_path):
    official(tmp_path)
    official(tmp_path, place="mine/study_0/trial_9")
    official(tmp_path, place="mine/study_0/wmt_tensorflow/trial_1")
    official(tmp_path, place="mine/study_0/wmt_jax/first")
    (tmp_path / "mine/study_0/wmt_jax.log").write_text("hello")
    runs = read_runs([tmp_path])
    assert len(runs.trials) == 1
    assert [finding.kind for finding in runs.findings] == ["ignored"] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a,b\n1,2\n", "no column of times", id="no-times"),
        pytest.param("score,score\n1,2\n", "names a column twice", id="column-twice"),
        pytest.param(OFFICIAL + "1,2\n31,31,1,1,1,1\n", "line 2: expected 6 fields, but got 2", id="short-line"),
        pytest.param(OFFICIAL + "high,2,3,4,4,6\n", "column validation/bleu must hold numbers", id="not-a-number"),
        pytest.param(OFFICIAL + "31,2,3,-4,-4,6\n", "has the time -4", id="negative-time"),
        pytest.param(OFFICIAL + "31,2,3,,,6\n", "has the time nan", id="no-time"),
        pytest.param(
            OFFICIAL + '"31",2,3\r,4,4,6\n', r"eval_measurements\.csv is not a CSV file: new-line", id="no-csv"
        ),
    ],
)
def test_official_logs_that_are_refused(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        read_runs([official(tmp_path, text)])


def test_two_times_that_differ_are_told(tmp_path):
    runs = read_runs([official(tmp_path, OFFICIAL + "31,2,3,4,5,6\n")])
    assert kinds(runs.findings) == ["two times"]
    assert runs.trials[0].seconds.tolist() == [4]


def test_a_missing_column_means_the_target_was_never_reached(tmp_path):
    official(tmp_path)
    official(tmp_path, "global_step,score\n1,5\n", "mine/study_0/wmt_jax/trial_2")
    runs = read_runs([tmp_path])
    board = score_runs(runs, get_benchmark("0.6", "external"))
    assert board.cells["mine", "wmt"].used == 90.5
    assert "metric missing" in kinds(board.findings)


def test_a_metric_nobody_logged_is_refused(tmp_path):
    runs = read_runs([official(tmp_path, "validation/blue,score\n31.5,5\n")])
    with pytest.raises(BadInputError, match=r"No log of wmt holds .*'validation/bleu'.*validation/blue"):
        score_runs(runs, get_benchmark("0.6", "external"))


# The writer


def test_written_runs_read_back_the_same(tmp_path):
    runs = runs_of({"one": {"a": [0.1 + 0.2, 1e-9, math.inf]}, "two": {"a": [5.0, 6.0], "b": 7.0}}, framework="jax")
    assert len(write_official(runs, tmp_path)) == 6
    back = {each.key: each for each in read_runs([tmp_path]).trials}
    assert len(back) == 6
    for each in runs.trials:
        np.testing.assert_array_equal(each.seconds, back[each.key].seconds)
        np.testing.assert_array_equal(each.steps, back[each.key].steps)
        assert each.framework == back[each.key].framework
        for name, values in each.metrics.items():
            np.testing.assert_array_equal(values, back[each.key].metrics[name])


def test_the_writer_does_not_write_over_logs(tmp_path):
    runs = runs_of({"one": {"a": 5.0}})
    write_official(runs, tmp_path)
    with pytest.raises(BadInputError, match="exists already"):
        write_official(runs, tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_the_writer_stays_in_its_folder(tmp_path, name):
    with pytest.raises(BadInputError, match="cannot be the name of a folder"):
        write_official(runs_of({name: {"a": 5.0}}), tmp_path)


def test_the_whole_leaderboard_through_the_writer(tmp_path):
    runs = read_runs([REAL])
    assert len(write_official(runs, tmp_path)) == 3654
    benchmark = get_benchmark("0.5", "external")
    one, two = score_runs(runs, benchmark), score_runs(read_runs([tmp_path]), benchmark)
    np.testing.assert_array_equal(one.times, two.times)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_own_runs_in_the_official_layout(tmp_path):
    own_run(tmp_path / "runs/shapes/adamw/trial_1")
    (folder,) = write_official(read_runs([tmp_path / "runs"]), tmp_path / "official")
    assert folder == tmp_path / "official/adamw/study_0/shapes_pytorch/trial_1"
    assert json.loads((folder / "hparams.json").read_text()) == {"lr": 1e-3}
    assert json.loads((folder / "meta_data_0.json").read_text())["workload.max_allowed_runtime_sec"] == 60
    header, *rows = (folder / "eval_measurements.csv").read_text().splitlines()
    assert header == "validation/accuracy,test/accuracy,global_step,score,accumulated_submission_time,total_duration"
    assert rows[1] == "0.95,0.95,10,2.0,2.0,3.0"


# Our own run folders


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


def test_official_logs_without_a_study_are_scored_as_published_and_that_is_told(tmp_path):
    for study in (0, 1, 2):
        official(
            tmp_path, place=f"mine/study_{study}/wmt_jax/trial_1", text="" if study else OFFICIAL + "31,31,1,5,5,6\n"
        )
    board = score_runs(read_runs([tmp_path]), get_benchmark("0.6", "self-tuning"))
    assert board.cells["mine", "wmt"].used == 5
    (few,) = (each.message for each in board.findings if each.kind == "few studies")
    assert few.startswith("mine has a time where no more than half of 3 studies reached the target: wmt (1).")


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
    with pytest.raises(BadInputError, match=r"holds evaluations\.csv, but no trial\.json"):
        read_runs([tmp_path])


# Any input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda root: root / "nowhere", "does not exist", id="missing"),
        pytest.param(lambda root: root, "holds no runs: expected folders with", id="empty-folder"),
        pytest.param(
            lambda root: compact(root / "t.csv", *ROWS).parent, r"Did you mean the table .*t\.csv", id="table"
        ),
        pytest.param(lambda root: official(root, ""), "No trial under .* is empty", id="only-empty-logs"),
    ],
)
def test_paths_without_runs(tmp_path, make, message):
    with pytest.raises(BadInputError, match=message):
        read_runs([make(tmp_path)])


def test_formats_may_be_mixed_and_given_twice(tmp_path):
    table = compact(tmp_path / "table.csv", *ROWS)
    runs = read_runs([table, official(tmp_path / "logs", place="other/study_0/wmt_pytorch/trial_1"), table])
    assert [each.submission for each in runs.trials] == ["mine", "mine", "other"]
    assert kinds(runs.findings) == ["given twice"]


def test_one_trial_in_two_formats_is_refused(tmp_path):
    table = compact(tmp_path / "table.csv", *ROWS)
    runs = read_runs([table, official(tmp_path / "logs")])  # the logs do not say their version: they may be others
    for use in (lambda: score_runs(runs, get_benchmark("0.5", "external")), lambda: write_official(runs, tmp_path)):
        with pytest.raises(
            BadInputError, match=r"Two logs claim to be .*eval_measurements\.csv and .*lines 2-3|lines 2-3 and"
        ):
            use()


def test_a_target_reached_at_time_zero_is_refused():
    runs = runs_of({"s": {"a": 0.0}})
    with pytest.raises(BadInputError, match="reached its target at 0 seconds"):
        score_runs(runs, suite())


def test_names_sort_as_people_count():
    assert sorted(["trial_10", "trial_9", "b", "", "10", "9"], key=natural) == [
        "",
        "9",
        "10",
        "b",
        "trial_9",
        "trial_10",
    ]
    assert trial().label == "s, a, study 0, trial 1"


@pytest.mark.parametrize("kind", ["compact", "official"])
def test_a_file_cut_anywhere_never_gives_other_evaluations(tmp_path, kind):
    """Cut at every byte: an error, or the first evaluations as they were."""
    if kind == "compact":
        path = compact(tmp_path / "table.csv", *ROWS)
    else:
        path = official(tmp_path, OFFICIAL + "1.5,1,1,10.5,10.5,1\n31.5,31,2,20.25,20.25,3\n")
        path = path / "mine/study_0/wmt_jax/trial_1/eval_measurements.csv"
    root, whole = (path if kind == "compact" else tmp_path), path.read_bytes()
    expected = {each.key: each for each in read_runs([root]).trials}
    refused = 0
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        try:
            trials = read_runs([root]).trials
        except BadInputError:
            refused += 1
            continue
        for each in trials:
            there = expected[each.key]
            for found, true in (
                (each.seconds, there.seconds),
                (each.metrics.get("validation/bleu", np.array([])), there.metrics["validation/bleu"]),
            ):
                np.testing.assert_array_equal(found, true[: len(found)])
    assert refused > 0


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


@pytest.mark.parametrize(("field", "name"), [(2, "submission"), (4, "workload")])
def test_an_empty_name_in_a_table_is_refused(tmp_path, field, name):
    row = ["1.0", "external", "s", "0", "ogbg", "pytorch", "1", "10", "5.0", "accuracy", "0.5", "0.5"]
    row[field] = ""
    (tmp_path / "mine.csv").write_text(",".join(COLUMNS) + "\n" + ",".join(row) + "\n")
    with pytest.raises(BadInputError, match=rf"mine\.csv, line 2: the {name} is empty"):
        read_runs([tmp_path / "mine.csv"])
