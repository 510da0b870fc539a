"""Data for the scripts of the page: submissions and charts as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from algoperf_lightning.report.looks import Style
from algoperf_lightning.report.parts import Axis, Chart, Series, Values

_DIGITS = 6
"""Significant digits of a point: more than a screen has pixels."""


def page_data(charts: Sequence[Chart], looks: Mapping[str, Style]) -> Markup:
    """Return the JSON for the page, escaped so that browsers do not interpret any of it as markup.

    Args:
        charts: Charts in the order of their numbers on the page.
        looks: Styles of the submissions by name, in the order of the legend.
    """
    data = {
        "submissions": [
            {"name": name, "light": look.colour, "dark": look.dark, "marker": look.marker, "front": look.front}
            for name, look in looks.items()
        ],
        "front": sum(look.front for look in looks.values()),
        "charts": list(map(_chart, charts)),
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "x": _axis(chart.x),
        "y": _axis(chart.y),
        "series": list(map(_series, chart.series)),
        "rules": [{"name": rule.name, "x": rule.x, "y": rule.y} for rule in chart.rules],
    }


def _axis(axis: Axis) -> dict[str, Any]:
    fields = {"label": axis.label, "low": axis.low, "high": axis.high, "log": axis.log, "percent": axis.percent}
    return {**fields, "names": list(axis.names)}


def _series(series: Series) -> dict[str, Any]:
    return {
        "submission": series.submission,
        "name": series.name,
        "line": series.line,
        "strong": series.strong,
        "x": _numbers(series.x),
        "y": _numbers(series.y),
        "low": _numbers(series.low),
        "high": _numbers(series.high),
        "xLow": _numbers(series.x_low),
        "xHigh": _numbers(series.x_high),
        "notes": list(series.notes),
        "marks": list(series.marks),
    }


def _numbers(values: Values | None) -> list[float | int | None] | None:
    if values is None:
        return None
    found: list[float | int | None] = []
    for value in np.asarray(values, dtype=float).tolist():
        short = float(f"{value:.{_DIGITS}g}")
        found.append(None if not np.isfinite(short) else int(short) if short.is_integer() else short)
    return found
