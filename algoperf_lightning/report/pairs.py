"""Section: comparison of all pairs of submissions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from algoperf_lightning.report.parts import Axis, Cell, Chart, Column, Field, Heat, Rule, Section, Series, Table
from algoperf_lightning.scoring.comparison import Comparison, compare_all
from algoperf_lightning.scoring.comparison_outputs import bounds, figure, percent
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.scoring.uncertainty import Uncertainty
from algoperf_lightning.scoring.verdict import shown, verdict


def pairs(board: Leaderboard, uncertainty: Uncertainty) -> Section | None:
    """Return a table of all pairs, and of each submission against one; None if no two share a workload."""
    if len(board.submissions) < 2 or not board.order:
        return None
    found, notes = compare_all(board)
    names = [board.submissions[row] for row in board.order]
    reference = board.baseline or names[0]
    question = found[0].question
    text = [
        "All pairs of submissions. A pair is compared by its studies on the base workloads that both were run on, "
        f"before the rules of the score are applied. The ratio of {board.measure.unit} is the one at which an exact "
        f"test over all workloads finds no difference; its {question.level:.0%} interval contains the ratios that the "
        "test does not reject. A missed target counts as longer than every time that was reached. algoperf compare "
        "compares two submissions workload by workload.",
    ]
    chart = _chart(found, names, reference, board.measure.unit)
    if not chart.series and chart.text:
        notes = [*notes, chart.text]
    return Section(
        "Pairs",
        [*text, *notes],
        charts=[chart] if chart.series else [],
        tables=[_matrix(found, names), _list(found)],
    )


def _both(found: Sequence[Comparison]) -> dict[tuple[str, str], tuple[float, float, float, Comparison]]:
    """Return ratio, low and high by submissions, in both orders."""
    both = {}
    for pair in found:
        ratio = pair.overall.ratio
        both[pair.first, pair.second] = (ratio.value, ratio.low, ratio.high, pair)
        inverse = (math.inf if end <= 0 else 1 / end for end in (ratio.high, ratio.low))
        low, high = inverse
        both[pair.second, pair.first] = (1 / ratio.value, low, high, pair)
    return both


def _matrix(found: Sequence[Comparison], names: Sequence[str]) -> Table:
    both = _both(found)
    heat = Heat(0.5, 2.0, middle=1.0, log=True)
    rows: list[list[Field]] = []
    for name in names:
        fields: list[Field] = [name]
        for other in names:
            if (name, other) not in both:
                fields.append(Cell("" if name == other else "–", math.nan))
                continue
            value, _, _, pair = both[name, other]
            sure = pair.overall.corrected <= pair.question.alpha + 1e-12
            text = figure(value) + "*" * sure
            fields.append(Cell(text, value, note=f"p = {shown(pair.overall.p_value)}"))
        rows.append(fields)
    columns = [Column("submission"), *(Column(name, heat=heat) for name in names)]
    text = (
        "Ratio of the row to the column; below 1 the row is faster. An asterisk marks a difference that "
        f"is significant at {found[0].question.alpha:.2g} after Holm's correction over {counted(len(found), 'pair')}."
    )
    return Table(columns, rows, title="Ratios", text=[text], submissions=list(names))


def _list(found: Sequence[Comparison]) -> Table:
    difference, power = f"{100 * found[0].question.difference:.3g} %", found[0].question.power
    columns = [
        Column("first"),
        Column("other", text=True),
        Column("ratio", "Time or steps of the first, divided by those of the other."),
        Column("interval"),
        Column("first is faster", "Chance that a run of the first is faster, mean over the workloads."),
        Column("p"),
        Column("Holm", "Corrected for the number of pairs."),
        Column("power", f"Chance that these runs would have shown a difference of {difference} on every workload."),
        Column("more runs", f"Of both, still needed for a power of {power:g}."),
        Column("in words", text=True),
    ]
    rows: list[list[Field]] = []
    for pair in found:
        overall, more = pair.overall, pair.overall.more_studies
        rows.append(
            [
                *(pair.first, pair.second),
                Cell(figure(overall.ratio.value), overall.ratio.value),
                Cell(bounds(overall.ratio, pair.question.level), overall.ratio.low),
                Cell(percent(overall.probability_faster), overall.probability_faster),
                Cell(shown(overall.p_value), overall.p_value),
                Cell(shown(overall.corrected), overall.corrected),
                Cell("–" if math.isnan(overall.power) else f"{overall.power:.2f}", overall.power),
                Cell("–" if more is None else str(more), more),
                verdict(pair),
            ]
        )
    return Table(columns, rows, title="All pairs", folded=True)


def _chart(found: Sequence[Comparison], names: Sequence[str], reference: str, unit: str) -> Chart:
    """Return the ratios to one submission, with their intervals."""
    both = _both(found)
    others = [name for name in names if (name, reference) in both and math.isfinite(both[name, reference][0])]
    left_out = [name for name in names if name not in (*others, reference)]
    points, ends = [], [1.0]
    for place, name in enumerate(others):
        value, low, high, _ = both[name, reference]
        start, end = (low if low > 0 else math.nan), (high if math.isfinite(high) else math.nan)
        points.append(Series([value], [float(place)], submission=name, line="none", x_low=[start], x_high=[end]))
        ends += [each for each in (value, start, end) if math.isfinite(each)]
    return Chart(
        title=f"{unit.capitalize()} over those of {reference}, one ratio for all workloads",
        x=Axis(f"ratio of {unit}; below 1 is faster than {reference}", 0.9 * min(ends), 1.1 * max(ends)),
        y=Axis("", names=others),
        series=points,
        rules=[Rule("as fast", x=1.0)],
        text=f"Not drawn, because of too many missed targets: {', '.join(left_out)}." if left_out else "",
        picture="pairs",
    )
