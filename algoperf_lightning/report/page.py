"""The page: renders sections with the templates into one file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import algoperf_lightning
from algoperf_lightning.report.data import page_data
from algoperf_lightning.report.looks import Style
from algoperf_lightning.report.parts import Cell, Column, Field, Section, Table


def write_page(
    title: str, introduction: Sequence[str], sections: Sequence[Section], looks: Mapping[str, Style], path: Path
) -> None:
    """Write sections into one self-contained file, which needs no network.

    Args:
        title: Title of the page.
        introduction: Paragraphs under the title.
        sections: The sections.
        looks: Styles of the submissions by name, in the order of the legend.
        path: Output file.

    Raises:
        OSError: If the file cannot be written.
    """
    charts = [chart for section in sections for chart in section.all_charts]
    library = files("algoperf_lightning.report") / "assets" / "echarts.common.min.js"
    text = (
        _templates()
        .get_template("report.html")
        .render(
            title=title,
            introduction=introduction,
            sections=sections,
            numbers={id(chart): place for place, chart in enumerate(charts)},
            submissions=[{"name": name} for name in looks],
            front=sum(look.front for look in looks.values()),
            data=page_data(charts, looks),
            library=Markup(library.read_text(encoding="utf-8")),
            version=algoperf_lightning.__version__,
        )
    )
    path.write_text(text, encoding="utf-8")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("algoperf_lightning.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"columns": _columns, "fields": _fields, "breakable": _breakable, "id": id}
    return environment


def _breakable(text: str) -> Markup:
    """Return a name with optional line breaks after underscores."""
    return Markup("_<wbr>").join(escape(text).split("_"))


def _columns(table: Table) -> list[Column]:
    return [Column(each) if isinstance(each, str) else each for each in table.columns]


def _fields(row: Sequence[Field], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the text and the attributes of each field of a row."""
    found = []
    for column, field in zip(columns, row, strict=True):
        cell = _cell(field)
        value = cell.text if cell.value is None else cell.value
        missing = isinstance(value, float) and math.isnan(value)
        strength = None
        if column.heat and not isinstance(value, str) and math.isfinite(value):
            strength = column.heat.strength(float(value))
        side = "" if strength is None else "heat" if strength >= 0 else "cold"
        classes = " ".join(filter(None, (cell.tone, "words" if column.text else "", side)))
        attributes = {
            "class": classes or None,
            "title": cell.note or None,
            "data-value": "" if missing else None if str(value) == cell.text else _javascript(value),
            "style": None if strength is None else f"--heat: {abs(strength):.2f}",
        }
        found.append({"text": cell.text, "attributes": attributes})
    return found


def _javascript(value: float | str) -> str:
    """Return a value in the syntax of JavaScript's ``Number``."""
    if isinstance(value, str) or math.isfinite(value):
        return str(value)
    return "Infinity" if value > 0 else "-Infinity"


def _cell(field: Field) -> Cell:
    if isinstance(field, Cell):
        return field
    if isinstance(field, str):
        return Cell(field)
    text = "–" if math.isnan(field) else "missed" if math.isinf(field) else f"{field:,.4g}"
    return Cell(text, float(field))
