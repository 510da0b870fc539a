"""Readers: three formats that are recognised by themselves, and what they do with any input."""

import numpy as np
import pytest
from log_files import OFFICIAL, ROWS, compact, official
from scoring_cases import kinds, runs_of, suite, trial

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import get_benchmark, read_runs, score_runs, write_official
from algoperf_lightning.scoring.runs import natural


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda root: root / "nowhere", "does not exist", id="missing"),
        pytest.param(lambda root: root, "contains no runs: expected folders with", id="empty-folder"),
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
