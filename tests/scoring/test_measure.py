"""Seconds, steps and scales: what is compared, what is refused, and what the numbers are called."""

import csv
import dataclasses
import re

import pytest
from reading import Page
from scoring_cases import kinds, own_run, run_on, runs_of, suite

from algoperf_lightning import cli
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.report import curves_figure, profile_figure
from algoperf_lightning.scoring import get_benchmark, read_benchmark, read_runs, score_runs, write_official
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.scoring.measure import Measure

TINY = (
    *("criteo1tb_tiny", "digits", "fastmri_tiny", "finewebedu_lm_tiny", "imagenet_resnet_tiny", "imagenet_vit_tiny"),
    *("librispeech_conformer_tiny", "librispeech_deepspeech_tiny", "ogbg_tiny", "wmt_tiny"),
)


def two(root, first, second, workload="digits"):
    """Runs of ``fast`` and ``slow`` on one workload: what each used, and what else differs."""
    for name, (used, changes) in {"fast": first, "slow": second}.items():
        run_on(root / name / "study_0" / workload / "trial_1", workload, used, submission=name, **changes)
    return read_runs([root])


def score(runs, *rest):
    return score_runs(runs, choose_benchmark(runs, *rest))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def words_in(figure):
    from matplotlib.text import Text

    return " ".join(each.get_text() for each in figure.findobj(Text))


# Steps


def test_runs_in_steps_are_scored_by_their_steps(tmp_path):
    board = score(two(tmp_path, (100, {"unit": "steps"}), (250, {"unit": "steps"})))
    assert board.times.tolist() == [[100], [250]]
    assert board.ratios.tolist() == [[1.0], [2.5]]
    assert board.measure == Measure("steps")
    assert board.title == "workloads of the runs, in steps, not AlgoPerf scores"
    assert kinds(board.findings) == ["assumed"]


def test_nothing_in_steps_is_called_a_time(tmp_path, capsys):
    for study in (1, 2, 3):
        for name, used in (("fast", 100), ("slow", 250 + study)):
            run_on(tmp_path / f"r/{name}/study_{study}/digits/trial_1", "digits", used, unit="steps", submission=name)
    run_on(tmp_path / "r/late/study_1/digits/trial_1", "digits", 20_001, unit="steps", submission="late")
    out = tmp_path / "out"
    cli.main(["score", str(tmp_path / "r"), "--output", str(out), "--draws", "5", "--baseline", "fast"])
    page = Page((out / "report.html").read_text())
    report = f"{page.words} {page.data}"
    for shown in (capsys.readouterr().out.replace(str(out), ""), report):
        assert "Steps to target" in shown
        assert "in steps, not AlgoPerf scores" in shown
        assert not re.search(r"second|\d s\b|\btimes? (to|on|over|in)\b", shown, re.IGNORECASE)
    assert "20001 steps, after the budget of 10000" in report
    assert [row["unit"] for row in rows(out / "scores.csv")] == ["steps"] * 3
    assert float(rows(out / "scores.csv")[1]["steps_over_baseline"]) == pytest.approx(2.52)
    assert rows(out / "times.csv")[1] == {"submission": "slow", "digits": "252.0", "unit": "steps"}
    for table in ("cells.csv", "studies.csv"):
        assert "steps" in rows(out / table)[0]
        assert not any("second" in name for name in rows(out / table)[0])


def test_pictures_of_steps_say_so(tmp_path):
    board = score(two(tmp_path, (100, {"unit": "steps"}), (250, {"unit": "steps"})))
    curves, profile = curves_figure(board, board.benchmark.base[0]), words_in(profile_figure(board))
    assert curves.axes[0].get_xlabel() == "training steps"
    assert {"250 steps  slow", "100 steps  fast"} <= {each.get_text() for each in curves.texts}
    assert "budget 10,000 steps" in words_in(curves)
    assert {100, 250} <= {max(line.get_xdata(), default=0) for line in curves.axes[0].get_lines()}
    for shown in (words_in(curves), profile):
        assert not re.search(r"time|second|\d s\b", shown)
    assert "steps to the target" in profile
    assert "in steps, not AlgoPerf scores" in profile


@pytest.mark.parametrize(
    ("version", "ruleset", "budgets"),
    [
        ("0.5", "external", {"wmt": 133_333, "wmt_glu_tanh": 133_333, "fastmri": 36_189}),
        ("0.6", "self-tuning", {"wmt": 180_000, "criteo1tb": 15_999}),
        ("1.0", "external", {"wmt": 120_000, "imagenet_vit": 167_999}),
    ],
)
def test_official_budgets_in_steps_are_the_step_hints(version, ruleset, budgets):
    benchmark = get_benchmark(version, ruleset, "steps")
    found = dict(zip([each.name for each in benchmark.workloads], benchmark.budgets.tolist(), strict=True))
    assert {name: found[name] for name in budgets} == budgets


def test_official_workloads_in_steps_are_no_algoperf_scores(tmp_path):
    board = score(two(tmp_path, (1_000, {"unit": "steps"}), (2_000, {"unit": "steps"}), workload="wmt"))
    assert board.title == "workloads of AlgoPerf 1.0, external ruleset, in steps, not AlgoPerf scores"
    assert kinds(board.findings) == ["assumed", "few studies", "incomplete"]


def test_hardware_does_not_matter_to_steps(tmp_path):
    other = {"environment": {"accelerator": "cuda", "gpus": ["NVIDIA V100"], "ranks": 8}}
    seconds = score(two(tmp_path / "seconds", (1.0, {}), (2.0, other)))
    steps = score(two(tmp_path / "steps", (2, {"unit": "steps"}), (4, {"unit": "steps", **other})))
    assert "mixed hardware" in kinds(seconds.findings)
    assert "mixed hardware" not in kinds(steps.findings)


def test_seconds_and_steps_are_never_one_table(tmp_path):
    message = r"contain both: in seconds: fast on digits; in steps: slow on digits\. Score them separately"
    runs = two(tmp_path, (10.0, {}), (100, {"unit": "steps"}))
    with pytest.raises(BadInputError, match=message):
        choose_benchmark(runs)
    with pytest.raises(BadInputError, match=message):
        score_runs(runs, suite(base=("digits",)))
    official = two(tmp_path / "official", (10.0, {}), (100, {"unit": "steps"}), workload="wmt")
    with pytest.raises(BadInputError, match="in seconds: fast on wmt; in steps: slow on wmt"):
        choose_benchmark(official)


def test_runs_in_steps_that_are_not_scored_do_no_harm(tmp_path):
    run_on(tmp_path / "a/study_0/digits/trial_1", "digits", 100, unit="steps")
    run_on(tmp_path / "a/study_0/wmt/trial_1", "wmt", 100.0)
    assert score(read_runs([tmp_path])).measure.unit == "seconds"


def test_a_benchmark_file_says_what_its_budgets_count(tmp_path):
    runs = two(tmp_path / "runs", (100, {"unit": "steps"}), (250, {"unit": "steps"}))
    path = tmp_path / "mine.yaml"
    text = "workloads:\n  digits: {metric: accuracy, direction: max, target: 0.9, budget: 10000}\n"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"are in seconds, but the runs count steps\. Set `unit: steps` in"):
        score_runs(runs, read_benchmark(path))
    path.write_text("unit: steps\n" + text)
    assert score_runs(runs, read_benchmark(path)).ratios.tolist() == [[1.0], [2.5]]


def test_the_target_before_the_first_step_is_refused(tmp_path):
    own_run(tmp_path / "a/study_0/shapes/trial_1", unit="steps", values=(0.95, 0.95))
    runs = read_runs([tmp_path])
    with pytest.raises(BadInputError, match="reached its target at 0 steps"):
        score(runs)


def test_steps_that_run_backwards_are_damage(tmp_path):
    own_run(tmp_path / "a/study_0/shapes/trial_1", unit="steps", steps=(20, 10))
    with pytest.raises(BadInputError, match=r"trial_1/trial\.json: evaluation 2 has step 10 after step 20\."):
        read_runs([tmp_path])


def test_runs_in_steps_are_not_exported(tmp_path):
    runs = two(tmp_path, (100, {"unit": "steps"}), (250, {"unit": "steps"}))
    with pytest.raises(BadInputError, match=r"fast, digits, study 0, trial 1 counts steps"):
        write_official(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Scales


def test_one_scale_is_scored_as_usual_and_told(tmp_path, capsys):
    slower = {"scale": 2.5}
    runs = two(tmp_path / "runs", (20.0, slower), (30.0, slower))
    board = score(runs)
    assert board.ratios.tolist() == [[1.0], [1.5]]
    assert board.times.tolist() == [[20.0], [30.0]]
    assert board.benchmark.budgets.tolist() == [150.0]
    assert board.title == "workloads of the runs"
    assert kinds(board.findings) == ["assumed", "scaled"]
    cli.main(["score", str(tmp_path / "runs"), "--output", str(tmp_path / "out"), "--draws", "5"])
    for shown in (capsys.readouterr().out, (tmp_path / "out/report.html").read_text()):
        assert "slower than the benchmark" in shown
        assert "digits by 2.5" in shown
    assert rows(tmp_path / "out/times.csv")[0] == {"submission": "fast", "digits": "20.0"}


def test_official_budgets_are_scaled_with_the_runs(tmp_path):
    slower = {"scale": 1.7}
    board = score(two(tmp_path, (20.0, slower), (30.0, slower), workload="wmt"))
    wmt = [each.name for each in board.benchmark.base].index("wmt")
    assert board.benchmark.budgets[wmt] == pytest.approx(1.7 * 16_114)
    assert board.benchmark.budgets.sum() == pytest.approx(265_883 + 0.7 * 16_114)
    assert kinds(board.findings) == ["assumed", "few studies", "incomplete", "scaled"]


@pytest.mark.parametrize(("first", "second", "scales"), [(1.0, 2.5, "1 .fast., 2.5"), (1.7, 1.9, "1.7 .fast., 1.9")])
def test_different_scales_are_refused(tmp_path, capsys, first, second, scales):
    runs = two(tmp_path / "runs", (20.0, {"scale": first}), (30.0, {"scale": second}))
    for ours in (suite(base=("digits",)), choose_benchmark(runs)):
        with pytest.raises(BadInputError, match=rf"must have one scale, but the scales are digits: {scales} .slow."):
            score_runs(runs, ours)
    with pytest.raises(SystemExit):
        cli.main(["score", str(tmp_path / "runs")])
    assert "with --rescale" in capsys.readouterr().err


def test_rescaled_times_are_compared_and_called_estimates(tmp_path, capsys):
    two(tmp_path / "runs", (20.0, {}), (75.0, {"scale": 2.5}))
    out = tmp_path / "out"
    cli.main(["score", str(tmp_path / "runs"), "--rescale", "--output", str(out), "--draws", "5"])
    report = Page((out / "report.html").read_text()).words
    title = "workloads of the runs, in seconds of the benchmark's hardware, estimated"
    found = {row["submission"]: row for row in rows(out / "scores.csv")}
    assert found["slow"]["benchmark"] == title
    assert found["slow"]["unit"] == "rescaled_seconds"
    assert float(found["slow"]["score"]) == pytest.approx((99.5 - 17) / 99)  # of the ratio 1.5
    assert [row["digits"] for row in rows(out / "times.csv")] == ["20.0", "30.0"]
    assert {row["unit"] for row in rows(out / "times.csv")} == {"rescaled_seconds"}
    cell = rows(out / "cells.csv")[1]
    assert (cell["rescaled_seconds"], cell["share_of_budget"]) == ("30.0", "0.5")
    for shown in (" ".join(capsys.readouterr().out.split()), report):
        assert title in shown
        assert "divided by the scales of their machines (2.5)" in shown
        assert "other budget" not in shown


def test_rescaling_leaves_the_measured_seconds_alone(tmp_path):
    runs = two(tmp_path / "runs", (20.0, {}), (75.0, {"scale": 2.5}))
    runs.rescale()
    assert [each.seconds[-1] for each in runs.trials] == [20.0, 75.0]
    assert [each.used[-1] for each in runs.trials] == [20.0, 30.0]
    write_official(runs, tmp_path / "out")
    assert sorted(each.seconds[-1] for each in read_runs([tmp_path / "out"]).trials) == [20.0, 75.0]


def test_rescaled_runs_are_not_for_strict(tmp_path):
    runs = two(tmp_path, (20.0, {"scale": 2.5}), (75.0, {"scale": 2.5}))
    benchmark = choose_benchmark(runs)
    score_runs(runs, benchmark, strict=True)
    runs.rescale()
    with pytest.raises(BadInputError, match="1 fault:\n  rescaled"):
        score_runs(runs, benchmark, strict=True)


def test_rescaling_changes_nothing_where_there_is_no_scale(tmp_path):
    runs = two(tmp_path, (20.0, {}), (30.0, {}))
    runs.rescale()
    assert score(runs).measure == Measure("seconds")


# Tiny runs


@pytest.fixture(scope="module", params=["seconds", "steps"])
def tiny(request, tmp_path_factory):
    """Three studies of two submissions on the tiny suite; ``partial`` has no run on ogbg_tiny."""
    root = tmp_path_factory.mktemp(request.param)
    for workload in TINY:
        for study in (1, 2, 3):
            for name, used in (("whole", 20 + study), ("partial", 41 + study)):
                if (name, workload) != ("partial", "ogbg_tiny"):
                    folder = root / name / f"study_{study}" / workload / "trial_1"
                    run_on(folder, workload, used, unit=request.param, submission=name)
    return root, request.param


def test_the_tiny_suite(tiny):
    root, unit = tiny
    runs = read_runs([root])
    board = score(runs)
    steps = ", in steps" if unit == "steps" else ""
    assert board.title == f"tiny suite{steps}, not AlgoPerf scores"
    assert (board.benchmark.studies, board.benchmark.trials) == (3, 1)
    assert tuple(sorted(each.name for each in board.benchmark.base)) == TINY
    weight = (99.5 - 32) / 99  # of the ratio 43 / 22, which lies between the grid points 31 and 32
    assert board.scores == pytest.approx([0.9 * weight, 1.0])
    assert board.cells["partial", "ogbg_tiny"].reason == "no log"
    assert [(each.kind, each.message) for each in board.findings if each.strict] == [
        ("incomplete", "partial on ogbg_tiny: no log.")
    ]


@pytest.mark.slow
def test_intervals_of_the_tiny_suite_are_shown(tiny, tmp_path, capsys, monkeypatch):
    root, unit = tiny
    monkeypatch.setenv("COLUMNS", "100")
    cli.main(["score", str(root), "--output", str(tmp_path), "--draws", "50"])
    shown = capsys.readouterr().out
    assert re.search(r"partial +0\.\d{4} +0\.\d{3}–0\.\d{3} +2 +9 of 10", shown)
    assert "not AlgoPerf scores" in shown
    report = Page((tmp_path / "report.html").read_text())
    _, rank, score, interval, *_ = report.row("partial")
    assert rank == "2"
    low, high = map(float, interval.split("–"))
    assert low < float(score) < high
    assert report.words.count("not AlgoPerf scores") >= 2
    assert all("not AlgoPerf" in row["benchmark"] for row in rows(tmp_path / "scores.csv"))
    assert all(unit in row["unit"] for row in rows(tmp_path / "scores.csv"))


def test_the_tiny_suite_has_its_own_numbers(tiny, tmp_path):
    root, unit = tiny
    run_on(tmp_path / "x/study_1/digits/trial_1", "digits", 22, unit=unit, submission="x", validation_target=0.5)
    runs = read_runs([root, tmp_path])
    findings = score(runs).findings
    (other,) = [each for each in findings if each.kind == "other validation target"]
    assert "1 trial of x on digits: run with 0.5, and scored with 0.968" in other.message


def test_part_of_the_tiny_suite_is_not_the_suite(tmp_path):
    board = score(two(tmp_path, (10.0, {}), (20.0, {}), workload="wmt_tiny"))
    assert board.title == "workloads of the runs, with tiny runs, not AlgoPerf scores"
    assert "tiny data" not in kinds(board.findings)


def test_part_of_the_small_suite_is_not_the_suite():
    board = score_runs(runs_of({"p": {"wmt_small": 1.0}, "q": {"wmt_small": 2.0}}), suite(base=("wmt_small",)))
    assert board.title == "a suite, with small runs, not AlgoPerf scores"


def test_official_workloads_on_tiny_data_are_no_algoperf_scores(tmp_path):
    board = score(two(tmp_path, (10.0, {"tiny_data": True}), (20.0, {}), workload="wmt"))
    assert board.title == "workloads of AlgoPerf 1.0, external ruleset, with tiny runs, not AlgoPerf scores"
    (finding,) = [each for each in board.findings if each.kind == "tiny data"]
    assert finding.strict
    assert "fast on wmt" in finding.message
    plain = dataclasses.replace(board, table=score(two(tmp_path / "b", (1.0, {}), (2.0, {}), workload="wmt")).table)
    assert plain.title == "AlgoPerf 1.0, external ruleset"
