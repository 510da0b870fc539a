"""The evaluations of a run, stored in three places that must agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from algoperf_lightning.records.checksum import Ledger
from algoperf_lightning.result import Evaluation, TrialResult
from algoperf_lightning.workload import CheckpointMismatchError, WorkloadView


class EvaluationLog:
    """Stores the evaluations in the record, in the state of the clock, and in the submission's view.

    Args:
        result: The record of a new run.
        view: What the submission can see.
    """

    def __init__(self, result: TrialResult, view: WorkloadView) -> None:
        self._result = result
        self._view = view
        self._ledger = Ledger(result)
        result.checksum = self._ledger.checksum
        view.begin(result)

    def add(self, evaluation: Evaluation) -> None:
        """Record an evaluation."""
        self.check()
        self._ledger.add(evaluation)
        self._result.evaluations.append(evaluation)
        self._result.checksum = self._ledger.checksum
        self._view.show(self._result.evaluations)

    def check(self) -> None:
        """Raise if the record was changed since it was written."""
        self._ledger.check(self._result)

    def restore(self, rows: Sequence[Mapping[str, Any]], checksum: str | None) -> None:
        """Restore the evaluations from a checkpoint.

        Raises:
            CheckpointMismatchError: If they are not those that were recorded.
        """
        self._result.evaluations[:] = [Evaluation.from_row(row) for row in rows]
        self._ledger = Ledger(self._result)
        self._result.checksum = self._ledger.checksum
        if checksum not in (None, self._result.checksum):
            raise CheckpointMismatchError(
                "The evaluations in the checkpoint are not those that the clock recorded: its checksum is "
                f"{checksum}, that of the evaluations is {self._result.checksum}. Start without ckpt_path."
            )
        self._view.show(self._result.evaluations)
