"""The report of a study of final performance: results with default hyperparameters and after tuning."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algoperf_lightning.files import make_folder
from algoperf_lightning.report.figures import draw
from algoperf_lightning.report.looks import PICTURES, save, styles_of
from algoperf_lightning.report.page import write_page
from algoperf_lightning.report.parts import Axis, Cell, Chart, Column, Field, Heat, Rule, Section, Series, Table
from algoperf_lightning.scoring.final_performance import (
    FinalRuns,
    Setting,
    gains,
    mean_and_spread,
    settings_of,
    switch_matrix,
)
from algoperf_lightning.scoring.final_ranks import Interval, in_words, mean_ranks, trying_against_tuning
from algoperf_lightning.scoring.runs import counted


def write_study(title: str, introduction: Sequence[str], runs: FinalRuns, folder: Path) -> None:
    """Write ``report.html``, pictures and CSV files of a study.

    Args:
        title: Title of the page.
        introduction: Paragraphs under the title.
        runs: The runs of the study, at least one of them with its default point.
        folder: Output folder, which is created if necessary.

    Raises:
        BadInputError: If the folder cannot be created.
        OSError: If a file cannot be written.
    """
    make_folder(folder, "--output")
    settings = settings_of(runs)
    base = settings[0]
    tuned = [setting for setting in settings if setting[0] != base[0] and setting[1] == base[1]]
    largest = tuned[-1] if tuned else base
    sections = [
        *([_trying(runs, base, tuned[0])] if tuned and len(runs.optimizers) > 1 else []),
        _ranks(runs, settings, largest),
        _performance(runs, settings, largest),
        *([_switches(runs, base, tuned[0])] if tuned else []),
        *([_gains(runs, settings, base)] if len(settings) > 1 else []),
    ]
    order = np.argsort(mean_ranks(runs, *largest, draws=1).value)
    looks = styles_of([runs.optimizers[place] for place in order])
    for section in sections:
        for chart in section.charts:
            save(draw(chart, looks), *(folder / f"{chart.picture}{ending}" for ending in PICTURES))
        for name, rows in section.files.items():
            with (folder / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
    write_page(title, introduction, sections, looks, folder / "report.html")


def _trying(runs: FinalRuns, base: Setting, tuned: Setting) -> Section:
    trying = trying_against_tuning(runs, *tuned)
    if not trying.problems:
        return Section("Trying or tuning", ["No problem has all of the runs that this compares."])
    text = [
        "With m runs one can try m optimizers at their defaults, or tune a single optimizer with m points. In both "
        "cases the run with the best validation value is kept. The gain of trying is the difference of expected test "
        "values, relative to what one optimizer at its default is expected to reach, averaged over the problems "
        f"({', '.join(trying.problems)}). {in_words(trying, len(trying.sizes) - 1)}",
    ]
    reading = (
        "Expectations are exact over all sets of optimizers and seeds, and over all sets of points and all optimizers "
        "that may be tuned. Intervals (95 %) are a jackknife over optimizers with Student's t: they treat optimizers "
        "as a sample, and the problems as fixed."
    )
    gain = trying.gain
    line = Series(trying.sizes, 100 * gain.value, low=100 * gain.low, high=100 * gain.high)
    low, high = (float(105 * each) for each in (min(0.0, gain.low.min()), max(0.0, gain.high.max())))
    chart = Chart(
        "Gain of trying m optimizers at their defaults over tuning one with m runs",
        Axis("runs, m", 1, max(trying.sizes)),
        Axis("gain in %; above 0 trying is better", low, high),
        [line],
        [Rule("equal", y=0.0)],
        picture="trying_or_tuning",
    )
    rows: list[list[Field]] = []
    header = ["runs", "gain", "low", "high", *(f"{p}: {way}" for p in trying.problems for way in ("trying", "tuning"))]
    for place, size in enumerate(trying.sizes):
        values = [
            float(each[row, place]) for row in range(len(trying.problems)) for each in (trying.defaults, trying.tuned)
        ]
        numbers = [float(each[place]) for each in (gain.value, gain.low, gain.high)]
        rows.append([Cell(str(size), size), *(Cell(f"{100 * each:+.2f} %", each) for each in numbers), *values])
    files: dict[str, Sequence[Sequence[Any]]] = {"trying_or_tuning.csv": [header, *map(_plain, rows)]}
    return Section(
        "Trying or tuning",
        text,
        [chart],
        [Table(header, rows, title="Expected test values", folded=True)],
        [reading],
        files,
    )


def _ranks(runs: FinalRuns, settings: Sequence[Setting], shown: Setting) -> Section:
    found = {setting: mean_ranks(runs, *setting) for setting in settings}
    order = np.argsort(found[shown].value)
    names = [runs.optimizers[place] for place in order]
    ranks = found[shown]
    points = [
        Series(
            [ranks.value[row]], [float(place)], runs.optimizers[row], line="none",
            x_low=[ranks.low[row]], x_high=[ranks.high[row]],
        )
        for place, row in enumerate(order)
    ]  # fmt: skip
    number = int(np.isfinite(runs.means(*shown)).any(axis=1).sum())
    chart = Chart(
        f"Mean rank over {counted(number, 'problem')}, {' '.join(shown)}, with 95 % intervals",
        Axis("mean rank; 1 is the best", float(np.nanmin(ranks.low)) - 0.2, float(np.nanmax(ranks.high)) + 0.2),
        Axis("", names=names),
        points,
        picture="ranks",
    )
    columns = [Column("optimizer"), *(Column(" ".join(setting)) for setting in settings)]
    rows: list[list[Field]] = [[runs.optimizers[row], *(_rank(each, row) for each in found.values())] for row in order]
    text = "Ranks are those of the mean test value on each problem. Intervals are bootstrap percentiles over seeds."
    return Section("Ranks", [text], [chart], [Table(columns, rows, submissions=names)])


def _rank(ranks: Interval, row: int) -> Cell:
    value, low, high = (float(each[row]) for each in (ranks.value, ranks.low, ranks.high))
    return Cell("–" if np.isnan(value) else f"{value:.2f} [{low:.1f}, {high:.1f}]", value)


def _performance(runs: FinalRuns, settings: Sequence[Setting], shown: Setting) -> Section:
    columns = [Column("optimizer"), *(Column(problem) for problem in runs.problems)]
    tables, every = [], [["problem", "optimizer", "budget", "schedule", "seeds", "mean", "sd", "worst", "best"]]
    for setting in settings:
        rows: list[list[Field]] = []
        for optimizer in runs.optimizers:
            fields: list[Field] = [optimizer]
            for problem in runs.problems:
                values = runs.performance(problem, optimizer, *setting)
                fields.append(_mean_and_deviation(values))
                if values.size:
                    ends = sorted(values.tolist(), reverse=runs.directions[problem] == "min")
                    numbers = (values.size, values.mean(), _deviation(values), ends[0], ends[-1])
                    every.append([problem, optimizer, *setting, *(f"{number:.8g}" for number in numbers)])
            rows.append(fields)
        folded = setting != shown
        tables.append(Table(columns, rows, title=" ".join(setting), submissions=list(runs.optimizers), folded=folded))
    text = (
        "Test value at the end of training: mean ± standard deviation over seeds, of the default point or the point "
        "whose single run had the best validation value. A run that diverged, or whose loss ended above the untrained "
        "model's, counts as an untrained model."
    )
    return Section(
        "Final performance", [text], list(_axes(runs, shown)), tables, files={"final_performance.csv": every}
    )


def _axes(runs: FinalRuns, shown: Setting) -> Iterator[Chart]:
    """Yield one axis per problem and one line per optimizer, from the worst mean at 0 to the best at 1."""
    costs = runs.means(*shown)
    there = np.flatnonzero(np.isfinite(costs).any(axis=1))
    if len(there) < 2:
        return
    problems = [runs.problems[row] for row in there]
    places = np.arange(len(problems), dtype=np.float64)
    scaled = []
    for problem, values in zip(problems, costs[there], strict=True):
        best, worst = (np.nanmax, np.nanmin) if runs.directions[problem] == "max" else (np.nanmin, np.nanmax)
        span = best(values) - worst(values)
        scaled.append((values - worst(values)) / span if span else values - worst(values) + 1.0)
    yield Chart(
        f"Final performance, {' '.join(shown)}",
        Axis("", names=problems),
        Axis("0: worst of the optimizers, 1: best", 0.0, 1.05),
        [Series(places, line, name) for name, line in zip(runs.optimizers, np.transpose(scaled), strict=True)],
        picture="parallel_axes",
    )


def _switches(runs: FinalRuns, base: Setting, tuned: Setting) -> Section:
    tables = []
    files: dict[str, Sequence[Sequence[Any]]] = {}
    for problem in runs.problems:
        matrix = switch_matrix(runs, problem, tuned[0], base[0], base[1])
        if not np.isfinite(matrix).any():
            continue
        size = float(np.nanquantile(np.abs(matrix), 0.9)) or 1.0
        heat = Heat(-size, size, middle=0.0)
        medians = [float(np.nanmedian(column)) if np.isfinite(column).any() else np.nan for column in matrix.T]
        rows: list[list[Field]] = [
            [name, *map(_signed, row)] for name, row in zip(runs.optimizers, matrix.tolist(), strict=True)
        ]
        rows.append(["median", *map(_signed, medians)])
        unit = "points of accuracy" if runs.directions[problem] == "max" else "percent of the loss of the row"
        columns = [Column("from (untuned)"), *(Column(name, heat=heat) for name in runs.optimizers)]
        tables.append(Table(columns, rows, title=problem, text=[f"In {unit}; above 0 is better."]))
        files[f"switch_{problem}.csv"] = [["from", *runs.optimizers], *map(_plain, rows)]
    text = (
        f"The gain of switching from an optimizer at its default point (row) to another one tuned under the budget "
        f"{tuned[0]} (column), with the schedule {base[1]}. The diagonal is the gain of tuning alone."
    )
    return Section("Switching optimizers", [text], tables=tables, files=files)


def _gains(runs: FinalRuns, settings: Sequence[Setting], base: Setting) -> Section:
    found = 100 * gains(runs, settings, base)
    compared = [place for place, each in enumerate(found) if np.isfinite(each).any()]
    found, settings = found[compared], [settings[place] for place in compared]
    flat = found.reshape(len(settings), -1)
    places = np.arange(len(settings), dtype=np.float64)
    low, middle, high = np.nanquantile(flat, [0.25, 0.5, 0.75], axis=1)
    series = [
        Series(places, found[:, row, column], name, strong=False, name=problem)
        for row, problem in enumerate(runs.problems)
        for column, name in enumerate(runs.optimizers)
        if np.isfinite(found[:, row, column]).any()
    ]
    limit = 1.1 * max(float(np.nanquantile(np.abs(flat), 0.95)), 1.0)
    names = [" ".join(setting) for setting in settings]
    chart = Chart(
        f"Relative improvement over {' '.join(base)}",
        Axis("", names=names),
        Axis("improvement in %", -limit, limit),
        [*series, Series(places, middle, low=low, high=high, name="median and quartiles")],
        [Rule("no change", y=0.0)],
        text="Thin lines: an optimizer on a problem. Thick line and band: median and quartiles over all.",
        picture="gains",
    )
    header = ["setting", "lower quartile", "median", "upper quartile"]
    quartiles = np.stack([low, middle, high], axis=1)
    rows: list[list[Field]] = [
        [name, *(_signed(float(each)) for each in row)] for name, row in zip(names, quartiles, strict=True)
    ]
    return Section("Gains over budgets and schedules", [], [chart], [Table(header, rows)])


def _deviation(values: np.ndarray[Any, Any]) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else np.nan


def _mean_and_deviation(values: np.ndarray[Any, Any]) -> Cell:
    return Cell(mean_and_spread(values), float(values.mean()) if values.size else np.nan)


def _signed(value: float) -> Cell:
    return Cell("–" if np.isnan(value) else f"{round(value, 2) + 0.0:+.2f}", value)  # no minus before a zero


def _plain(row: Sequence[Field]) -> list[Any]:
    return [(field.text if field.value is None else field.value) if isinstance(field, Cell) else field for field in row]
