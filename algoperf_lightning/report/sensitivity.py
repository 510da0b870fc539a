"""Section: sensitivity to hyperparameters; and the page, pictures and files of ``algoperf sensitivity``."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algoperf_lightning.files import make_folder
from algoperf_lightning.report.figures import draw
from algoperf_lightning.report.looks import PICTURES, save
from algoperf_lightning.report.page import write_page
from algoperf_lightning.report.parts import Axis, Cell, Chart, Column, Field, Rule, Section, Series, Table
from algoperf_lightning.scoring.basins import WITHIN
from algoperf_lightning.scoring.dimensions import Dimension
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.measure import Measure
from algoperf_lightning.scoring.sensitivity import Sensitivity, sensitivities
from algoperf_lightning.scoring.sensitivity_outputs import caption, dimension_rows, point_rows, width_in_words
from algoperf_lightning.scoring.uncertainty import Uncertainty

MANY = 8
"""Minimum number of points for which the report of scores shows a sensitivity."""


def write_sensitivity(
    found: Sequence[Sensitivity], unsaid: Sequence[str], measure: Measure, within: float, folder: Path
) -> None:
    """Write ``sensitivity.csv``, ``sensitivity_points.csv``, the pictures and ``report.html``.

    Args:
        found: Sensitivities of each submission on each workload.
        unsaid: Unknown results, with reasons.
        measure: Unit of the results.
        within: Factor on the best result that defines basins.
        folder: Output folder, which is created if necessary.

    Raises:
        BadInputError: If the folder cannot be created.
        OSError: If a file cannot be written.
    """
    make_folder(folder, "--output")
    for name, rows in (("sensitivity", dimension_rows), ("sensitivity_points", point_rows)):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows(found, measure))
    sections = [_section(each, measure, within) for each in found]
    if unsaid:
        sections.append(Section("What is not known", list(unsaid)))
    for section in sections:
        for chart in section.charts:
            save(draw(chart, {}), *(folder / f"{chart.picture}{ending}" for ending in PICTURES))
    introduction = [
        f"A basin contains the values whose {measure.noun} to the target is at most {within:g} times the best. Where "
        "only one hyperparameter varied, it is the contiguous range of good values around the best one, and its true "
        "ends are between its outermost values and their neighbours. Where several varied together, it reaches from "
        "the first to the last value of a good trial.",
        "The best of many trials was partly lucky: a repeated run would take longer, and basins would be wider.",
    ]
    write_page("Sensitivity to hyperparameters", introduction, sections, {}, folder / "report.html")


def sensitivity(board: Leaderboard, uncertainty: Uncertainty) -> Section | None:
    """Return, for the report of scores, the table of hyperparameters with many points; None if there are none."""
    found = [each for each in sensitivities(board.table)[0] if each.points >= MANY and each.dimensions]
    if not found:
        return None
    columns = [Column("submission on workload", text=True), Column("reached", "Share of the points tried.")]
    rows: list[list[Field]] = []
    for each in found:
        share = Cell(f"{each.share[0]:.0%}", each.share[0], note=caption(each))
        rows += [[each.label, share, *fields] for fields in _rows(each, board.measure)]
    table = Table([*columns, *_columns(board.measure, WITHIN)], rows)
    text = (
        f"For each submission and workload with {MANY} points or more. A basin contains the values with results within "
        f"{WITHIN:g} times the best. `algoperf sensitivity` shows the points, and notes on their interpretation."
    )
    files: dict[str, Sequence[Sequence[Any]]] = {
        "sensitivity.csv": list(dimension_rows(found, board.measure)),
        "sensitivity_points.csv": list(point_rows(found, board.measure)),
    }
    return Section("Sensitivity to hyperparameters", [text], tables=[table], files=files)


def _section(found: Sensitivity, measure: Measure, within: float) -> Section:
    return Section(
        title=found.label,
        text=[caption(found), *found.notes],
        charts=[chart for axis in found.dimensions for chart in _charts(found, axis, measure, within)],
        tables=[_table(found, measure, within)],
    )


def _table(found: Sensitivity, measure: Measure, within: float) -> Table:
    return Table(_columns(measure, within), list(_rows(found, measure)))


def _columns(measure: Measure, within: float) -> list[Column]:
    return [
        Column("hyperparameter"),
        Column("values tried"),
        Column("best"),
        Column(f"{measure.noun} there"),
        Column(f"within {within:g} times the best"),
        Column("width", "As precisely as the values that were tried allow."),
        Column("best at an edge"),
    ]


def _rows(found: Sensitivity, measure: Measure) -> Iterator[list[Field]]:
    for axis in found.dimensions:
        basin, tried = axis.basin, f"{len(set(axis.values.tolist()))}: {axis.values[0]:.4g} to {axis.values[-1]:.4g}"
        shape: list[Field] = [Cell("–", np.nan)] * 3
        if basin is not None:
            ends = Cell(f"{basin.low:.4g} to {basin.high:.4g}", basin.low)
            shape = [basin.best, Cell(measure.text(basin.result), basin.result), ends]
        yield [axis.name, tried, *shape, Cell(width_in_words(axis), axis.width[0]), axis.edge or "no"]


def _charts(found: Sensitivity, axis: Dimension, measure: Measure, within: float) -> Iterator[Chart]:
    """Yield the chart of a hyperparameter: results, or the best metric if no trial reached the target."""
    missed, reached = np.isinf(axis.results), bool(np.isfinite(axis.results).any())
    name = f"{found.label}: {axis.name}"
    picture = f"sensitivity_{found.submission}_{found.workload.name}_{axis.name}".replace("/", "_")
    low, high = axis.values[0], axis.values[-1]
    room = (high / low) ** 0.05 if axis.scale == "log" else 0.05 * (high - low)
    ends = (low / room, high * room) if axis.scale == "log" else (low - room, high + room)
    x = Axis(axis.name, float(ends[0]), float(ends[1]), log=axis.scale == "log")
    notes = [f"{trials} trials" if trials > 1 else "1 trial" for trials in axis.trials.tolist()]
    if not reached:
        target = Rule("target", y=found.workload.validation_target)
        points = Series(axis.values, axis.best_values, line="none", notes=notes)
        y = Axis(f"best validation {found.workload.metric}")
        yield Chart(f"{name}; no trial reached the target", x, y, [points], [target], picture=picture)
        return
    top = 1.1 * float(axis.results[~missed].max())
    shown = np.where(missed, top, axis.results)
    notes = [f"{note}, missed" if out else note for note, out in zip(notes, missed.tolist(), strict=True)]
    series = [Series(axis.values, shown, line="none", notes=notes)]
    if axis.alone:  # missed targets have no height, and no line
        series.append(Series(axis.values, np.where(missed, np.nan, axis.results)))
    rules = [Rule("missed", y=top)] if missed.any() else []
    if axis.basin is not None:
        rules += [Rule(f"{within:g} times the best", y=within * axis.basin.result)]
        rules += [Rule("basin", x=end) for end in dict.fromkeys((axis.basin.low, axis.basin.high))]
    y = Axis(f"{measure.unit} to the target", 0.0, 1.08 * top)
    yield Chart(name, x, y, series, rules, text=f"Width of the basin: {width_in_words(axis)}.", picture=picture)
