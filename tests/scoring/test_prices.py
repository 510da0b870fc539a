"""Runs at the costs of another machine: seconds are its cost of a step, times the steps."""

import csv

import numpy as np
import pytest
from scoring_cases import kinds, run_on, suite
from test_cost import made

from algoperf_lightning import cli
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import Runs, score_runs
from algoperf_lightning.scoring.cost import step_costs
from algoperf_lightning.scoring.prices import priced_part, read_prices, with_sizes
from algoperf_lightning.scoring.units import by_clean_seconds, on_machine


def two():
    return Runs([made("one", w, costs=[2.0] * 9) for w in "ab"] + [made("two", w, costs=[1.0] * 10) for w in "ab"])


def test_another_machine_multiplies_the_steps():
    prices = {("one", "a"): 0.5, ("one", "b"): 0.5, ("two", "a"): 1.0, ("two", "b"): 0.25}
    board = score_runs(on_machine(two(), prices, "there"), suite())
    assert board.times.tolist() == [[91 * 0.5, 91 * 0.5], [101.0, 101 * 0.25]]
    assert board.title == "a suite, in seconds of another machine, estimated, not AlgoPerf scores"
    assert board.measure.column == "repriced_seconds"


def test_the_costs_of_here_change_nothing():
    runs = two()
    prices = {key: cost.seconds for key, cost in step_costs(runs.trials).items()}
    here, there = score_runs(by_clean_seconds(runs), suite()), score_runs(on_machine(runs, prices, "here"), suite())
    np.testing.assert_array_equal(here.times, there.times)


def test_costs_from_a_table_from_yaml_and_from_runs(tmp_path):
    run_on(tmp_path / "runs/one/study_0/digits/trial_1", "digits", 10.0, submission="one")
    measured = read_prices(tmp_path / "runs")
    assert measured == {("one", "digits"): pytest.approx(2.0 / 2)}  # steps 5 and 7, seconds 8 and 10
    (tmp_path / "costs.csv").write_text("workload,submission,seconds_per_step,more\ndigits,one,1.0,x\n")
    (tmp_path / "costs.yaml").write_text("one: {digits: 1.0}\n")
    assert read_prices(tmp_path / "costs.csv") == read_prices(tmp_path / "costs.yaml") == measured


def test_a_small_size_costs_what_the_full_size_does_unless_it_has_a_cost():
    runs = Runs([made("one", "wmt_small"), made("one", "wmt"), made("two", "ogbg_glu_tiny"), made("two", "ogbg")])
    prices = {("one", "wmt"): 2.0, ("two", "ogbg_glu"): 3.0, ("two", "ogbg"): 4.0}
    sized = {("one", "wmt_small"): 2.0, ("two", "ogbg_glu_tiny"): 3.0}
    assert with_sizes(prices, runs) == prices | sized
    assert with_sizes({**prices, ("one", "wmt_small"): 5.0}, runs)["one", "wmt_small"] == 5.0


def test_what_has_no_cost_is_left_out_by_name():
    prices = {("one", "a"): 1.0, ("two", "a"): 1.0, ("two", "b"): 1.0}
    runs, benchmark = priced_part(two(), suite(), prices)
    assert [workload.name for workload in benchmark.base] == ["a"]
    assert kinds(runs.findings) == ["no cost"]
    assert "b: left out, because the costs of one on b are not known" in runs.findings[0].message
    runs, benchmark = priced_part(two(), suite(), {("two", "a"): 1.0, ("two", "b"): 1.0})
    assert {trial.submission for trial in runs.trials} == {"two"}
    assert len(benchmark.base) == 2
    assert "Left out, because the cost of their steps is not known: one" in runs.findings[0].message


def test_runs_outside_the_benchmark_need_no_cost():
    runs, benchmark = priced_part(two(), suite(base=("a",)), {("one", "a"): 1.0, ("two", "a"): 2.0})
    assert {trial.workload for trial in runs.trials} == {"a"}
    assert score_runs(on_machine(runs, {("one", "a"): 1.0, ("two", "a"): 2.0}, "there"), benchmark).times.size == 2


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({("muon", "a"): 1.0}, "None of the costs is for a submission and workload of the runs: costs of muon on a"),
        (
            {("one", "b"): 1.0, ("two", "a"): 1.0},
            "No workload is left: each of 2 workloads has no cost .*one on a, two on b",
        ),
    ],
)
def test_costs_that_fit_nothing(prices, message):
    with pytest.raises(BadInputError, match=message):
        priced_part(two(), suite(), prices)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "submission,workload\n", "does not have the columns seconds_per_step"),
        (
            "c.csv",
            "submission,workload,seconds_per_step\ns,a,fast\n",
            "line 2: seconds_per_step must be seconds.*'fast'",
        ),
        ("c.csv", "submission,workload,seconds_per_step\ns,a,-1\n", "line 2: seconds_per_step"),
        ("c.csv", "submission,workload,seconds_per_step\ns,a,1\ns,a,2\n", "line 3: the cost of s on a is given twice"),
        ("c.csv", "submission,workload,seconds_per_step\n", "contains no step costs"),
        ("c.yaml", "s: 3\n", "must map submissions to mappings"),
        ("c.yaml", "s: {a: 0}\n", "s: a"),
        ("none.csv", None, "does not exist"),
    ],
)
def test_bad_costs(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=message):
        read_prices(tmp_path / name)


def test_reprice_on_the_command_line(tmp_path, capsys):
    board = ["--board", "v1.0-self-tuning", "--include", "lion", "--include", "ademamix"]
    cli.main(["cost", *board, "--output", str(tmp_path)])
    capsys.readouterr()
    text = (tmp_path / "step_costs.csv").read_text().splitlines()
    dearer = [line.split(",") for line in text[1:]]
    rows = [[s, w, repr(float(c) * (10 if s == "ademamix" else 1))] for s, w, c, *_ in dearer]
    (tmp_path / "there.csv").write_text("\n".join(map(",".join, [text[0].split(",")[:3], *rows])))
    cli.main(["reprice", *board, "--costs", str(tmp_path / "there.csv"), "--output", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "in seconds of another machine, estimated, not AlgoPerf scores" in " ".join(shown.split())
    with (tmp_path / "repriced.csv").open() as file:
        found = {(row["submission"], row["workload"]): row for row in csv.DictReader(file)}
    assert float(found["lion", "wmt"]["seconds_there"]) == float(found["lion", "wmt"]["seconds_here"])
    there, here = (float(found["ademamix", "wmt"][f"seconds_{each}"]) for each in ("there", "here"))
    assert there == pytest.approx(10 * here)
    assert float(found["ademamix", "wmt"]["score_there"]) < float(found["ademamix", "wmt"]["score_here"])
