"""Text of a comparison, which states only what its numbers show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from algoperf_lightning.scoring.comparison import Comparison, OnWorkload
from algoperf_lightning.scoring.ratios import Ratio
from algoperf_lightning.scoring.runs import counted


def verdict(comparison: Comparison) -> str:
    """Return the verdict: the difference, its interval, where it is significant, and how many runs are still needed."""
    return " ".join([_answer(comparison), *_where(comparison), *_planning(comparison)])


def change(ratio: float, unit: str) -> str:
    """Return the description of a ratio.

    Example:
        >>> change(0.86, "seconds"), change(1.08, "seconds"), change(2.4, "steps"), change(1.0, "steps")
        ('14 % fewer seconds', '8 % more seconds', '2.4 times the steps', 'as many steps')
        >>> change(0.0042, "seconds"), change(0.9951, "steps")
        ('0.0042 times the seconds', '0.5 % fewer steps')
    """
    percent = 100 * abs(ratio - 1)
    shown = f"{percent:.0f} %" if percent >= 0.95 else f"{percent:.1f} %"
    if ratio >= 2 or ratio < 0.05:  # a percentage would round to 100 % fewer
        return f"{ratio:.2g} times the {unit}" if ratio < 100 else f"{ratio:,.0f} times the {unit}"
    if shown == "0.0 %":
        return f"as many {unit}"
    return f"{shown} {'fewer' if ratio < 1 else 'more'} {unit}"


def interval(ratio: Ratio, unit: str) -> str:
    """Return the description of an interval, possibly with open ends.

    Example:
        >>> interval(Ratio(0.86, 0.8, 0.92, 0.95), "seconds")
        '95 %: 8 to 20 % fewer'
        >>> interval(Ratio(0.97, 0.88, 1.08, 0.95), "seconds"), interval(Ratio(math.nan, 0.0, 0.62, 0.95), "seconds")
        ('95 %: 12 % fewer to 8 % more', '95 %: at least 38 % fewer')
        >>> interval(Ratio(0.96, 0.92, 1.0002, 0.95), "seconds"), interval(Ratio(0.01, 0.004, 0.02, 0.95), "seconds")
        ('95 %: 0 to 8 % fewer', '95 %: 0.004 to 0.02 times')
    """
    if ratio.level <= 0 or (ratio.low <= 0 and math.isinf(ratio.high)):
        return "no bound"
    level = f"{math.floor(1000 * ratio.level + 1e-6) / 10:g} %"
    low, high = (change(end, unit).removesuffix(f" {unit}").removesuffix(" the") for end in (ratio.low, ratio.high))
    if ratio.low <= 0:
        return f"{level}: {'at least' if high.endswith('fewer') else 'at most'} {high}"
    if math.isinf(ratio.high):
        return f"{level}: {'at most' if low.endswith('fewer') else 'at least'} {low}"
    if low == high:
        return f"{level}: {low}"
    low, high = _beside(low, high), _beside(high, low)
    if not (" % " in low and " % " in high):
        ends = (f"{end:.3g}" if end < 100 else f"{end:,.0f}" for end in (ratio.low, ratio.high))
        return f"{level}: {' to '.join(ends)} times"
    if low.endswith("fewer") and high.endswith("fewer"):
        low, high = high.removesuffix(" % fewer"), low
    elif low.endswith("more"):
        low = low.removesuffix(" % more")
    return f"{level}: {low} to {high}"


def _beside(end: str, other: str) -> str:
    """Return an end in the words of the other one where it is no change: ``0 % fewer`` beside ``8 % fewer``."""
    return f"0 % {other.rpartition(' ')[2]}" if end == "as many" and " % " in other else end


def _answer(comparison: Comparison) -> str:
    first, second, unit = comparison.first, comparison.second, comparison.unit
    overall, faster, slower = comparison.overall, comparison.seen(faster=True), comparison.seen(faster=False)
    bounds = interval(overall.ratio, unit)
    if math.isnan(overall.p_value):
        return f"Neither {first} nor {second} reached a target: these runs do not show which is faster."
    if faster and slower:
        return (
            f"Which is faster depends on the workload: {first} on {listed(faster)}, {second} on {listed(slower)} "
            f"(Holm-corrected). One ratio for all does not describe them: {_needs(overall.ratio, first, second, unit)} "
            f"({bounds})."
        )
    if overall.p_value <= comparison.question.alpha + 1e-12:
        return f"{_needs(overall.ratio, first, second, unit)} ({bounds}; {p_value(overall.p_value)})."
    if overall.ratio.level <= 0:
        return f"There are too few runs to say which of {first} and {second} is faster."
    return (
        f"These runs do not show which of {first} and {second} is faster: {_needs(overall.ratio, first, second, unit)} "
        f"({bounds}; {p_value(overall.p_value)})."
    )


def _needs(ratio: Ratio, first: str, second: str, unit: str) -> str:
    if not math.isnan(ratio.value):
        words = change(ratio.value, unit)
        link = "as" if words.startswith("as many") else "of" if " times " in words else "than"
        return f"{first} needs {words} {link} {second}"
    if math.isfinite(ratio.high):
        return f"{first} needs less than {ratio.high:.2g} times the {unit} of {second}"
    if ratio.low > 0:
        return f"{first} needs more than {ratio.low:.2g} times the {unit} of {second}"
    return f"the ratio of their {unit} is unknown"


def _where(comparison: Comparison) -> list[str]:
    on = comparison.workloads
    if len(on) < 2 or math.isnan(comparison.overall.p_value):
        return []
    ahead, behind = (sum(side * (each.difference.probability_faster - 0.5) > 1e-12 for each in on) for side in (1, -1))
    faster, slower = comparison.seen(faster=True), comparison.seen(faster=False)
    if faster and slower:
        return []
    surely = f"significantly on {listed(faster or slower)}" if faster or slower else "significantly on none"
    counts = f"ahead on {ahead} of {counted(len(on), 'workload')} and behind on {behind}"
    return [f"{comparison.first} is {counts}, {surely}."]


def _planning(comparison: Comparison) -> list[str]:
    question, overall = comparison.question, comparison.overall
    if math.isnan(overall.power):
        return ["Too few runs reached a target to plan further ones."]
    everywhere = " on every workload" if len(comparison.workloads) > 1 else ""
    size = f"{100 * question.difference:.3g} %"
    chance = f"probability {overall.power:.2f}"
    sentence = f"On these data a difference of {size}{everywhere} would have been detected with {chance}"
    runs = {"study": ("study", "studies"), "trial": ("trial", "trials")}[question.run]
    if overall.power >= question.power:
        return [f"{sentence}."]
    if overall.more_studies is None:
        return [f"{sentence}; no practical number of further runs would make it {question.power:g}."]
    more = max(1, overall.more_studies)
    plan = f"{sentence}; about {more} more {runs[more > 1]} of both would make it {question.power:g}."
    best = max(comparison.workloads, key=_evidence)
    if len(comparison.workloads) > 1 and _evidence(best) > 0:
        return [plan, f"An hour of training gives the most evidence on {best.workload}."]
    return [plan]


def _evidence(each: OnWorkload) -> float:
    return 0.0 if math.isnan(each.evidence) else each.evidence


def p_value(number: float) -> str:
    """Return a p-value in a sentence: ``p = 0.03``, ``p < 0.0001``."""
    text = shown(number)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def shown(p_value: float) -> str:
    """Return a p-value as text: ``0.03``, ``0.0042``, ``< 0.0001``."""
    if math.isnan(p_value):
        return "–"
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def listed(names: Sequence[str]) -> str:
    """Return names as an enumeration.

    Example:
        >>> listed(["ogbg", "wmt", "fastmri"])
        'ogbg, wmt and fastmri'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
