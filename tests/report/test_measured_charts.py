"""Charts of measurements in the report, against the numbers behind them."""

import numpy as np
import pytest

from algoperf_lightning.report.measured import Rows, charts

generator = np.random.default_rng(0)


def charts_of(**values):
    rows = [{"step": 5, **values}]
    group = charts("w", [Rows("s", "trial 1", rows)])
    by_title = {"": group.charts, **group.folded}
    return {f"{title}: {chart.title}".removeprefix(": "): chart for title, some in by_title.items() for chart in some}


def test_the_main_quantities_are_shown_and_the_others_collapsed_by_group():
    main = {"loss": 1.0, "gradient_norm": 1.0, "update_ratio": 1e-3, "alpha": 0.1}
    by_layer = {"update_ratios": {"a": 1.0}, "dead_units": {"b": 0.5}, "class_accuracies": {"0": 0.5}}
    found = charts_of(**main, cabs=8.0, learning_rate=0.1, **by_layer)
    assert list(found) == [
        "Loss of the batch",
        "Step length (−1: start, 0: minimum)",
        "Update / weights (rms)",
        "Gradient norm",
        "Run: Learning rate",
        "Gradients: Batch size suggested by CABS",
        "By layer: Update / weights (rms)",
        "By module: Dead units",
        "By class: Share correct",
    ]


def test_a_histogram_is_its_median_and_the_band_of_its_middle():
    values = generator.normal(0.3, 1.0, 100_000)
    counts, _ = np.histogram(values, 100, (-4, 4))
    (line,) = charts_of(gradient_histogram=counts.tolist())["Gradients: Gradients of groups"].series
    assert line.x == [5]
    assert [*line.low, *line.y, *line.high] == pytest.approx(np.quantile(values, [0.05, 0.5, 0.95]), abs=0.05)


def test_a_histogram_of_two_axes_is_the_size_of_gradients_by_weight():
    weights = generator.uniform(-2.0, 2.0, 100_000)
    gradients = generator.normal(0.0, 1.0, 100_000) * (1 + weights**2) / 20
    table, _, edges = np.histogram2d(gradients, weights, (40, 50), ((-1.0, 1.0), (-2.0, 2.0)))
    limits = {"joint_histogram_gradient_limit": 1.0, "joint_histogram_parameter_limit": 2.0}
    found = charts_of(joint_histogram=table.tolist(), **limits)
    (line,) = found["Gradients: Gradients and weights, last step"].series
    first = gradients[weights < edges[1]]
    assert line.x[0] == pytest.approx(-1.96)
    assert line.y[0] == pytest.approx(np.sqrt(np.mean(first**2)), rel=0.05)


def test_numbers_by_layer_are_their_median_and_the_band_of_all():
    found = charts_of(update_ratios={"a": 1e-3, "b": 1e-2, "c": 0.0, "d": 1e-4}, hessian_traces={"a": -1.0, "b": 3.0})
    (line,) = found["By layer: Update / weights (rms)"].series
    assert (line.low, line.y, line.high) == ([1e-4], [1e-3], [1e-2])
    (line,) = found["By layer: Trace of the Hessian"].series
    assert (line.low, line.y, line.high) == ([-1.0], [1.0], [3.0])
    assert list(charts_of(class_accuracies={"0": 0.5})) == ["By class: Share correct"]


def test_a_layer_that_is_nearly_0_leaves_room_for_the_others():
    found = charts_of(gradient_norms={"a": 1e-3, "b": 1.0, "c": 1e-40})
    assert found["By layer: Gradient norm"].y.low == pytest.approx(1e-12)
