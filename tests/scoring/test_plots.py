"""Pictures of odd sets of runs; what they look like was looked at."""

import math

import numpy as np
import pytest
from scoring_cases import runs_of, suite

from algoperf_lightning.scoring import score_runs
from algoperf_lightning.scoring.plots import curves_figure, profile_figure, save, style

inf = math.inf


def drawn(figure):
    """The lines with a name, by name."""
    (axes,) = figure.axes
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_profiles_step_at_the_ratios_and_end_at_the_share_trained():
    board = score_runs(
        runs_of({"x": {"a": 10.0, "b": 30.0}, "y": {"a": 25.0, "b": 20.0}, "z": {"a": inf, "b": 81.0}}), suite()
    )
    lines = drawn(profile_figure(board))
    assert list(lines) == [f"{board.scores[row]:.4f}  {board.submissions[row]}" for row in board.order]
    x, y = lines["0.9167  x"].get_data()
    assert x.tolist() == [1.0, 1.0, 1.5, 4.0]
    assert y.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert np.ptp(lines["0.0000  z"].get_ydata()) == 0


def test_no_two_of_many_lines_look_the_same():
    assert len({style(place) for place in range(28)}) == 28


@pytest.mark.parametrize("number", [1, 4, 21])
def test_profiles_of_many_submissions_stay_readable(number):
    names = [f"{'a_long_name' if k else 'the_longest_name_of_all'}_{k}" for k in range(number)]
    board = score_runs(
        runs_of({name: {"a": 10.0 + k} for k, name in enumerate(names)}), suite(base=tuple("abcdefghij"))
    )
    figure = profile_figure(board)
    lines = list(drawn(figure).values())
    ends = [line.get_ydata()[-1] for line in lines]
    assert len(set(ends)) == number
    assert max(ends) - min(ends) < 0.05  # half a workload: nobody is taken for one who trained fewer
    figure.canvas.draw()
    page = figure.bbox
    legend = figure.axes[0].get_legend().get_window_extent()
    assert page.x0 <= legend.x0
    assert legend.x1 <= page.x1
    assert page.y0 <= legend.y0
    assert figure.axes[0].get_position().width > 0.5


@pytest.mark.parametrize("direction", ["min", "max"])
def test_pictures_of_odd_runs(tmp_path, direction):
    import dataclasses

    benchmark = suite(base=("a", "b"))
    base = tuple(dataclasses.replace(each, direction=direction) for each in benchmark.base)
    benchmark = dataclasses.replace(benchmark, base=base)
    board = score_runs(runs_of({"missed everywhere": {"a": inf}, "n": {"a": inf, "b": 5.0}}), benchmark)
    paths = [tmp_path / name for name in ("profile.png", "profile.svg", "a.png", "b.png")]
    save(profile_figure(board), *paths[:2])
    for workload, path in zip(benchmark.base, paths[2:], strict=True):
        figure = curves_figure(board, workload)
        low, high = figure.axes[0].get_ylim()
        assert low < workload.validation_target < high
        assert figure.axes[0].get_xlim()[1] > 1000
        save(figure, path)
    assert all(path.stat().st_size > 1000 for path in paths)


def test_the_legend_of_curves_is_sorted_by_time_and_names_everyone():
    board = score_runs(
        runs_of({"slow": {"a": 30.0}, "no": {"b": 1.0}, "fast": {"a": 10.0}, "never": {"a": inf}}), suite()
    )
    (axes,) = curves_figure(board, board.benchmark.base[0]).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "10 s  fast",
        "30 s  slow",
        "missed  never",
        "no log  no",
    ]
