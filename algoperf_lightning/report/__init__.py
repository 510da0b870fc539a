"""The report: one page that needs no network, its tables as CSV files, and its charts as pictures for papers.

A section is a function of a leaderboard and its uncertainty, in a separate file, and is listed in
``sections.SECTIONS``::

    # report/tuning_budget.py
    def tuning_budget(board: Leaderboard, uncertainty: Uncertainty) -> Section | None:
        if board.benchmark.trials < 2:
            return None  # nothing to say
        lines = [Series(x=k, y=scores[row], low=low[row], high=high[row], submission=board.submissions[row]) ...]
        return Section(
            title="Score against the tuning budget",
            text=["Each point is the score that ... trials would have given."],  # plain text; escaped
            charts=[Chart("Score at k trials", Axis("trials", log=True), Axis("score", 0, 1), lines, picture="budget")],
            tables=[Table(["submission", Column("k = 5", heat=Heat(0, 1))], rows, submissions=names)],
            files={"tuning_budget.csv": [("submission", "k", "score", "low", "high"), ...]},
        )

and one line in ``sections.py``. The rest is done by the package: the page draws the chart with hover and zoom, and
switches it on and off by submission, in the colours of the report; ``budget.png``, ``.svg`` and ``.pdf`` are
drawn from the same data; the file is written; names from records are escaped. Charts of one kind, one for each
workload, are the charts of one section, which the page arranges in a grid. Many charts for each workload are a
:class:`Group`, which can collapse some of them. A section only arranges; what it shows is computed in ``scoring``.

``write_output`` writes all of it; ``write_page`` a page of other sections, for another command.
"""

from algoperf_lightning.report.figures import curves_figure, draw, profile_figure
from algoperf_lightning.report.looks import save
from algoperf_lightning.report.output import write_output
from algoperf_lightning.report.page import write_page
from algoperf_lightning.report.parts import Axis, Cell, Chart, Column, Group, Heat, Maker, Rule, Section, Series, Table

__all__ = [
    "Axis",
    "Cell",
    "Chart",
    "Column",
    "Group",
    "Heat",
    "Maker",
    "Rule",
    "Section",
    "Series",
    "Table",
    "curves_figure",
    "draw",
    "profile_figure",
    "save",
    "write_output",
    "write_page",
]
