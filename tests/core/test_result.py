"""What the result of a trial says: times to its targets, its best metric, and how it is shown."""

import dataclasses
import math
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from result_cases import evaluation, same, trial

from algoperf_lightning.records.summary import result_rows
from algoperf_lightning.result import Status


@pytest.mark.parametrize(
    ("direction", "target", "values", "seconds", "step"),
    [
        pytest.param("max", 0.9, [0.1, 0.95, 0.99], 2.0, 20, id="first-that-meets-it"),
        pytest.param("max", 0.9, [0.1, 0.9], 2.0, 20, id="inclusive-max"),
        pytest.param("min", 0.3, [0.5, 0.3], 2.0, 20, id="inclusive-min"),
        pytest.param("min", 0.3, [0.2, 0.5], 1.0, 10, id="first-also-if-worse-follows"),
        pytest.param("max", 0.9, [math.nan, 0.95], 2.0, 20, id="nan-is-passed-over-max"),
        pytest.param("min", 0.3, [math.nan, 0.2], 2.0, 20, id="nan-is-passed-over-min"),
        pytest.param("max", 0.9, [0.1, 0.2], math.inf, None, id="never-max"),
        pytest.param("min", 0.3, [0.4, math.inf], math.inf, None, id="never-min"),
        pytest.param("max", 0.9, [], math.inf, None, id="no-evaluation"),
    ],
)
def test_time_and_step_to_target(direction, target, values, seconds, step):
    evaluations = [evaluation(10 * (i + 1), value) for i, value in enumerate(values)]
    result = trial(*evaluations, direction=direction, validation_target=target)
    assert result.time_to_target == seconds
    assert result.step_to_target == step


@pytest.mark.parametrize(
    ("direction", "values", "best"),
    [
        pytest.param("max", [0.1, 0.7, 0.3], 0.7, id="highest"),
        pytest.param("min", [0.5, 0.2, 0.3], 0.2, id="lowest"),
        pytest.param("max", [math.nan, -5.0, math.nan], -5.0, id="any-number-beats-nan-max"),
        pytest.param("min", [math.nan, 5.0, math.nan], 5.0, id="any-number-beats-nan-min"),
        pytest.param("max", [math.nan, math.nan], math.nan, id="only-nan"),
        pytest.param("max", [], math.nan, id="no-evaluation"),
    ],
)
def test_best(direction, values, best):
    result = trial(*(evaluation(10 * (i + 1), value) for i, value in enumerate(values)), direction=direction)
    assert same(result.best, best)


def test_the_test_target_is_looked_for_in_the_test_split():
    first, second = evaluation(10, validation=0.95, test=0.7), evaluation(20, validation=0.5, test=0.8)
    result = trial(first, second)
    assert result.evaluation_at_target("validation") is first
    assert result.evaluation_at_target("test") is second


def test_without_a_test_target_none_is_met():
    result = trial(evaluation(10, 1.0, test=1.0), test_target=None)
    assert result.target("test") is None
    assert result.evaluation_at_target("test") is None


def test_a_metric_that_was_not_reported_meets_nothing():
    result = trial(evaluation(10, 1.0, metrics={"validation/loss": 0.1}))
    assert result.time_to_target == math.inf
    assert math.isnan(result.best)


@pytest.mark.parametrize(
    ("status", "final"),
    [
        ("running", False),
        ("reached", True),
        ("budget_spent", True),
        ("stopped", True),
        ("preempted", False),
        ("failed", False),
    ],
)
def test_which_ends_are_final(status, final):
    assert Status(status).final is final


def test_a_result_says_in_a_line_what_happened():
    reached = trial(evaluation(1, 0.3), evaluation(250, 0.95), steps=250, submission_seconds=25.0)
    assert repr(reached) == (
        "TrialResult(adamw on shapes_large: target reached in 25.00 s, step 250; best accuracy 0.95 (target ≥ 0.9); "
        "25.0 of 77 s, 2 evaluations)"
    )
    counted = dataclasses.replace(reached, unit="steps", budget=500)
    assert "target reached at step 250, in 25.00 s;" in repr(counted)
    assert "250 of 500 steps" in repr(counted)
    missed = trial(evaluation(1, 0.3), status=Status.BUDGET_SPENT)
    assert "budget spent, target missed; best accuracy 0.3" in repr(missed)
    assert "no evaluation" in repr(trial())


def test_a_result_in_html_cannot_break_the_page():
    page = trial(evaluation(1, 0.3), submission="<b>&", message="[red]a <script>")._repr_html_()
    assert "&lt;b&gt;&amp;" in page
    assert "a &lt;script&gt;" in page
    assert "<script>" not in page
    ElementTree.fromstring(page)


def test_columns_are_of_one_length_and_hold_every_metric():
    columns = trial(evaluation(1, 0.3), evaluation(2, 0.4, metrics={"validation/accuracy": 0.4})).columns()
    assert {len(values) for values in columns.values()} == {2}
    assert columns["validation/accuracy"] == [0.3, 0.4]
    assert columns["submission_seconds"] == [0.1, 0.2]
    assert math.isnan(columns["test/accuracy"][1])
    assert trial().columns() == {}


def test_a_frame_needs_pandas_and_says_so(monkeypatch):
    result = trial(evaluation(1, 0.3), evaluation(2, 0.4))
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda columns: ("frame", columns)))
    assert result.to_frame() == ("frame", result.columns())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_frame\(\) needs pandas.*pip install pandas.*columns\(\)"):
        result.to_frame()


@pytest.mark.parametrize("unit", ["seconds", "steps"])
def test_a_plot_shows_the_metric_over_what_was_used(unit):
    result = trial(evaluation(10, 0.3), evaluation(20, 0.95), unit=unit, budget=100.0, steps=20, submission_seconds=2.0)
    axes = result.plot()
    line = axes.get_lines()[0]
    used = [1.0, 2.0] if unit == "seconds" else [10, 20]
    assert line.get_xdata().tolist() == used
    assert line.get_ydata().tolist() == [0.3, 0.95]
    assert axes.get_xlim()[1] == pytest.approx(1.03 * used[-1])
    assert unit in axes.get_xlabel()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["adamw", "target ≥ 0.9", "reached: 2 s, step 20"]
    assert trial().plot(axes) is axes  # without evaluations, and where it is told to
    plt.close("all")


@pytest.mark.parametrize(
    ("steps", "values", "resolution"),
    [((1, 50), (0.3, 0.95), 4.9), ((40, 50), (0.95, 0.95), 4.0), ((40, 50), (0.3, 0.4), math.nan)],
)
def test_how_exactly_the_time_is_known(steps, values, resolution):
    result = trial(*map(evaluation, steps, values))
    assert result.resolution == pytest.approx(resolution, nan_ok=True)
    told = dict(result_rows(result)).get("resolution", "")
    assert bool(told) == math.isfinite(resolution)
    assert ("within the first evaluations" in told) == bool(told)
    later = trial(*(evaluation(step, 0.3) for step in range(10, 100, 10)), evaluation(100, 0.95))
    assert dict(result_rows(later))["resolution"] == "the previous evaluation was 1 s earlier"


def test_what_the_budget_counts_comes_first():
    reached = trial(evaluation(1, 0.3), evaluation(250, 0.95), steps=250, submission_seconds=25.0)
    assert dict(result_rows(reached))["time to target"] == "25.00 s, step 250"
    counted = dict(result_rows(dataclasses.replace(reached, unit="steps", budget=500)))
    assert counted["steps to target"] == "250, in 25.00 s"
    assert "time to target" not in counted
