"""Section: reasons for missed targets, from trials that were run with instruments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf_lightning.instruments.diagnosis import Evidence, diagnose, nothing_found
from algoperf_lightning.records.checks import RecordError
from algoperf_lightning.records.instrument_rows import INSTRUMENTS_FILE
from algoperf_lightning.report.measured import Rows, charts
from algoperf_lightning.report.parts import Column, Section, Table
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.runs import Trial
from algoperf_lightning.scoring.uncertainty import Uncertainty


@dataclass(frozen=True)
class _Measured:
    """A trial that missed its target, and the measurements of its instruments."""

    trial: Trial
    evidence: Evidence
    problem: str = ""
    """Reason why the measurements cannot be read."""

    @property
    def rows(self) -> Rows:
        name = f"study {self.trial.study}, trial {self.trial.number}"
        return Rows(self.trial.submission, name, self.evidence.rows)


def missed(board: Leaderboard, uncertainty: Uncertainty) -> Section | None:
    """Return the diagnoses and the curves of trials that missed their targets, for those with instruments."""
    found = list(_measured(board))
    if not found:
        return None
    names = [each for each in board.benchmark.workloads if any(m.trial.workload == each.name for m in found)]
    drawn = [charts(each.name, [m.rows for m in found if m.trial.workload == each.name]) for each in names]
    lines = [line for each in found for line in _lines(each)]
    columns = ["submission", "workload", "study", "trial", "likely problem", "evidence"]
    table = Table(
        [Column(name, text=name in ("workload", "likely problem", "evidence")) for name in columns],
        lines,
        title="Diagnosis",
        submissions=[line[0] for line in lines],
    )
    text = "Trials with instruments that missed their target: what was measured, and what is likely wrong with them."
    reading = [
        "A diagnosis applies rules of thumb to the measured steps and to the losses and learning rates "
        "of the record, as algoperf diagnose does. It is not a proof. The measurements are in instruments.jsonl in the "
        "folder of each trial; algoperf instruments draws all of them, and two runs side by side.",
        "Charts show each measured step of each trial; hover to see which. Values beyond an axis are not shown. "
        "Each line below the charts of a workload names further charts, and shows them when it is expanded.",
    ]
    return Section(
        "Why targets were missed",
        [text],
        groups=drawn,
        above=[table],
        reading=reading,
        files={"diagnosis.csv": [columns, *lines]},
    )


def _measured(board: Leaderboard) -> Iterator[_Measured]:
    order = {row: place for place, row in enumerate(board.order)}
    for place in sorted(board.table.trials, key=lambda place: (order[place[0]], *place[1:])):
        trial = board.table.trials[place]
        # Not a folder: a trial of a board's archive, or of an official log.
        if not np.isinf(board.table.times[place]) or not (Path(trial.source) / INSTRUMENTS_FILE).is_file():
            continue
        try:
            evidence, problem = Evidence.read(trial.source), ""
        except RecordError as error:
            evidence, problem = Evidence([]), str(error)
        if evidence.rows or problem:
            yield _Measured(trial, evidence, problem)


def _lines(measured: _Measured) -> list[list[str]]:
    trial = measured.trial
    head = [trial.submission, trial.workload, trial.study, trial.number]
    if measured.problem:
        return [[*head, "The measurements cannot be read.", measured.problem]]
    lines = [[*head, finding.sentence, finding.evidence] for finding in diagnose(measured.evidence)]
    return lines or [[*head, nothing_found(measured.evidence), f"{len(measured.evidence.rows)} measured steps"]]
