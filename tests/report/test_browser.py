"""The page in a browser: it opens, is legible at any width, and does what its buttons say."""

import pytest
from browser import OVERFLOWING, OVERLAPPING, open_browser, resize, show
from scoring_cases import runs_of, suite

from algoperf_lightning.report import Axis, Chart, Group, Section, Series, write_page
from algoperf_lightning.report.introduction import introduction
from algoperf_lightning.report.looks import styles
from algoperf_lightning.report.sections import SECTIONS
from algoperf_lightning.scoring import bootstrap, score_runs

OTHER_WINDOWS = [(400, True), (800, False), (800, True), (1280, False)]
EVIL = "<img src=x onerror=evil()>"
WORKLOADS = ("mnist", "librispeech_conformer_layernorm", "wmt_glu_tanh", "</script><script>evil()</script>")


def board_of_many():
    names = [f"submission_{k}_of_a_long_name" for k in range(21)] + ["baseline", EVIL, "missed_everything"]
    times = {
        name: {workload: [100.0 + 13 * ((3 * k + 5 * j) % 17) + j for j in range(3)] for workload in WORKLOADS}
        for k, name in enumerate(names)
    }
    times["missed_everything"] = dict.fromkeys(WORKLOADS, float("inf"))
    del times[EVIL]["mnist"]  # no log of one workload, so no mean
    return score_runs(runs_of(times), suite(base=WORKLOADS, studies=3))


@pytest.fixture(scope="module")
def board():
    return board_of_many()


@pytest.fixture(scope="module")
def page(board, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    uncertainty = bootstrap(board, 20)
    sections = [section for make in SECTIONS if (section := make(board, uncertainty)) is not None]
    first, *others = (
        Chart(f"chart {k} with a title", Axis("step"), Axis("y"), [Series([1, 2], [k, 3], name)])
        for k, name in enumerate(board.submissions[:4])
    )
    sections.append(Section("Measured", groups=[Group(WORKLOADS[1], [first], {"Gradients": others})]))
    write_page("Scores", introduction(board), sections, styles(board), path)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def log(browser):
    return [entry["message"] for entry in browser.get_log("browser")]


def find(browser, selector):
    return browser.find_element("css selector", selector)


def drag(browser, element, start, by):
    from selenium.webdriver import ActionChains

    chain = ActionChains(browser, duration=50).move_to_element_with_offset(element, *start).click_and_hold()
    chain.move_by_offset(by[0] // 2, by[1] // 2).move_by_offset(by[0] // 2, by[1] // 2).release().perform()


def strokes(browser, name):
    """How many lines of the profiles are drawn in the colour of a submission."""
    return browser.execute_script(
        "const view = views.find((each) => each.figure.querySelector('strong').textContent.startsWith('Performance'));"
        "const colour = ownColour(arguments[0]).toLowerCase();"
        "return [...view.box.querySelectorAll('.canvas path')]"
        ".filter((path) => (path.getAttribute('stroke') ?? '').toLowerCase() === colour).length",
        name,
    )


@pytest.mark.parametrize(
    ("width", "dark"),
    [(400, False), (1280, True), *(pytest.param(*each, marks=pytest.mark.slow) for each in OTHER_WINDOWS)],
)
def test_nothing_overlaps_or_sticks_out_and_nothing_is_on_the_console(browser, page, width, dark):
    show(browser, page, width, dark)
    assert log(browser) == []
    assert browser.execute_script("return typeof evil === 'undefined' && document.querySelectorAll('img').length === 0")
    assert browser.execute_script("return report.charts.length - views.length") == 3, "all but the collapsed ones"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.execute_script(OVERLAPPING) == []


def test_a_line_is_switched_off_and_on(browser, page, board):
    show(browser, page)
    first, second = (board.submissions[row] for row in board.order[:2])
    both = strokes(browser, first), strokes(browser, second)
    assert min(both) > 0
    box = find(browser, "#legend li:nth-child(1) input")
    box.click()
    assert (strokes(browser, first), strokes(browser, second)) == (0, both[1])
    box.click()
    assert (strokes(browser, first), strokes(browser, second)) == both
    find(browser, "#show-none").click()
    assert strokes(browser, second) == 0
    find(browser, "#show-all").click()
    assert strokes(browser, second) == both[1]
    assert log(browser) == []


def test_a_line_is_brought_into_colour_and_back(browser, page, board):
    """Of many submissions the first are in colour; the others are grey until their name is clicked."""
    show(browser, page)
    name = board.submissions[board.order[9]]
    button = find(browser, "#legend li:nth-child(10) button")
    grey = strokes(browser, name)
    button.click()
    assert strokes(browser, name) > grey
    button.click()
    assert strokes(browser, name) == grey


def test_a_table_is_sorted_by_its_values(browser, page):
    show(browser, page)
    column = "return [...document.querySelectorAll('table')[0].tBodies[0].rows].map((row) => row.cells[%d].textContent)"
    submissions = browser.execute_script(column % 0)
    header = find(browser, "table th:nth-child(3) button")
    header.click()
    scores = [float(text) for text in browser.execute_script(column % 2)]
    assert scores == sorted(scores)
    assert browser.execute_script(column % 0) != submissions
    header.click()
    scores = [float(text) for text in browser.execute_script(column % 2)]
    assert scores == sorted(scores, reverse=True)
    relative = find(browser, "table th:last-child button")
    for _ in range(2):
        relative.click()
        texts = browser.execute_script(
            column % (len(browser.find_elements("css selector", "table:first-of-type th")) and 8)
        )
        known = [text for text in texts if text != "–"]
        assert 0 < len(known) < len(texts)
        assert texts == known + ["–"] * (len(texts) - len(known)), "what has no value comes last, whichever way"


def test_the_line_under_the_pointer_says_what_it_is(browser, page, board):
    from selenium.webdriver import ActionChains

    show(browser, page)
    figure = find(browser, "#chart-1 .chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
    place = browser.execute_script("""
      const view = views.find((each) => each.figure.id === "chart-1");
      const { points } = view.lines[0];
      const [x, y] = points[points.length - 1];
      return [x - view.box.clientWidth / 2 - 30, y - view.box.clientHeight / 2];
    """)
    ActionChains(browser).move_to_element_with_offset(figure, *map(int, place)).perform()
    tip = find(browser, "#tip")
    assert tip.is_displayed()
    assert "share of workloads trained" in tip.text
    assert browser.execute_script("return document.querySelectorAll('#legend li.hovered').length") == 1
    assert browser.execute_script("return document.querySelectorAll('#chart-1 .veil').length") == 1
    ActionChains(browser).move_to_element(find(browser, "h1")).perform()
    assert not find(browser, "#tip").is_displayed()


def test_dragging_zooms_and_the_button_goes_back(browser, page):
    show(browser, page)
    figure = find(browser, "#chart-1 .chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
    zoomed = "return views.find((each) => each.figure.id === 'chart-1').chart.getOption().dataZoom[0].end"
    button = find(browser, "#chart-1 .reset")
    assert browser.execute_script(zoomed) == 100
    assert not button.is_displayed()
    drag(browser, figure, (-200, -80), (160, 120))
    assert browser.execute_script(zoomed) < 100
    button.click()
    assert browser.execute_script(zoomed) == 100
    assert not button.is_displayed()


def test_collapsed_charts_are_drawn_when_they_are_expanded_or_printed(browser, page):
    from selenium.webdriver import Keys

    resize(browser, 1280, dark=True)
    browser.get(page.as_uri())
    summary = find(browser, ".fold summary")
    assert summary.text == "Gradients (3): " + " · ".join(f"chart {k} with a title" for k in (1, 2, 3))
    drawn = "return [...document.querySelectorAll('.fold .chart')].map((each) => each.querySelectorAll('path').length)"
    assert browser.execute_script(drawn) == [0, 0, 0]
    summary.send_keys(Keys.ENTER)
    browser.execute_cdp_cmd("Page.printToPDF", {})  # also what was never in view
    assert browser.execute_script("return views.length === report.charts.length && isDark()"), "light on paper only"
    before = browser.execute_script(drawn)
    assert min(before) > 0
    summary.send_keys(Keys.ENTER)
    find(browser, "#show-none").click()
    find(browser, "#show-all").click()
    summary.send_keys(Keys.ENTER)
    assert browser.execute_script(drawn) == before
    assert browser.execute_script(OVERLAPPING) == []
    assert log(browser) == []


def test_the_switch_between_light_and_dark(browser, page):
    background = "return getComputedStyle(document.body).backgroundColor"
    show(browser, page, dark=True)
    dark = browser.execute_script(background)
    find(browser, "#theme").click()
    light = browser.execute_script(background)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 23, 27)")
    find(browser, "#theme").click()
    assert browser.execute_script(background) == dark


@pytest.mark.parametrize("factor", [1.1, 3.0, 30.0, 1e3, 1e7])
def test_an_axis_of_factors_has_round_ticks_and_no_empty_decades(browser, board, tmp_path, factor):
    values = [70.0 * factor**share for share in (0.0, 0.3, 1.0)]
    chart = Chart("t", Axis("x", log=True), Axis("y", log=True), [Series(values, values, board.submissions[0])])
    write_page("t", [], [Section("t", charts=[chart])], styles(board), tmp_path / "report.html")
    show(browser, tmp_path / "report.html")
    for axis in ("xAxis", "yAxis"):
        ticks, (low, high) = browser.execute_script(
            "const axis = views[0].chart.getModel().getComponent(arguments[0], 0).axis;"
            "return [axis.getTicksCoords().map((each) => each.tickValue), axis.scale.getExtent()]",
            axis,
        )
        assert 3 <= len(ticks) <= 9
        assert all(float(f"{tick:.2g}") == pytest.approx(tick) or factor < 2 for tick in ticks)
        assert low < values[0] < values[-1] < high
        assert high / low < 1.2 * factor**1.1
    assert log(browser) == []
