"""Sections through the templates: what is escaped, what is sorted and coloured by what, what charts are drawn from."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from markupsafe import Markup
from reading import Page
from scoring_cases import runs_of, suite

from algoperf_lightning.report import (
    Axis,
    Cell,
    Chart,
    Column,
    Group,
    Heat,
    Rule,
    Section,
    Series,
    Table,
    output,
    write_page,
)
from algoperf_lightning.report.looks import styles
from algoperf_lightning.report.pairs import pairs
from algoperf_lightning.report.scores import profiles
from algoperf_lightning.scoring import bootstrap, score_runs
from algoperf_lightning.scoring.mathematics import performance_profile

EVIL = "</script><script>evil()</script>\"' onclick=evil() <img src=x onerror=evil()>"


@pytest.fixture
def board():
    return score_runs(runs_of({EVIL: {"a": 10.0, "b": 7.0}, "y": {"a": 20.0, "b": 5.0}}), suite())


def written(sections, board, tmp_path):
    write_page(EVIL, [EVIL], sections, styles(board), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


def test_text_from_records_is_never_markup(board, tmp_path):
    axis = Axis(EVIL, names=[EVIL])
    chart = Chart(EVIL, axis, axis, [Series([0], [0], EVIL, name=EVIL, notes=[EVIL])], [Rule(EVIL, x=0)], text=EVIL)
    table = Table([Column(EVIL, note=EVIL)], [[Cell(EVIL, EVIL, note=EVIL)]], EVIL, [EVIL], [EVIL])
    groups = [Group(EVIL, [replace(chart)], {EVIL: [replace(chart)]})]
    text = written([Section(EVIL, [EVIL], [chart], [table], [EVIL], groups=groups)], board, tmp_path)
    assert "<script>evil" not in text
    assert "<img src=x" not in text
    assert "' onclick" not in text.partition('<script id="report-data"')[0]
    page = Page(text)
    assert page.tables[0] == [[EVIL], [EVIL]]
    assert page.data["charts"][0]["series"][0]["notes"] == [EVIL]
    assert page.data["submissions"][0]["name"] == EVIL


def test_emphasis_is_for_who_writes_a_section(board, tmp_path):
    text = written([Section("x", [Markup("<em>{}</em>").format("<b>")])], board, tmp_path)
    assert "<em>&lt;b&gt;</em>" in text


def test_fields_are_sorted_and_coloured_by_their_values(board, tmp_path):
    columns = ["name", Column("ratio", heat=Heat(0.25, 4.0, middle=1.0, log=True))]
    rows = [["a", 0.5], ["b", 2.0], ["c", math.inf], ["d", math.nan], ["e", Cell("4x", 16.0, tone="out")]]
    text = written([Section("x", tables=[Table(columns, rows)])], board, tmp_path)
    assert [row[1] for row in Page(text).tables[0][1:]] == ["0.5", "2", "missed", "–", "4x"]
    fields = [line.partition("</td><td")[2] for line in text.splitlines() if line.startswith("<tr><td>")]
    assert ['class="cold"' in field for field in fields] == [True, False, False, False, False]
    assert 'class="heat" data-value="2.0" style="--heat: 0.50"' in fields[1]
    assert 'data-value="Infinity"' in fields[2]
    assert 'data-value=""' in fields[3]
    assert 'class="out heat" data-value="16.0" style="--heat: 1.00"' in fields[4]


def test_charts_are_drawn_from_the_values_of_the_board(tmp_path):
    times = {f"s{k}": {w: 10.0 + (k * 7 + j * 3) % 11 for j, w in enumerate("abcde")} for k in range(6)}
    times["s5"]["a"] = math.inf
    board = score_runs(runs_of(times), suite(base=tuple("abcde")))
    page = Page(written([profiles(board, bootstrap(board, 2))], board, tmp_path))
    taus = np.linspace(1.0, 3.999, 97)
    expected = performance_profile(board.ratios, taus)
    for line in page.data["charts"][0]["series"]:
        x, y = np.array(line["x"]), np.array(line["y"])
        found = y[np.searchsorted(x, taus * (1 + 1e-5), side="right") - 1]  # points have six digits
        assert found == pytest.approx(expected[board.submissions.index(line["submission"])], abs=1e-5)


def test_pairs_without_a_ratio_have_no_empty_chart():
    found = runs_of({name: {"a": math.inf, "b": math.inf} for name in ("x", "y")})
    board = score_runs(found, suite(base=("a", "b")))
    section = pairs(board, bootstrap(board, 2))
    assert not section.charts
    assert "Not drawn, because of too many missed targets: y." in section.text


def test_gaps_and_infinities_are_gaps_in_charts(board, tmp_path):
    chart = Chart("t", Axis("x"), Axis("y"), [Series([1.0, 2.0, 3.0], [math.nan, math.inf, 0.1 + 0.2])])
    assert Page(written([Section("x", charts=[chart])], board, tmp_path)).data["charts"][0]["series"][0]["y"] == [
        None,
        None,
        0.3,
    ]


@pytest.mark.parametrize("changes", [{"low": [0.0]}, {"y": [1.0]}, {"notes": ["a"]}, {"low": [1.0, 2.0]}])
def test_a_series_whose_parts_disagree_is_refused(changes):
    with pytest.raises(ValueError, match="A series of 2 points"):
        Series(**{"x": [1.0, 2.0], "y": [1.0, 2.0], **changes})


def test_a_new_section_brings_its_files_and_pictures(board, tmp_path, monkeypatch):
    def section(board, uncertainty):
        bars = {"low": [0.5, 1.5], "high": [1.5, 2.5]}
        points = {"x": [1.0, 10.0], "y": [1.0, 2.0], "submission": "y", **bars}
        lines = [Series(**points), Series(**points, line="none"), Series(**points, line="step")]
        chart = Chart("t", Axis("x", log=True), Axis("y", names=["p", "q", "r"]), lines, picture="mine")
        return Section("Mine", charts=[chart], files={"mine.csv": [("a", "b"), (1, EVIL)]})

    monkeypatch.setattr(output, "SECTIONS", (section, lambda board, uncertainty: None))
    path = output.write_output(board, bootstrap(board, 2), tmp_path / "out")
    assert Page(path.read_text()).row  # it parses
    with (path.parent / "mine.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["1", EVIL]]
    assert all((path.parent / f"mine{ending}").stat().st_size > 1000 for ending in (".png", ".svg", ".pdf"))
