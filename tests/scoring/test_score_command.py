"""``algoperf score`` from the command line to the files it writes."""

import csv
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import golden_v05 as golden
import pytest
from reading import Page
from rich.console import Console
from scoring_cases import REAL, extract, own_run, runs_of, suite

from algoperf_lightning import cli
from algoperf_lightning.scoring import get_benchmark, score_runs, write_official
from algoperf_lightning.scoring.outputs import times_tables

BASE = golden.WORKLOADS[:8]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The official leaderboard in the official layout, from the extract."""
    folder = tmp_path_factory.mktemp("logs")
    write_official(extract(get_benchmark("0.5", "external")), folder)
    return folder


@pytest.fixture(scope="module")
def output(logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new"
    cli.main(["score", str(logs), "--output", str(folder), "--draws", "50"])
    return folder


def test_scores_csv(output):
    found = rows(output / "scores.csv")
    assert [row["submission"] for row in found] == list(golden.SCORES)
    assert {row["submission"]: round(float(row["score"]), 4) for row in found} == golden.PRINTED
    assert [row["rank"] for row in found] == [str(k) for k in range(1, 12)]
    for row in found:
        assert float(row["score_low"]) <= float(row["score"]) + 1e-9
        assert float(row["score"]) <= float(row["score_high"]) + 1e-9


def test_times_csv(output):
    found = {row.pop("submission"): row for row in rows(output / "times.csv")}
    assert tuple(next(iter(found.values()))) == golden.WORKLOADS
    assert float(found["amos"]["criteo1tb"]) == float("inf")
    assert found["caspr_adaptive"]["criteo1tb"] == "NaN"
    assert float(found["shampoo_submission"]["ogbg"]) == pytest.approx(3362.6, abs=0.05)


def test_cells_and_studies_csv_trace_every_time(output):
    cells = {(row["submission"], row["workload"]): row for row in rows(output / "cells.csv")}
    assert len(cells) == 11 * 14
    assert cells["amos", "ogbg"]["reason"] == "4x"
    assert cells["caspr_adaptive", "wmt"]["reason"] == "held-out no log"
    for row in cells.values():
        if row["reason"] == "counts":
            assert row["deciding_trials"].endswith("eval_measurements.csv")
    studies = [
        row for row in rows(output / "studies.csv") if row["submission"] == "baseline" and row["workload"] == "wmt"
    ]
    median = [row for row in studies if row["is_median"] == "1"]
    assert len(studies) == 5
    assert [row["seconds"] for row in median] == [cells["baseline", "wmt"]["seconds"]]


def test_tuning_budget_csv(output):
    found = rows(output / "tuning_budget.csv")
    assert list(found[0]) == ["submission", "k", "score", "low", "high"]
    assert len(found) == 11 * 25
    at = {(row["submission"], row["k"]): row for row in found}
    assert float(at["shampoo_submission", "5"]["score"]) == pytest.approx(golden.SCORES["shampoo_submission"], abs=0.02)
    assert at["baseline", "25"]["low"] == "NaN"
    assert float(at["baseline", "5"]["low"]) < float(at["baseline", "5"]["high"])
    workloads = rows(output / "tuning_budget_workloads.csv")
    assert {row["workload"] for row in workloads} == set(golden.WORKLOADS)


def test_pictures(output):
    names = {path.name for path in output.iterdir()}
    assert {"tuning_budget.png", "pairs.png", *(f"tuning_budget_{workload}.svg" for workload in BASE)} <= names
    assert {f"curves_{workload}.png" for workload in golden.WORKLOADS} <= names
    assert (output / "profile.png").read_bytes().startswith(b"\x89PNG")
    root = ElementTree.parse(output / "profile.svg").getroot()
    assert root.tag.endswith("svg")


def test_the_report_is_whole_and_needs_no_network(output):
    text = (output / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(source.startswith("#") for source in page.sources)
    assert "default-src 'none'" in text
    drawn = page.data["charts"]
    assert [len(chart["series"]) for chart in drawn[:2]] == [11, 11]
    assert sum(chart["y"]["label"].startswith("validation ") for chart in drawn) == 14
    for wanted in (
        "0.7784",
        "percentile bootstrap, 50 draws, seed 0",
        "caspr_adaptive on criteo1tb: no log",
        "(h no log)",
    ):
        assert wanted in page.words


def test_names_cannot_break_the_report(tmp_path, capsys):
    own_run(tmp_path / "runs/study_0/shapes/trial_1", submission="<b>bold</b> & [red]x[/]")
    cli.main(["score", str(tmp_path / "runs"), "--output", str(tmp_path / "out"), "--draws", "5"])
    text = (tmp_path / "out/report.html").read_text()
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text
    assert "<b>bold</b> & [red]x[/]" in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_seed_gives_the_same_tables(logs, tmp_path):
    few = ("--include", "ogbg", "--include", "wmt", "--draws", "20", "--seed", "7")
    for name in ("one", "two"):
        cli.main(["score", str(logs), "--output", str(tmp_path / name), *few])
    for table in ("scores.csv", "times.csv", "cells.csv", "studies.csv", "report.html", "profile.svg"):
        assert (tmp_path / "one" / table).read_bytes() == (tmp_path / "two" / table).read_bytes()


def test_the_terminal_shows_the_leaderboard_and_what_was_assumed(logs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    cli.main(["score", str(logs), "--draws", "5", "--mode", "rules"])
    shown = capsys.readouterr().out
    assert "Scores: AlgoPerf 0.5, external ruleset  " in shown
    assert re.search(r"10\s+lawa_ema\s+0\.3434", shown)
    assert re.search(r"11,071 -\d+ \(4x\)", shown)
    assert "After the minus sign: the time since the previous evaluation" in shown
    # What may bend a score comes first; with fewer faults there is room for what was assumed.
    cli.main(["score", str(logs), "--draws", "5", "--exclude", "lawa*", "--exclude", "schedule_free_prodigy"])
    shown = capsys.readouterr().out
    assert "The version is 0.5, as recorded in the runs." in shown
    assert "The ruleset is external, as recorded in the runs." in shown


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 80, 120])
def test_numbers_are_not_cut_on_a_narrow_terminal(logs, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    cli.main(["score", str(logs), "--draws", "5"])
    shown = capsys.readouterr().out
    if width >= 80:
        assert all(f"{score:.4f}" in shown for score in golden.SCORES.values())
        assert "…" not in shown


def test_tables_of_times_fit_every_terminal():
    board = score_runs(runs_of({"adamw": dict.fromkeys(BASE, 10.0), "sgd": {"wmt": 20.0}}), suite(base=BASE))
    for width in range(40, 100):
        for part in times_tables(board, width):
            console = Console(width=width, file=io.StringIO())
            console.print(part)
            assert "…" not in console.file.getvalue(), width


def test_own_runs_and_their_export(tmp_path, capsys):
    for submission, seconds in (("fast", (1.0, 2.0)), ("slow", (1.0, 3.0))):
        own_run(tmp_path / f"runs/shapes/{submission}/trial_1", submission=submission, seconds=seconds)
    arguments = [
        "--output",
        str(tmp_path / "out"),
        "--export",
        str(tmp_path / "official"),
        "--draws",
        "5",
        "--baseline",
        "slow",
    ]
    cli.main(["score", str(tmp_path / "runs"), *arguments])
    found = {row["submission"]: row for row in rows(tmp_path / "out" / "scores.csv")}
    assert float(found["fast"]["score"]) == 1
    assert float(found["slow"]["score"]) == pytest.approx((99.5 - 17) / 99)
    assert float(found["fast"]["time_over_baseline"]) == pytest.approx(2 / 3)
    assert (tmp_path / "official/fast/study_0/shapes_pytorch/trial_1/eval_measurements.csv").exists()
    assert "2 trials in the official layout" in capsys.readouterr().out


def test_only_the_chosen_runs_are_exported(tmp_path, capsys):
    for version in ("0.6", "1.0"):
        folder = tmp_path / f"runs/study_{version}/wmt/trial_1"
        own_run(folder, version=version, workload="wmt", logged="bleu")
    arguments = ["score", str(tmp_path / "runs"), "--draws", "5", "--export", str(tmp_path / "official")]
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert "Choose one with --version" in capsys.readouterr().err
    assert not (tmp_path / "official").exists()
    cli.main([*arguments, "--version", "0.6"])
    assert [path.name for path in (tmp_path / "official/adamw").iterdir()] == ["study_0.6"]


def test_a_benchmark_file(tmp_path, capsys):
    own_run(tmp_path / "runs/study_0/shapes/trial_1", seconds=(1.0, 2.0), values=(0.85, 0.95))
    path = tmp_path / "mine.yaml"
    path.write_text("workloads:\n  shapes: {metric: accuracy, direction: max, target: 0.8, budget: 60}\n")
    cli.main(
        ["score", str(tmp_path / "runs"), "--benchmark", str(path), "--output", str(tmp_path / "out"), "--draws", "5"]
    )
    assert rows(tmp_path / "out" / "times.csv") == [{"submission": "adamw", "shapes": "1.0"}]
    assert "other validation target" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["{logs}", "--strict"], "--strict refuses these runs"),
        (["{logs}", "--version", "0.4"], "Unknown benchmark version '0.4'"),
        (["{logs}", "--ruleset", "extern"], "Did you mean 'external'"),
        (["{logs}", "--baseline", "base"], "Did you mean 'baseline'"),
        (["{logs}", "--benchmark", "none.yaml"], "none.yaml cannot be read: No such file"),
        (["{logs}", "--seed", "-1"], "seed >= 0"),
        (["{logs}", "--draws", "0"], "Expected draws >= 1"),
        (
            ["{logs}", "--draws", "5", "--output", "{logs}/amos/study_0/wmt_jax/trial_1/eval_measurements.csv"],
            "is a file",
        ),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(logs, capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        cli.main(["score", *(each.format(logs=logs) for each in arguments)])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_scoring_loads_neither_torch_nor_matplotlib(logs):
    code = (
        "import sys; from algoperf_lightning import cli\n"
        f"cli.main(['score', {str(logs)!r}, '--draws', '5'])\n"
        "import algoperf_lightning.commands.sensitivity\n"
        "assert not {'torch', 'lightning', 'matplotlib', 'scipy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


@pytest.mark.slow
def test_the_full_table(tmp_path):
    cli.main(["score", str(REAL), "--output", str(tmp_path), "--draws", "20"])
    assert {row["submission"]: round(float(row["score"]), 4) for row in rows(tmp_path / "scores.csv")} == golden.PRINTED
