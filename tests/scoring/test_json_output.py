"""What other programs read: ``--json`` of list, status and score, and tables of evaluations."""

import json

import golden_v05 as golden
import pyarrow as pa
import pytest
from scoring_cases import own_run

import algoperf_lightning
from algoperf_lightning import cli
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, plugins


def printed(capsys, *arguments):
    cli.main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_list(capsys):
    found = printed(capsys, "list")
    assert [each["name"] for each in found["workloads"]] == list(plugins(WORKLOADS))
    assert [each["name"] for each in found["submissions"]] == list(plugins(SUBMISSIONS))
    digits = next(each for each in found["workloads"] if each["name"] == "digits")
    assert digits["metric"] == "accuracy"
    assert digits["validation_target"] == algoperf_lightning.get_workload("digits").spec.validation_target
    assert {each["tuning"] for each in found["submissions"]} == {"external", "self"}
    assert found["problems"] == []


def test_list_of_names_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["list", "digits", "--json"])
    assert "Leave out the names" in capsys.readouterr().err


def test_score_of_a_board(capsys):
    found = printed(capsys, "score", "--board", "v0.5-external", "--draws", "20")
    assert {each["submission"]: round(each["score"], 4) for each in found["submissions"]} == golden.PRINTED
    assert [each["rank"] for each in found["submissions"]] == list(range(1, 12))
    for each in found["submissions"]:
        assert each["score_low"] - 1e-9 <= each["score"] <= each["score_high"] + 1e-9
    times = {(each["submission"], each["workload"]): each for each in found["times"]}
    assert times["amos", "criteo1tb"]["used"] is None
    assert times["amos", "criteo1tb"]["reason"] == "missed"
    assert times["shampoo_submission", "ogbg"]["used"] == pytest.approx(3362.6, abs=0.05)


def test_score_by_tuning_budget_is_no_json(capsys):
    with pytest.raises(SystemExit):
        cli.main(["score", "--board", "v0.5-external", "--json", "--tuning-budget"])
    assert "Leave out one" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_a_table_of_evaluations(library, tmp_path):
    own_run(tmp_path / "one", values=(0.5, 0.95), seed=1)
    own_run(tmp_path / "two", values=(0.5, 0.6), logged="loss", metric="loss", direction="min", seed=2)
    table = algoperf_lightning.read_runs(tmp_path, library=library)
    table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    rows = table.to_pylist()
    assert [row["step"] for row in rows] == [0, 10, 0, 10]
    assert [row["submission_seconds"] for row in rows] == [1.6, 2.0, 1.6, 2.0]
    assert [row["validation/accuracy"] for row in rows[:2]] == [0.5, 0.95]
    assert rows[2]["validation/accuracy"] is None
    assert rows[3]["validation/loss"] == 0.6
    assert [row["status"] for row in rows] == ["reached", "reached", "reached", "reached"]
    assert json.loads(rows[0]["hyperparameters"]) == {"lr": 1e-3}
    assert {row["seed"] for row in rows} == {1, 2}


def test_tables_of_another_library_are_refused(tmp_path):
    own_run(tmp_path / "one")
    with pytest.raises(BadInputError, match="'pandas' or 'pyarrow', but got 'polars'"):
        algoperf_lightning.read_runs(tmp_path, library="polars")
    with pytest.raises(BadInputError, match="nowhere"):
        algoperf_lightning.read_runs(tmp_path / "nowhere")
