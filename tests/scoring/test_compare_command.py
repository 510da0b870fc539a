"""`algoperf compare`: its table, its verdict, its JSON, and what it asks for."""

import json

import pytest
from scoring_cases import inf, run_on

from algoperf_lightning.cli import main


def planned(tmp_path, submission, seconds, unit="seconds", seed=0):
    for study, used in enumerate(seconds, start=1):
        folder = tmp_path / submission / f"study_{study}" / "digits" / "trial_1"
        run_on(folder, "digits", used, unit=unit, submission=submission, seed=seed + study)
    return tmp_path


def test_the_command_prints_a_table_and_a_verdict(tmp_path, capsys):
    planned(tmp_path, "slow", [20.0, 22.0, 24.0, 21.0, 25.0, 23.0])
    planned(tmp_path, "fast", [10.0, 11.0, 12.0, 10.5, 12.5, 11.5])
    main(["compare", str(tmp_path), "fast", "slow"])
    out = " ".join(capsys.readouterr().out.split())
    assert "6/6, 6/6 paired" in out
    assert "fast needs 50 % fewer seconds than slow (95 %: 50 % fewer; p = 0.031)" in out
    assert (
        "interval is narrower than the distance between two evaluations (20.0% of the time), so it looks more precise"
        in out
    )


@pytest.mark.parametrize("width", [80, 200])
def test_nothing_is_cut_on_a_narrow_terminal(tmp_path, capsys, monkeypatch, width):
    planned(tmp_path, "slow", [20.0, 22.0, 24.0, 21.0, 25.0, 23.0])
    planned(tmp_path, "fast", [10.0, 11.0, 12.0, 10.5, 12.5, 11.5])
    monkeypatch.setenv("COLUMNS", str(width))
    main(["compare", str(tmp_path), "fast", "slow"])
    lines = capsys.readouterr().out.splitlines()
    words = " ".join(lines).split()
    for name in ("workload", "reached", "ratio", "interval", "faster", "p", "Holm", "power", "more", "digits"):
        assert name in words
    assert any("6/6, 6/6 paired" in line and "0.500" in line for line in lines)
    heads = [line.split() for line in lines if line.strip().startswith("workload ")]
    assert len(heads) == (1 if width == 200 else 2)
    assert [name for head in heads for name in head if name != "workload"][-5:] == [
        "Holm",
        "power",
        "more",
        "per",
        "hour",
    ]


def test_findings_about_the_two_are_said(tmp_path, capsys):
    planned(tmp_path, "slow", [20.0, 22.0])
    planned(tmp_path, "fast", [10.0, 11.0])
    planned(tmp_path, "other", [10.0, 11.0])
    for name in ("fast", "other"):
        path = tmp_path / name / "study_1" / "digits" / "trial_1" / "evaluations.csv"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    main(["compare", str(tmp_path), "fast", "slow"])
    out = capsys.readouterr().out
    assert "changed record: " in out
    assert "/fast/study_1" in out
    assert "/other/study_1" not in out


def test_names_beside_all_pairs_are_not_taken_for_runs(tmp_path, capsys):
    planned(tmp_path, "slow", [20.0, 22.0])
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path), "fast", "slow", "--all-pairs"])
    assert "fast and slow: no such file or folder. With --all-pairs, give runs only" in capsys.readouterr().err


def test_json_has_null_for_what_is_open(tmp_path, capsys):
    planned(tmp_path, "slow", [inf] * 4, seed=50)
    planned(tmp_path, "fast", [10.0, 11.0, 12.0, 10.5])
    main(["compare", str(tmp_path), "fast", "slow", "--json"])
    data = json.loads(capsys.readouterr().out)
    wanted = {"ratio", "low", "high", "p_value", "probability_faster", "power", "more_studies"}
    assert wanted <= set(data["overall"])
    assert wanted <= set(data["workloads"]["digits"])
    assert data["overall"]["ratio"] is None
    assert data["overall"]["low"] is None
    assert 0 < data["overall"]["high"] < 1
    assert data["workloads"]["digits"]["reached"] == [4, 0]
    main(["compare", str(tmp_path), "--all-pairs", "--json"])
    pairs = json.loads(capsys.readouterr().out)["pairs"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [("fast", "slow")]


def test_what_makes_runs_questionable_is_said(tmp_path, capsys):
    for study in (1, 2):
        for name in ("fast", "slow"):
            folder = tmp_path / name / f"study_{study}" / "digits" / "trial_1"
            machine = {"accelerator": "cpu", "cpu": f"the CPU of {name}", "ranks": 1, "packages": {"torch": "2.11"}}
            run_on(folder, "digits", 10.0 + study, submission=name, seed=study, environment=machine)
    main(["compare", str(tmp_path), "fast", "slow"])
    assert "mixed hardware" in capsys.readouterr().out
    main(["compare", str(tmp_path), "fast", "slow", "--json"])
    assert any("mixed hardware" in each for each in json.loads(capsys.readouterr().out)["findings"])


def test_seconds_and_steps_are_not_compared(tmp_path):
    planned(tmp_path, "slow", [20.0, 21.0])
    planned(tmp_path, "fast", [100.0, 110.0], unit="steps")
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(tmp_path), "fast", "slow"])


@pytest.mark.parametrize("arguments", [["runs"], ["x", "y"], []])
def test_missing_names_are_asked_for(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *arguments])
    assert "Expected RUNS, then two submissions" in capsys.readouterr().err
