"""Findings about submissions and workloads that `--include` and `--exclude` leave out are left out too."""

import re

import pytest
from scoring_cases import own_run

from algoperf_lightning import cli
from algoperf_lightning.scoring import read_runs
from algoperf_lightning.scoring.selection import Selection

WORKLOADS = ("digits", "mnist")


@pytest.fixture
def folder(tmp_path):
    """Own runs of `good` and `odd` on two workloads; everything of `odd` has something to be said."""
    for workload in WORKLOADS:
        own_run(tmp_path / f"good/study_1/{workload}/trial_1", submission="good", workload=workload, seed=1)
        odd = tmp_path / f"odd/study_1/{workload}"
        more = {"submission": "odd", "workload": workload}
        own_run(odd / "trial_1", **more, checksum="2:0123456789abcdef")
        own_run(odd / "trial_2", **more, values=(), seconds=(), steps=())
        own_run(odd / "trial_3", **more, warnings=[f"A clock was replaced on {workload}."])
        own_run(odd / "trial_4", **more, warnings=["A global setting changed."])
        own_run(odd / "trial_5", **more, clock="my.clock")
        (odd / "trial_6").mkdir()
        (odd / "trial_6/config.yaml").write_text("workload: {}\n")
    return tmp_path


def messages(runs):
    return [finding.message for finding in runs.findings if finding.kind != "left out"]


def test_all_of_it_is_found_without_a_choice(folder):
    runs = Selection().of_runs(read_runs([folder]))
    assert {finding.kind for finding in runs.findings} == {
        *("changed record", "trial without evaluations", "rule check", "clock", "not begun")
    }
    assert {name for finding in runs.findings for name, _ in finding.about} == {"odd"}


@pytest.mark.parametrize("selection", [Selection(exclude=["odd"]), Selection(["good"]), Selection(exclude=["o*"])])
def test_nothing_is_said_of_a_submission_that_is_left_out(folder, selection):
    assert messages(selection.of_runs(read_runs([folder]))) == []


def test_of_a_workload_that_is_left_out_only_what_also_holds_elsewhere_is_said(folder):
    found = messages(Selection(exclude=["digits"]).of_runs(read_runs([folder])))
    assert not [
        message for message in found if "/digits/" in message and not re.search(r"\b2 (planned )?trials", message)
    ]
    assert [message for message in found if "A global setting changed" in message]
    assert [message for message in found if "replaced on mnist" in message]
    assert not [message for message in found if "replaced on digits" in message]


def test_included_workloads_leave_out_findings_of_the_others(folder, capsys):
    with pytest.raises(SystemExit):
        cli.main(["score", str(folder), "--include", "digits", "--strict"])
    said = capsys.readouterr().err
    assert "odd/study_1/digits/trial_1" in said
    assert "/mnist/" not in said


def test_findings_of_official_logs_name_their_trial(tmp_path):
    for submission in ("good", "odd"):
        for workload in ("wmt", "ogbg"):
            trial = tmp_path / f"{submission}/study_0/{workload}_jax/trial_1"
            trial.mkdir(parents=True)
            metric = {"wmt": "bleu", "ogbg": "mean_average_precision"}[workload]
            rows = f"validation/{metric},score\n0.1,1.0\n" + ("0.1,2" if submission == "odd" else "")
            (trial / "eval_measurements.csv").write_text(rows)
    runs = read_runs([tmp_path])
    assert [finding.about for finding in runs.findings] == [(("odd", "ogbg"),), (("odd", "wmt"),)]
    assert messages(Selection(exclude=["odd"]).of_runs(runs)) == []
    assert len(messages(Selection(exclude=["wmt"]).of_runs(runs))) == 1
