"""One HTML file with all tables and pictures, that needs no network and can be sent to a colleague."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import algoperf_lightning
from algoperf_lightning.scoring.cells import COUNTS, REASONS
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.outputs import RESOLUTION, faster_or_slower, interval, short, span
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.scoring.uncertainty import (
    Uncertainty,
    leave_one_submission_out,
    leave_one_workload_out,
    without_held_out,
)

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1a1a1a; --line: #ddd; --rule: #888; --out: #8a4b00; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181c; --text: #e6e6e6; --line: #3a3d42; --rule: #777; --out: #f0a860; }
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
body { color: var(--text); background: var(--page); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p, li { max-width: 52rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.87rem; margin: 0.6rem 0; }
th, td { padding: 0.22rem 0.6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { vertical-align: bottom; border-bottom: 2px solid var(--rule); }
th:first-child, td:first-child { text-align: left; }
.left th, .left td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.left td:first-child { white-space: nowrap; overflow-wrap: normal; }
.out { color: var(--out); } .best { font-weight: 600; } summary { cursor: pointer; }
/* Pictures keep their white paper, and on a small screen their size: they are scrolled, not shrunk until unreadable. */
.picture { overflow-x: auto; } .picture img { width: 100%; min-width: 44rem; max-width: 70rem; background: #fff; }
"""


def write_report(board: Leaderboard, uncertainty: Uncertainty, pictures: Sequence[Path], path: Path) -> None:
    """Write the report.

    Args:
        board: The leaderboard.
        uncertainty: Its intervals.
        pictures: PNG files to be inlined: the profile, then one a workload.
        path: Where to write it.

    Raises:
        OSError: If a picture cannot be read or the file not be written.
    """
    parts = [
        f"<h1>Scores: {_text(board.title)}</h1>",
        _introduction(board),
        "<h2>Leaderboard</h2>",
        _leaderboard(board, uncertainty),
        _how_sure(uncertainty),
        "<h2>Performance profiles</h2>",
        "<p>For each factor, the share of workloads that a submission trained within that factor of what the fastest "
        f"one needed, in {_text(board.measure.name)}. The score is the area under the line. Lines that "
        "coincide are drawn as dashes in each other's gaps.</p>",
        _picture(pictures[0]),
        "<h2>What to know</h2>",
        _findings(board),
        f"<h2>{_text(board.measure.heading)}</h2>",
        _times(board),
        "<h2>Share of the budget</h2>",
        _shares(board),
        "<h2>Multiples of the fastest that counts</h2>",
        _ratios(board),
        *_over_baseline(board),
        "<h2>What the scores depend on</h2>",
        _sensitivity(board),
        "<h2>Training curves</h2>",
        "<p>The best trial of each study; bold: a trial of the study that is the median, with a dot where it reached "
        "the target. A study that missed is drawn by its trial that came nearest.</p>",
        *map(_picture, pictures[1:]),
        "<h2>Where each number comes from</h2>",
        _traces(board),
        f"<p>Made by algoperf-lightning {algoperf_lightning.__version__}. Benchmark: Dahl et al. 2023, arXiv "
        "2306.07179. Performance profiles: Dolan and Moré 2002, arXiv cs/0102001.</p>",
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Scores: {_text(board.title)}</title><style>{_STYLE}</style></head>\n<body>\n"
    )
    path.write_text(page + "\n".join(parts) + "\n</body></html>\n", encoding="utf-8")


def _introduction(board: Leaderboard) -> str:
    benchmark = board.benchmark
    chosen = {
        "published": "of each study the trial that reached the target at the smallest evaluation index is taken, then "
        "the fastest of these, as for the published scores",
        "rules": "of each study the fastest trial is taken, as the rules say",
    }[board.mode]
    held_out = f" and {counted(len(benchmark.held_out), 'held-out workload')}" if benchmark.held_out else ""
    return (
        f"<p>{counted(len(board.submissions), 'submission')} on {counted(len(benchmark.base), 'base workload')}"
        f"{held_out}, with {counted(benchmark.studies, 'study')} of {counted(benchmark.trials, 'trial')} expected. "
        f"Compared are {_text(board.measure.name)}. Mode <em>{board.mode}</em>: {chosen}. What a workload took is the "
        f"median over studies. More than {benchmark.limit:g} times the fastest does not count"
        + (
            ", and neither does a workload whose held-out one was not trained under the same conditions"
            if held_out
            else ""
        )
        + ". A score is relative to the submissions scored together.</p>"
    )


def _leaderboard(board: Leaderboard, uncertainty: Uncertainty) -> str:
    level, speedups = f"{uncertainty.level:.0%}", board.speedups
    header = [
        "submission",
        "rank",
        "score",
        f"{level} interval",
        f"{level} of ranks",
        "first in",
        f"{level}, trials drawn too",
    ]
    header.append("workloads counted")
    if speedups is not None:
        header.append(f"{board.measure.noun} over {_text(str(board.baseline))}")
    part, wide = uncertainty.studies, uncertainty.trials
    rows = []
    for row in board.order:
        fields = [
            _text(board.submissions[row]),
            str(board.ranks[row]),
            f"<span class=best>{board.scores[row]:.4f}</span>",
            interval(part, row, 4),
            span(part.rank_low[row], part.rank_high[row]) if part.known[row] else "–",
            f"{part.first[row]:.0%}" if part.known[row] else "–",
            interval(wide, row, 4),
            f"{int(np.isfinite(board.counted[row]).sum())} of {len(board.benchmark.base)}",
        ]
        rows.append(fields + ([] if speedups is None else [_number(speedups[row], ".4f")]))
    return _table(header, rows)


def _how_sure(uncertainty: Uncertainty) -> str:
    caveat = f"<p>{uncertainty.caveat}</p>" if uncertainty.caveat else ""
    return caveat + (
        f"<p>Intervals: percentile bootstrap, {uncertainty.draws:,} draws, seed {uncertainty.seed}. Each draw takes, "
        "for each submission and workload by itself, as many studies as there are, with replacement, and scores all "
        "submissions anew. The hyperparameters, the workloads and the set of submissions are held fixed. In the column "
        "<em>trials drawn too</em> the trials within each drawn study are drawn as well; a draw then holds fewer "
        "different trials than were made, so that it leans to slower ones. A score is relative to the fastest of its "
        "draw, and the fastest of many noisy ones is lucky: intervals lean low, and may lie below the score. With 3 or "
        "5 studies a bootstrap is rough: read the intervals as an order of magnitude. <em>First in</em>: share of the "
        "draws in which no other "
        "score was higher. Equal scores share a rank.</p>"
    )


def _findings(board: Leaderboard) -> str:
    if not board.findings:
        return "<p>Nothing was missing, assumed, or odd.</p>"
    rows = [[_text(finding.kind), _text(finding.message)] for finding in board.findings]
    return _table(["kind", "what"], rows, "left")


def _times(board: Leaderboard) -> str:
    rows = []
    for row in board.order:
        name = board.submissions[row]
        cells = [board.cells[name, workload.name] for workload in board.benchmark.workloads]
        rows.append([_text(name), *(_marked(short(cell), cell.reason) for cell in cells)])
    reasons = {cell.reason for cell in board.cells.values()} - {COUNTS}
    meanings = "; ".join(
        f"<em>{key}</em>: {REASONS[key].format(limit=board.benchmark.limit)}" for key in REASONS if key in reasons
    )
    note = (
        f"<p>Median over studies, before any rule. {RESOLUTION}"
        + (f" In brackets why one does not count. {meanings}." if meanings else "")
        + "</p>"
    )
    return note + _table(["submission", *_names(board, held_out=True)], rows)


def _shares(board: Leaderboard) -> str:
    shares = board.times / board.benchmark.budgets
    rows = []
    for row in board.order:
        cells = [board.cells[board.submissions[row], workload.name] for workload in board.benchmark.workloads]
        fields = [
            _marked("missed" if np.isinf(share) else _number(share, ".2f"), cell.reason)
            for share, cell in zip(shares[row], cells, strict=True)
        ]
        rows.append([_text(board.submissions[row]), *fields])
    note = "<p>Of the ruleset's budget, before any rule; –: no log; coloured: does not count.</p>"
    return note + _table(["submission", *_names(board, held_out=True)], rows)


def _ratios(board: Leaderboard) -> str:
    rows = []
    for row in board.order:
        fields = ["–" if not np.isfinite(ratio) else f"{ratio:.3f}" for ratio in board.ratios[row]]
        rows.append([_text(board.submissions[row]), *fields])
    return _table(["submission", *_names(board)], rows)


def _over_baseline(board: Leaderboard) -> Iterable[str]:
    if board.relative is None or board.speedups is None:
        return
    yield f"<h2>{board.measure.noun.capitalize()} over that of {_text(str(board.baseline))}</h2>"
    yield (
        "<p>Below 1 is faster; before any rule; a missed target counts as one more than the budget, for both. The "
        "mean is geometric; a speedup by the rules' words is its inverse. Without a log on one workload there is no "
        "mean.</p>"
    )
    rows = []
    for row in board.order:
        mean = board.speedups[row]
        fields = [_number(value, ".3f") for value in board.relative[row]]
        rows.append(
            [_text(board.submissions[row]), *fields, _number(mean, ".4f"), faster_or_slower(mean, board.measure)]
        )
    yield _table(["submission", *_names(board), "geometric mean", "in words"], rows)


def _sensitivity(board: Leaderboard) -> str:
    parts = []
    if board.benchmark.held_out:
        scores = without_held_out(board)
        rows = [
            [_text(board.submissions[row]), f"{board.scores[row]:.4f}", f"{scores[row]:.4f}"] for row in board.order
        ]
        parts += ["<p>Without held-out workloads:</p>", _table(["submission", "score", "without held-out"], rows)]
    for what, scores_by in (
        ("workload", leave_one_workload_out(board)),
        ("submission", leave_one_submission_out(board)),
    ):
        if not scores_by:
            continue
        rows = []
        for row in board.order:
            fields = [_number(scores[row], ".4f") for scores in scores_by.values()]
            rows.append([_text(board.submissions[row]), f"{board.scores[row]:.4f}", *fields])
        parts += [
            f"<p>Scores with one {what} left out:</p>",
            _table(["submission", "all", *map(_text, scores_by)], rows),
        ]
    return "\n".join(parts) or "<p>One submission on one workload: nothing can be left out.</p>"


def _traces(board: Leaderboard) -> str:
    rows = []
    for row in board.order:
        for workload in board.benchmark.workloads:
            cell = board.cells[board.submissions[row], workload.name]
            for study in cell.studies:
                trial = study.winner
                rows.append(
                    [
                        _text(cell.submission),
                        *map(_text, (cell.workload, study.study, trial.number if trial else "none reached the target")),
                        ("missed" if np.isinf(study.used) else f"{study.used:,.6g}")
                        + (" (median)" if study.decides else ""),
                        _number(study.resolution, ",.4g"),
                        *(_text(cell.reason), _text(trial.source if trial else f"{study.trials} trials")),
                    ]
                )
    header = [
        "submission",
        "workload",
        "study",
        "trial",
        _text(board.measure.name),
        "resolution",
        "the workload",
        "log",
    ]
    return f"<details><summary>{len(rows)} studies</summary>{_table(header, rows, 'left')}</details>"


def _names(board: Leaderboard, held_out: bool = False) -> list[str]:
    workloads = board.benchmark.workloads if held_out else board.benchmark.base
    return [_text(workload.name).replace("_", "<br>", 1).replace("_", " ") for workload in workloads]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
    head = "".join(f"<th>{field}</th>" for field in header)
    body = "\n".join("<tr>" + "".join(f"<td>{field}</td>" for field in row) + "</tr>" for row in rows)
    return (
        f'<div class=wide><table class="{style}"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<div class=picture><img alt="{_text(path.stem)}" src="data:image/png;base64,{data}"></div>'


def _marked(text: str, reason: str) -> str:
    return _text(text) if reason == COUNTS else f"<span class=out>{_text(text)}</span>"


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else f"{value:{form}}"


def _text(text: str) -> str:
    return html.escape(text)
