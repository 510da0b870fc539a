"""The compact table of runs: what it holds, and what is refused."""

import dataclasses
import gzip
import math

import numpy as np
import pytest
from log_files import HEADER, ROWS, compact
from scoring_cases import kinds, run_on

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import choose_benchmark, read_runs, score_runs, write_compact
from algoperf_lightning.scoring.compact_csv import COLUMNS


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


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_own_runs_score_the_same_from_a_compact_table(tmp_path, name):
    for submission, used in (("one", 20.0), ("two", 41.0)):
        for study, seed in enumerate((3, 4)):
            folder = tmp_path / f"runs/{submission}/study_{study}/wmt_tiny/trial_1"
            run_on(folder, "wmt_tiny", used + study, unit="steps", submission=submission, seed=seed)
    runs = read_runs([tmp_path / "runs"])
    none = np.array([])
    runs.trials.append(dataclasses.replace(runs.trials[0], number="2", steps=none, seconds=none, metrics={}))
    write_compact(runs, tmp_path / name)
    write_compact(runs, tmp_path / f"again_{name}")
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again_{name}").read_bytes()
    again = read_runs([tmp_path / name])
    kept = [
        {trial.key: (trial.record["seed"], trial.record["hyperparameters"]) for trial in each.trials}
        for each in (runs, again)
    ]
    assert kept[0] == kept[1]
    assert {trial.unit for trial in again.trials} == {"steps"}
    boards = [score_runs(each, choose_benchmark(each)) for each in (runs, again)]
    assert boards[0].title == boards[1].title == "workloads of the runs, with tiny runs, in steps, not AlgoPerf scores"
    np.testing.assert_array_equal(boards[0].times, boards[1].times)
    np.testing.assert_array_equal(boards[0].scores, boards[1].scores)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("[1]", "line 2: the record is invalid: expected a JSON object, but got"),
        ("{", "line 2: the record is invalid"),
        ('{""unit"": ""miles"", ""budget"": 1}', "line 2: the record is invalid: Unknown unit 'miles'"),
        ('{""budget"": -1}', "line 2: the record is invalid: budget must be"),
    ],
)
def test_records_of_a_compact_table_are_checked(tmp_path, record, message):
    path = compact(tmp_path / "table.csv", f'{ROWS[0]},"{record}"', f"{ROWS[1]},", header=f"{HEADER},record")
    with pytest.raises(BadInputError, match=message):
        read_runs([path])


def test_a_compact_table_is_written_of_own_runs_only(tmp_path):
    runs = read_runs([compact(tmp_path / "table.csv", *ROWS)])
    with pytest.raises(BadInputError, match="mine, wmt, study 0, trial 1 has no record"):
        write_compact(runs, tmp_path / "new.csv")


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
        with pytest.raises(BadInputError, match="truncated"):
            read_runs([tmp_path / name])


def test_a_table_whose_last_line_is_whole_but_for_its_end(tmp_path):
    text = compact(tmp_path / "table.csv", *ROWS).read_text()
    (tmp_path / "table.csv").write_text(text[:-1])
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(text[:-1].encode()))
    for name in ("table.csv", "table.csv.gz"):
        assert len(read_runs([tmp_path / name]).trials) == 2


def test_another_table_is_refused(tmp_path):
    (tmp_path / "scores.csv").write_text("submission,score\nmine,0.5\n")
    with pytest.raises(BadInputError, match="does not have the columns version, ruleset"):
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


@pytest.mark.parametrize(("field", "name"), [(2, "submission"), (4, "workload")])
def test_an_empty_name_in_a_table_is_refused(tmp_path, field, name):
    row = ["1.0", "external", "s", "0", "ogbg", "pytorch", "1", "10", "5.0", "accuracy", "0.5", "0.5"]
    row[field] = ""
    (tmp_path / "mine.csv").write_text(",".join(COLUMNS) + "\n" + ",".join(row) + "\n")
    with pytest.raises(BadInputError, match=rf"mine\.csv, line 2: the {name} is empty"):
        read_runs([tmp_path / "mine.csv"])
