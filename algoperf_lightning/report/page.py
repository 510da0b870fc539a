"""The page: sections through the templates into one file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import algoperf_lightning
from algoperf_lightning.report.looks import Style
from algoperf_lightning.report.parts import Cell, Chart, Column, Field, Section, Table


def write_page(
    title: str, introduction: Sequence[str], sections: Sequence[Section], looks: Mapping[str, Style], path: Path
) -> None:
    """Write sections as one file that needs no network.

    Args:
        title: Of the page.
        introduction: Paragraphs under it.
        sections: What it holds.
        looks: Of each submission, by name.
        path: Where to write it.

    Raises:
        OSError: If the file cannot be written.
    """
    text = (
        _templates()
        .get_template("report.html")
        .render(
            title=title,
            introduction=introduction,
            sections=sections,
            picture=lambda chart: _picture(chart, looks),
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
    environment.filters |= {"columns": _columns, "fields": _fields}
    return environment


def _columns(table: Table) -> list[Column]:
    return [Column(each) if isinstance(each, str) else each for each in table.columns]


def _fields(row: Sequence[Field], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return what the template needs of each field of a row."""
    found = []
    for column, field in zip(columns, row, strict=True):
        cell = _cell(field)
        value = cell.text if cell.value is None else cell.value
        number = isinstance(value, float | int) and math.isfinite(value)
        found.append(
            {
                "text": cell.text,
                "value": "" if isinstance(value, float) and math.isnan(value) else value,
                "note": cell.note,
                "tone": cell.tone,
                "heat": column.heat.strength(float(value)) if column.heat and number else None,
            }
        )
    return found


def _cell(field: Field) -> Cell:
    if isinstance(field, Cell):
        return field
    if isinstance(field, str):
        return Cell(field)
    text = "–" if math.isnan(field) else "missed" if math.isinf(field) else f"{field:,.4g}"
    return Cell(text, float(field))


def _picture(chart: Chart, looks: Mapping[str, Style]) -> str:
    from algoperf_lightning.report.figures import draw

    file = io.BytesIO()
    draw(chart, looks).savefig(file, format="png", dpi=130)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
