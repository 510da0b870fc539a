"""The report of a study of final performance: what it says, and that nothing it lacks makes it fail."""

import csv
import re

import numpy as np
import pytest

from algoperf_lightning.report.figures import draw
from algoperf_lightning.report.final_performance import write_study
from algoperf_lightning.report.parts import Axis, Chart, Series
from algoperf_lightning.scoring.final_performance import DEFAULT, FinalRun, FinalRuns, settings_of
from algoperf_lightning.scoring.final_ranks import in_words, trying_against_tuning

BUDGETS = {"one-shot": 0, "small": 3, "medium": 5}


def study(problems=("loss", "accuracy"), optimizers=3, points=3, schedules=("constant", "cosine"), more=()):
    generator = np.random.default_rng(0)
    runs = []
    for problem in problems:
        for number in range(optimizers):
            for schedule in schedules:
                for point in (DEFAULT, *range(points)):
                    for seed in (1, 2, 3):
                        value = generator.uniform(0.5, 0.9)
                        runs.append(FinalRun(problem, f"opt{number}", schedule, point, seed, value, value))
    return FinalRuns([*runs, *more], {"loss": "min", "accuracy": "max"}, BUDGETS, tuning_seed=1)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_page_has_every_display_and_its_files_hold_the_numbers(tmp_path):
    runs = study()
    write_study("A study", ["What it is."], runs, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    shown = [
        "Trying or tuning",
        "Ranks",
        "Final performance",
        "Switching optimizers",
        "Gains over budgets and schedules",
    ]
    assert [heading for heading in headings if heading in shown] == shown
    for picture in ("trying_or_tuning", "ranks", "parallel_axes", "gains"):
        assert (tmp_path / f"{picture}.png").stat().st_size > 1000
    rows = read(tmp_path / "final_performance.csv")
    assert len(rows) == 2 * 3 * 4  # problems, optimizers, settings: no point of medium's last two was run
    (row,) = [
        each
        for each in rows
        if (each["problem"], each["optimizer"], each["budget"], each["schedule"]) == ("loss", "opt1", "small", "cosine")
    ]
    values = runs.performance("loss", "opt1", "small", "cosine")
    assert float(row["mean"]) == pytest.approx(values.mean(), rel=1e-6)
    assert float(row["worst"]) == pytest.approx(values.max(), rel=1e-6)
    matrix = read(tmp_path / "switch_accuracy.csv")
    gain = 100 * (
        runs.mean("accuracy", "opt2", "small", "constant") - runs.mean("accuracy", "opt0", "one-shot", "constant")
    )
    assert float(matrix[0]["opt2"]) == pytest.approx(gain)
    assert matrix[-1]["from"] == "median"


@pytest.mark.parametrize(
    "runs",
    [
        study(points=0, schedules=("constant",)),
        study(problems=("loss",), optimizers=1, schedules=("constant",)),
        study(points=0, problems=("loss",), more=[FinalRun("accuracy", "opt0", "trapezoid", DEFAULT, 1, 0.5, 0.5)]),
    ],
    ids=["defaults alone", "one optimizer on one problem", "a problem with another schedule alone"],
)
@pytest.mark.filterwarnings("error")
def test_a_study_that_has_only_begun_has_a_report_too(tmp_path, runs, monkeypatch):
    monkeypatch.setattr("algoperf_lightning.report.final_performance.save", lambda *args: None)
    write_study("A study", [], runs, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Final performance" in page
    assert "nan [" not in page
    assert "Mean rank over 1 problem," in page or runs.problems == ["loss", "accuracy"]
    assert not (tmp_path / "trying_or_tuning.csv").exists()


@pytest.mark.parametrize(("names", "angle"), [(["small cosine"] * 3, 0), (["one-shot cosine-restarts"] * 16, 60)])
def test_long_names_along_an_axis_are_slanted_and_inside_the_picture(names, angle):
    points = range(len(names))
    figure = draw(Chart("Gains", Axis("", names=names), Axis("improvement in %"), [Series(points, points)]), {})
    for label in figure.axes[0].get_xticklabels():
        box = label.get_window_extent()
        assert label.get_rotation() == angle
        assert min(box.x0, box.y0) >= 0


def test_settings_that_were_run_begin_with_the_smallest_budget():
    assert settings_of(study()) == [
        ("one-shot", "constant"),
        ("one-shot", "cosine"),
        ("small", "constant"),
        ("small", "cosine"),
    ]


def test_a_gain_whose_interval_holds_zero_is_not_called_better():
    trying = trying_against_tuning(study(optimizers=4), "small", "constant")
    low, high = trying.gain.low[-1], trying.gain.high[-1]
    assert low < 0 < high
    assert "not distinguishable from tuning one with 3 runs" in in_words(trying, len(trying.sizes) - 1)
