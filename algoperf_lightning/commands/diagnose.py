"""``algoperf diagnose``: likely problems of a run, from the measurements of its instruments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.instruments.diagnosis import Evidence, Finding, diagnose, not_judged, nothing_found
from algoperf_lightning.utilities import terminal

_FEWEST = 2
"""Minimum number of measured steps: the first step alone says nothing about a run."""


def run(arguments: Sequence[str]) -> None:
    """Print the likely problems of each run, with the numbers that show them; exit with 1 if there are any."""
    parser = Parser(
        prog="algoperf diagnose",
        description="Report likely problems of a run, from the measurements of its instruments.",
        epilog="Exit codes: 0 if nothing was found, 1 if there are findings, 2 if a run cannot be diagnosed.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trial")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse(arguments)
    known = {folder: Evidence.read(folder) for folder in options.runs}
    found = {folder: _findings(folder, evidence) for folder, evidence in known.items()}
    if options.json:
        print(json.dumps([_as_data(folder, known[folder], found[folder]) for folder in known], indent=2))
    else:
        for folder in known:
            _print(folder, known[folder], found[folder])
    if any(found.values()):
        raise SystemExit(1)


def _findings(folder: str | Path, evidence: Evidence) -> list[Finding]:
    if not evidence.rows:
        raise BadInputError(
            f"Nothing was measured in {folder}. Run it with instruments: "
            "algoperf fit ... --instruments.measure business."
        )
    found = diagnose(evidence)
    if len(evidence.rows) < _FEWEST and not found:
        raise BadInputError(
            f"Only step {evidence.rows[0]['step']} was measured in {folder}, which does not show how the run "
            "developed. The steps after evaluations are measured: train longer, or add --instruments.every 100."
        )
    return found


def _print(folder: str, evidence: Evidence, found: Sequence[Finding]) -> None:
    console = terminal.console()
    console.print(f"{folder}: {len(evidence.rows)} measured steps, the last after step {evidence.rows[-1]['step']}")
    if found:
        table = Table("rule", "finding", "evidence", "what to try")
        for each in found:
            table.add_row(each.rule, each.sentence, each.evidence, each.advice)
        console.print(table)
    else:
        console.print(nothing_found(evidence))
    if silent := not_judged(evidence):
        console.print("Not judged: " + "; ".join(f"{rule} ({reason})" for rule, reason in silent.items()) + ".")


def _as_data(folder: str, evidence: Evidence, found: Sequence[Finding]) -> dict[str, Any]:
    return {
        "run": folder,
        "measured_steps": len(evidence.rows),
        "last_step": evidence.rows[-1]["step"],
        "findings": [asdict(each) for each in found],
        "not_judged": not_judged(evidence),
    }
