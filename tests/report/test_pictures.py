"""Pictures of odd sets of runs; what they look like was looked at."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.text import Text
from scoring_cases import runs_of, suite

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.instruments.pictures import layers
from algoperf_lightning.report import Axis, Chart, Series, curves_figure, draw, profile_figure
from algoperf_lightning.report.looks import Style, save, settings, styles
from algoperf_lightning.scoring import score_runs
from algoperf_lightning.scoring.mathematics import performance_profile

inf = math.inf


def legend(figure):
    """The lines of a picture's legend, without its heading."""
    return [text.get_text() for text in figure.texts[: len(figure.artists)]]


def drawn(figure, name):
    """All points that the lines of a colour and a marker go through: those of one submission."""
    (axes,) = figure.axes
    place = next(k for k, text in enumerate(legend(figure)) if text.endswith(name))
    colour = figure.artists[place].get_color()
    own = [line for line in axes.get_lines() if line.get_color() == colour and line.get_label() == "_piece"]
    return [tuple(point) for line in own for point in line.get_xydata().tolist()]


def at(figure, name, tau):
    """The value of a submission's line just right of a factor."""
    points = drawn(figure, name)
    pieces = itertools.pairwise(points)
    return next(y for (x, y), (x2, y2) in pieces if y == y2 and x <= tau < x2)


@pytest.mark.parametrize("number", [2, 6])
def test_profiles_are_drawn_at_their_values(number):
    times = {f"s{k}": {"a": 10.0 + (k % 3) * 2, "b": 20.0 + k, "c": inf if k == 1 else 5.0} for k in range(number)}
    board = score_runs(runs_of(times), suite(base=("a", "b", "c")))
    figure = profile_figure(board)
    taus = np.linspace(1.0, 3.99, 157)
    expected = performance_profile(board.ratios, taus)
    for row, name in enumerate(board.submissions):
        assert [at(figure, name, tau) for tau in taus] == expected[row].tolist(), name


def test_the_legend_of_profiles_is_in_the_order_of_the_scores():
    board = score_runs(runs_of({"x": {"a": 10.0}, "y": {"a": 11.0}, "z": {"a": inf}}), suite(base=("a",)))
    assert legend(profile_figure(board)) == [
        f"{board.scores[row]:.4f}  {board.submissions[row]}" for row in board.order
    ]


def test_lines_that_coincide_are_each_seen():
    """Each of three equal lines is drawn in the gaps of the others, where nothing else is."""
    board = score_runs(runs_of({name: {"a": 10.0} for name in "xyz"}), suite(base=("a",)))
    (axes,) = profile_figure(board).axes
    seen = []
    for line in axes.get_lines():
        if line.get_label() == "_piece" and len(set(line.get_ydata())) == 1:
            offset, (on, off) = line._unscaled_dash_pattern
            seen += [(line.get_color(), int(step)) for step in range(9) if (step + 0.5 + offset) % (on + off) < on]
    assert len({colour for colour, _ in seen}) == 3
    assert sorted(step for _, step in seen) == list(range(9))


def test_no_two_of_many_submissions_look_the_same():
    board = score_runs(runs_of({f"s{k}": {"a": 10.0 + k} for k in range(28)}), suite(base=("a",)))
    assert len(set(styles(board).values())) == 28


@pytest.mark.parametrize("number", [1, 4, 21])
def test_profiles_of_many_submissions_fit_their_page(number):
    names = [f"{'a_long_name' if k else 'the_longest_name_of_all'}_{k}" for k in range(number)]
    board = score_runs(
        runs_of({name: {"a": 10.0 + k} for k, name in enumerate(names)}), suite(base=tuple("abcdefghij"))
    )
    figure = profile_figure(board)
    figure.canvas.draw()
    page = figure.bbox
    for text in figure.texts:
        box = text.get_window_extent()
        assert figure.axes[0].bbox.x1 < box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
    tops = [text.get_window_extent().y1 for text in figure.texts[:-1]]
    assert all(above - below > 10 for above, below in itertools.pairwise(tops))
    assert figure.axes[0].get_position().width > 0.5


@pytest.mark.parametrize("title", ["short", "a title of many words, " * 20, "W" * 200], ids=["short", "long", "word"])
def test_a_long_title_fits_its_page(title):
    chart = Chart(title, Axis("x"), Axis("y"), [Series([1.0, 2.0], [3.0, 4.0], submission="s")], values={"s": "1 s"})
    rows = [{"step": step, "weight_norms": {"layer": 1.0 + step}} for step in range(3)]
    for figure in (draw(chart, {"s": Style("#0072b2")}), layers({title: rows})):
        with settings():
            figure.canvas.draw()
            boxes = [each.get_window_extent() for each in figure.findobj(Text) if each.get_text()[:5] == title[:5]]
        (box,) = boxes
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.axes[0].bbox.y1 < box.y0 < box.y1 <= figure.bbox.y1


def test_a_highlighted_submission_is_in_colour_and_the_others_in_grey():
    board = score_runs(runs_of({f"s{k}": {"a": 10.0 + k} for k in range(5)}), suite(base=("a",)))
    for figure in (profile_figure(board, ["s3"]), curves_figure(board, board.benchmark.base[0], ["s3"])):
        texts = legend(figure)
        assert len(texts) == 2
        assert texts[0].endswith("s3")
        assert texts[1] == "4 others"
    looks = styles(board, ["s3"])
    assert len({looks[name].drawn for name in ("s0", "s1", "s2", "s4")}) == 1
    assert looks["s3"].drawn != looks["s0"].drawn
    with pytest.raises(BadInputError, match=r"Unknown submission to highlight 's33'\. Did you mean 's3'"):
        profile_figure(board, ["s33"])


@pytest.mark.parametrize(("used", "budget_drawn"), [(10.0, False), (990.0, True)])
def test_curves_end_where_the_last_curve_ends(used, budget_drawn):
    board = score_runs(runs_of({"x": {"a": used}, "y": {"a": used / 2}}), suite(base=("a",)))
    (axes,) = curves_figure(board, board.benchmark.base[0]).axes
    assert axes.get_xlim()[1] == pytest.approx(1.03 * used)
    assert ("budget" in [text.get_text() for text in axes.texts]) is budget_drawn
    assert "budget 1,000 s" in axes.get_title(loc="left")


@pytest.mark.parametrize("direction", ["min", "max"])
def test_pictures_of_odd_runs(tmp_path, direction):
    import dataclasses

    benchmark = suite(base=("a", "b"))
    base = tuple(dataclasses.replace(each, direction=direction) for each in benchmark.base)
    benchmark = dataclasses.replace(benchmark, base=base)
    board = score_runs(runs_of({"missed everywhere": {"a": inf}, "n": {"a": inf, "b": 5.0}}), benchmark)
    paths = [tmp_path / name for name in ("profile.png", "profile.svg", "profile.pdf", "a.png", "b.pdf")]
    save(profile_figure(board), *paths[:3])
    for workload, path in zip(benchmark.base, paths[3:], strict=True):
        figure = curves_figure(board, workload)
        low, high = figure.axes[0].get_ylim()
        assert low < workload.validation_target < high
        save(figure, path)
    assert all(path.stat().st_size > 1000 for path in paths)


def test_the_legend_of_curves_is_sorted_by_time_and_names_everyone():
    board = score_runs(
        runs_of({"slow": {"a": 30.0}, "no": {"b": 1.0}, "fast": {"a": 10.0}, "never": {"a": inf}}), suite()
    )
    assert legend(curves_figure(board, board.benchmark.base[0])) == [
        "10 s  fast",
        "30 s  slow",
        "missed  never",
        "no log  no",
    ]


@pytest.mark.parametrize("factor", [1.5, 30.0, 1e6])
def test_numbers_on_an_axis_of_factors_are_written_as_they_are(factor):
    chart = Chart("t", Axis("x"), Axis("y", log=True), [Series([1.0, 2.0], [70.0, 70.0 * factor])])
    figure = draw(chart, {})
    figure.canvas.draw()
    (low, high), texts = figure.axes[0].get_ylim(), figure.axes[0].get_yticklabels()
    seen = [text.get_text() for text in texts if low <= text.get_position()[1] <= high]
    assert len(seen) >= 3
    assert all(float(text.replace(",", "")) > 0 for text in seen)


def test_an_emoji_in_a_name_is_no_warning(tmp_path, recwarn):
    board = score_runs(runs_of({"fast \N{ROCKET}": {"a": 10.0}, "slow": {"a": 20.0}}), suite(base=("a",)))
    save(profile_figure(board), tmp_path / "profile.png")
    assert not recwarn.list


def test_a_dollar_in_a_name_is_a_dollar(tmp_path):
    board = score_runs(runs_of({"$x": {"a": 10.0}, "y_$^": {"a": 11.0}}), suite(base=("a",)))
    figure = profile_figure(board)
    save(figure, tmp_path / "profile.svg", tmp_path / "profile.png")
    assert [text.partition("  ")[2] for text in legend(figure)] == ["$x", "y_$^"]
