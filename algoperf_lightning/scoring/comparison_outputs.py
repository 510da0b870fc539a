"""Comparisons as tables on the terminal and as plain data for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from algoperf_lightning.scoring.comparison import Comparison, Difference, OnWorkload
from algoperf_lightning.scoring.ratios import Ratio
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.scoring.verdict import shown, verdict

NOTE = (
    "ratio: time of the first over that of the second, with its interval; below 1 the first is faster. faster: chance "
    "that a run of the first is faster. p: exact permutation test, misses as longer than all; Holm: corrected for the "
    "number of workloads. power: chance that these runs would have shown a difference of {difference}. more: runs of "
    "both still needed for {power}. per hour: evidence from an hour of training, as a share of the best workload's."
)


COLUMNS = ("workload", "reached", "ratio", "interval", "faster", "p", "Holm", "power", "more", "per hour")
_PLAN = 7
"""The first of the columns about further runs, which are a separate table if one is too wide."""


def comparison_table(comparison: Comparison, width: int) -> list[RenderableType]:
    """Return a table of the workloads and of the overall result, or two tables if the terminal is too narrow.

    Args:
        comparison: Comparison of two submissions.
        width: Width of the terminal, in characters.
    """
    question = comparison.question
    rows = _rows(comparison)
    needed = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    places = list(range(len(COLUMNS)))
    fits = sum(needed) + 3 * len(needed) <= width
    parts = [places] if fits else [places[:_PLAN], [0, *places[_PLAN:]]]
    tables = []
    for part in parts:
        title = f"{comparison.first} against {comparison.second}, by {question.run}" if part is parts[0] else ""
        table = _table(title)
        for place in part:
            # Numbers are never truncated; long names are wrapped.
            least = None if place == 0 else needed[place]
            table.add_column(COLUMNS[place], justify="right" if place else "left", min_width=least, overflow="fold")
        for row in rows[:-1]:
            table.add_row(*(escape(row[place]) for place in part))
        table.add_section()
        table.add_row(*(escape(rows[-1][place]) for place in part))
        tables.append(table)
    note = NOTE.format(difference=f"{100 * question.difference:.3g} %", power=f"{question.power:g}")
    return [*tables, Text(note, style="dim"), *(Text(each, style="yellow") for each in comparison.notes)]


def _rows(comparison: Comparison) -> list[list[str]]:
    """Return the fields of each workload, followed by those of the overall result."""
    question, overall = comparison.question, comparison.overall
    best = max((each.evidence for each in comparison.workloads if each.evidence > 0), default=math.nan)
    rows = [
        [
            each.workload,
            reached(each),
            *_fields(each.difference, question.level),
            shown(each.difference.corrected),
            *_plan(each.difference),
            "–" if math.isnan(each.evidence) else f"{each.evidence / best:.0%}",
        ]
        for each in comparison.workloads
    ]
    return [*rows, ["over all", "", *_fields(overall, question.level), "", *_plan(overall), ""]]


def pairs_table(pairs: Sequence[Comparison], width: int) -> list[RenderableType]:
    """Return a table of all pairs: the ratio of the row's time to the column's, with an asterisk if it is significant.

    Args:
        pairs: Comparisons of all submissions, the better scored first.
        width: Width of the terminal, in characters.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    cells = {(pair.first, pair.second): _short(pair, pair.overall.ratio.value) for pair in pairs}
    cells |= {(pair.second, pair.first): _short(pair, 1 / pair.overall.ratio.value) for pair in pairs}
    question, unit = pairs[0].question, pairs[0].unit
    longest = min(max(map(len, names)), max(20, width // 2))  # longer names are wrapped
    room = max(1, (width - longest - 8) // 9)
    tables = []
    for start in range(0, len(names), room):
        table = _table(
            f"{unit.capitalize()} of the row over those of the column, by {question.run}" if not start else ""
        )
        table.add_column("", justify="right")
        table.add_column("submission", max_width=longest, overflow="fold")
        for place in range(start, min(start + room, len(names))):
            table.add_column(str(place + 1), justify="right", no_wrap=True)
        for place, name in enumerate(names):
            fields = [cells.get((name, other), "") for other in names[start : start + room]]
            table.add_row(str(place + 1), escape(name), *fields)
        tables.append(table)
    note = (
        f"One ratio over all workloads; below 1 the row is faster. *: the difference is significant at "
        f"{question.alpha:.2g} after Holm's correction over {counted(len(pairs), 'pair')}. –: too "
        "many misses for an estimate."
    )
    return [*tables, Text(note, style="dim")]


def _short(pair: Comparison, ratio: float) -> str:
    sure = pair.overall.corrected <= pair.question.alpha + 1e-12
    return ("–" if math.isnan(ratio) else f"{ratio:.2f}") + ("*" if sure else "")


def _table(title: str) -> Table:
    return Table(
        title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )


def reached(each: OnWorkload) -> str:
    """Return the numbers of runs that reached the target, ``5/5, 3/5``, and whether they are pairs."""
    sample, counts = each.gathered.sample, each.reached
    return f"{counts[0]}/{len(sample.first)}, {counts[1]}/{len(sample.second)}" + " paired" * sample.paired


def bounds(ratio: Ratio, asked: float) -> str:
    """Return an interval as text, ``0.80–0.92``, with open ends, and its level if it is not the requested one."""
    if ratio.level <= 0 or (ratio.low <= 0 and math.isinf(ratio.high)):
        return "unknown"
    level = "" if abs(ratio.level - asked) < 1e-9 else f" ({math.floor(100 * ratio.level + 1e-6)} %)"
    if ratio.low <= 0:
        return f"≤ {figure(ratio.high)}{level}"
    if math.isinf(ratio.high):
        return f"≥ {figure(ratio.low)}{level}"
    return f"{figure(ratio.low)}–{figure(ratio.high)}{level}"


def figure(ratio: float) -> str:
    """Return a ratio with three digits; ``–`` if it is open."""
    return "–" if math.isnan(ratio) else f"{ratio:#.3g}" if ratio < 100 else f"{ratio:,.0f}"


def percent(share: float) -> str:
    """Return a share in percent; ``–`` if it is unknown."""
    return "–" if math.isnan(share) else f"{share:.0%}"


def _fields(difference: Difference, asked: float) -> list[str]:
    ratio = difference.ratio
    return [
        figure(ratio.value),
        bounds(ratio, asked),
        percent(difference.probability_faster),
        shown(difference.p_value),
    ]


def _plan(difference: Difference) -> list[str]:
    power = "–" if math.isnan(difference.power) else f"{difference.power:.2f}"
    return [power, "–" if difference.more_studies is None else str(difference.more_studies)]


def as_data(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data for JSON; open or unknown values are None."""
    question = comparison.question
    return {
        "first": comparison.first,
        "second": comparison.second,
        "unit": comparison.unit,
        "run": question.run,
        "difference": question.difference,
        "wanted_power": question.power,
        "verdict": verdict(comparison),
        "overall": _data(comparison.overall),
        "workloads": {each.workload: _data(each.difference) | _more_data(each) for each in comparison.workloads},
        "notes": list(comparison.notes),
    }


def _data(difference: Difference) -> dict[str, Any]:
    ratio = difference.ratio
    return {
        "ratio": _known(ratio.value),
        "low": ratio.low if ratio.low > 0 else None,
        "high": _known(ratio.high),
        "level": ratio.level,
        "p_value": _known(difference.p_value),
        "p_value_holm": _known(difference.corrected),
        "probability_faster": _known(difference.probability_faster),
        "power": _known(difference.power),
        "more_studies": difference.more_studies,
    }


def _more_data(each: OnWorkload) -> dict[str, Any]:
    sample = each.gathered.sample
    return {
        "runs": [len(sample.first), len(sample.second)],
        "reached": list(each.reached),
        "paired": sample.paired,
        "unpaired_because": each.gathered.unpaired or None,
        "hours_of_a_run_of_both": each.gathered.hours,
        "evidence_per_hour": _known(each.evidence),
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
