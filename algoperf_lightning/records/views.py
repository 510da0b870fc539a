"""Display of a trial in notebooks: a line, a table, a picture, columns of numbers."""

from __future__ import annotations

import html
import math
import textwrap
from typing import TYPE_CHECKING, Any

from rich.text import Text

from algoperf_lightning.records.summary import result_rows, status_words, target_words, used_of
from algoperf_lightning.records.trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _GREY = "#0072B2", "#666666"


def line(result: Trial) -> str:
    """Return a trial as one line: workload, submission, status, the best value."""
    if result.step_to_target is not None:
        seconds, step = f"{result.time_to_target:.2f} s", f"step {result.step_to_target:,}"
        when = f"in {seconds}, {step}" if result.unit == "seconds" else f"at {step}, in {seconds}"
        ended = f"target reached {when}"
    else:
        ended = Text.from_markup(status_words(result)).plain
    best = "no evaluation" if math.isnan(result.best) else f"best {result.metric} {result.best:.4g}"
    return (
        f"TrialResult({result.submission} on {result.workload}: {ended}; {best} (target "
        f"{target_words(result.validation_target, result.direction)}); "
        f"{used_of(result.used, result.budget, result.unit)}, {len(result.evaluations)} evaluations)"
    )


def table(result: Trial) -> str:
    """Return a trial as an HTML table for notebooks."""
    rows = "".join(
        f"<tr><th style='text-align: left'>{html.escape(name)}</th>"
        f"<td style='text-align: left'>{html.escape(Text.from_markup(value).plain)}</td></tr>"
        for name, value in result_rows(result)
    )
    title = f"{result.workload} · {result.submission}"
    return f"<table><caption>{html.escape(title)}</caption><tbody>{rows}</tbody></table>"


def columns(result: Trial) -> dict[str, list[float]]:
    """Return the evaluations as columns of one length: ``step``, ``submission_seconds``, ..., every metric."""
    rows = [evaluation.to_row() for evaluation in result.evaluations]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, math.nan) for row in rows] for name in names}


def plot(result: Trial, ax: Axes | None = None) -> Axes:
    """Draw the target metric against the used budget, with the target.

    Args:
        result: The trial, which may still run.
        ax: Axes to draw on; None creates a new figure.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    used = [result.used_before(evaluation) for evaluation in result.evaluations]
    values = [evaluation.metrics.get(f"validation/{result.metric}", math.nan) for evaluation in result.evaluations]
    ax.plot(used, values, color=_BLUE, marker=".", label=f"{result.submission}")
    hit = result.evaluation_at_target("validation")
    if result.validation_target is not None:
        target = f"target {target_words(result.validation_target, result.direction)}"
        ax.axhline(result.validation_target, color=_GREY, linewidth=1, label=target)
    if hit is not None:
        reached = f"reached: {hit.submission_seconds:.4g} s, step {hit.step:,}"
        at = (result.used_before(hit), hit.metrics[f"validation/{result.metric}"])
        ax.plot(*at, "D", color=_BLUE, markersize=7, label=reached)
    ax.set_xlim(0, 1.03 * max([result.used, *used]) or result.budget)
    axes = {"seconds": "submission time in seconds", "steps": "training steps", "epochs": "epochs"}
    ax.set_xlabel(axes[result.unit])
    ax.set_ylabel(f"validation {result.metric}")
    title = f"{result.workload}: {used_of(result.used, result.budget, result.unit)} used"
    ax.set_title(textwrap.fill(title, 64), loc="left", fontsize=11)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def frame(result: Trial) -> Any:
    """Return the evaluations as a pandas DataFrame.

    Raises:
        MissingLibraryError: If pandas is not installed.
    """
    from algoperf_lightning.errors import MissingLibraryError

    try:
        import pandas as pd  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        raise MissingLibraryError(
            "to_frame() needs pandas, which is not installed: pip install pandas. Without it, columns() returns the "
            "same data as lists by name, which all dataframe libraries accept: polars.DataFrame(result.columns())."
        ) from None
    return pd.DataFrame(columns(result))
