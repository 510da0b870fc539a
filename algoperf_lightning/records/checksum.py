"""Checksums that detect changes of a record: one chain over its evaluations, kept by the clock.

Each link is the checksum of the previous link and of one evaluation; the first is that of the trial's identity
(workload, hyperparameters, seed, targets, budget). A changed, removed, added or moved row breaks all following links.

This detects rows that were not written by the clock, by accident or by a submission that is unaware of the chain. It is
not a signature: code in the same process can recompute the chain.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from typing import Any

from algoperf_lightning.files import to_plain
from algoperf_lightning.records.evaluations import Evaluation
from algoperf_lightning.records.trial import Trial

TERMS = (
    "workload",
    "version",
    "ruleset",
    "hyperparameters",
    "seed",
    "batch_size",
    "budget",
    "eval_period",
    "metric",
    "direction",
    "validation_target",
    "test_target",
    "stop_at",
    "unit",
    "scale",
    "tiny_data",
)
"""Identity of a trial, fixed before its clock starts. The name of its submission may differ when it is resumed."""


class RecordChangedError(RuntimeError):
    """A record was not changed by the clock."""


class Ledger:
    """The clock's own copy of a trial's measurements, with which its public record is compared.

    Args:
        result: The record of a trial that starts, or resumes from a checkpoint.
    """

    def __init__(self, result: Trial) -> None:
        self._terms = copy.deepcopy({name: getattr(result, name) for name in TERMS})
        self._plain_terms = to_plain(self._terms)
        self._evaluations: list[Evaluation] = []
        self._link = _first_link(result)
        for evaluation in result.evaluations:
            self.add(evaluation)

    @property
    def checksum(self) -> str:
        """The number of evaluations and the last link of the chain: ``12:9f86d081884c7d65``."""
        return f"{len(self._evaluations)}:{self._link}"

    def add(self, evaluation: Evaluation) -> None:
        """Add an evaluation that the clock has just made."""
        self._evaluations.append(evaluation.copy())
        self._link = _next_link(self._link, evaluation)

    def check(self, result: Trial) -> None:
        """Compare a record with this copy, and restore differences.

        Raises:
            RecordChangedError: Naming what was changed.
        """
        changed = [
            f"{name} was {self._plain_terms[name]!r} and is now {now!r}"
            for name in TERMS
            if (now := to_plain(getattr(result, name))) != self._plain_terms[name]
        ]
        ours, theirs = self._evaluations, result.evaluations
        if len(ours) != len(theirs):
            changed.append(f"there were {len(ours)} evaluations, and now there are {len(theirs)}")
        for number, (was, now) in enumerate(zip(ours, theirs, strict=False), 1):
            if _text(was) != _text(now):
                changed.append(f"evaluation {number} was {was.to_row()} and is now {now.to_row()}")
        if changed:
            result.evaluations = [dataclasses.replace(row, metrics=dict(row.metrics)) for row in ours]
            for name, value in self._terms.items():
                setattr(result, name, value)
            raise RecordChangedError(
                f"The record was changed by something other than the clock: {'; '.join(changed)}. "
                "The clock's record was restored. Only the clock may write a record."
            )


def difference(result: Trial) -> str:
    """Return the difference between a record and its clock's checksum; empty if there is none, or no checksum.

    A killed run may have written one row more than the checksum covers, or may write its rows again.
    """
    if result.status.final and (result.status.value == "reached") != result.is_reached:
        met = "meet" if result.is_reached else "do not meet"
        return f"its status is {result.status.value!r}, but its evaluations {met} the targets that end the run"
    count, _, link = result.checksum.partition(":")
    if not count:
        return ""
    covered, rows = int(count), len(result.evaluations)
    if rows < covered and not result.status.final:
        return ""
    if rows != covered and result.status.final:
        return f"the clock recorded {covered} evaluations, and there are {rows}"
    found = _first_link(result)
    for evaluation in result.evaluations[:covered]:
        found = _next_link(found, evaluation)
    if found == link:
        return ""
    return "its evaluations, or the targets, budget or settings in trial.json, are not those that the clock recorded"


def checksum_of_file(record: dict[str, Any]) -> str:
    """Return the checksum of the content of ``trial.json``, except for the checksum itself."""
    return _digest(json.dumps({name: value for name, value in record.items() if name != "file_checksum"}))


def _first_link(result: Trial) -> str:
    return _digest(json.dumps(to_plain({name: getattr(result, name) for name in TERMS}), sort_keys=True))


def _next_link(link: str, evaluation: Evaluation) -> str:
    return _digest(link + _text(evaluation))


def _text(evaluation: Evaluation) -> str:
    return json.dumps({name: repr(float(value)) for name, value in evaluation.to_row().items()}, sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
