"""``algoperf diagnose``: what is likely wrong with a run, from what its instruments measured."""

from __future__ import annotations

from collections.abc import Sequence

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.instruments.diagnosis import diagnose
from algoperf_lightning.records.instrument_rows import read_rows, unmeasurable
from algoperf_lightning.result import TrialResult


def run(arguments: Sequence[str]) -> None:
    """Print the likely problems of each run, with the numbers that show them."""
    parser = Parser(
        prog="algoperf diagnose",
        description="Report likely problems of a run, from the measurements of its instruments.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trial")
    for folder in parser.parse(arguments).runs:
        rows = read_rows(folder)
        if not rows:
            raise BadInputError(
                f"Nothing was measured in {folder}. Run it with instruments: "
                "algoperf fit ... --instruments.measure business."
            )
        findings = diagnose(rows, TrialResult.read(folder).batch_size)
        print(f"{folder}: {len(rows)} measured steps, the last after step {rows[-1]['step']}")
        for finding in findings:
            print(f"- {finding.sentence}\n  {finding.rule}: {finding.evidence}.")
        if not findings:
            print("- Nothing conspicuous.")
        for name, reason in unmeasurable(rows).items():
            print(f"  {name} was not measured: {reason}.")
