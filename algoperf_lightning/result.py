"""The record of a trial: configuration, evaluations and status."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from algoperf_lightning.files import overwrite_in_place, to_plain, write_atomic
from algoperf_lightning.records.checks import RecordError as RecordError
from algoperf_lightning.records.checks import check_at_least, check_fields, check_format, remedy
from algoperf_lightning.records.checksum import checksum_of_file, difference
from algoperf_lightning.records.evaluations import EVALUATIONS_FILE as EVALUATIONS_FILE
from algoperf_lightning.records.evaluations import Evaluation as Evaluation
from algoperf_lightning.records.evaluations import (
    append_evaluation,
    check_evaluations,
    read_evaluations,
    write_evaluations,
)
from algoperf_lightning.records.submission_log import LoggedStep as LoggedStep
from algoperf_lightning.records.submission_log import log_columns, read_log
from algoperf_lightning.records.trial import COARSE as COARSE
from algoperf_lightning.records.trial import DEFAULT_CLOCK as DEFAULT_CLOCK
from algoperf_lightning.records.trial import Status as Status
from algoperf_lightning.records.trial import Trial
from algoperf_lightning.spec import Ruleset

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRIAL_FILE = "trial.json"
CHECKPOINT_FILE = "last.ckpt"
HEARTBEAT_FILE = "heartbeat"
FAILURE_FILE = "failure_rank_{rank}.txt"
EDITED = f"{TRIAL_FILE} was changed after the run."
"""The warning of a record whose file was changed after the run."""
FORMAT = 1
"""Version of the files' format."""

_ENVIRONMENT = {
    "gpus": list[str],
    "packages": dict[str, str],
    "cpu": str,
    "accelerator": str,
    "ranks": int,
    "precision": str,
}
_NOT_NEGATIVE = (
    *("steps", "submission_seconds", "wall_seconds", "processor_seconds", "load"),
    *("preemptions", "nonfinite_loss_step", "evaluations"),
)
_POSITIVE = ("budget", "eval_period", "scale", "batch_size")

_NOT_IN_TRIAL_FILE = ("evaluations", "changed", "folder", "rows_written")
_CHECKSUM = re.compile(r"(\d{1,12}:[0-9a-f]+)?")
_BEAT = re.compile(r" *\d+\.\d{6}\n")


@dataclass(repr=False)
class TrialResult(Trial):
    """The result of one run. The main result is ``time_to_target``."""

    # In a notebook

    def __repr__(self) -> str:
        from algoperf_lightning.records.views import line

        return line(self)

    def _repr_html_(self) -> str:
        from algoperf_lightning.records.views import table

        return table(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the target metric against the used budget, with the target; return the axes.

        Args:
            ax: Axes to draw on; None creates a new figure.
        """
        from algoperf_lightning.records.views import plot

        return plot(self, ax)

    def columns(self) -> dict[str, list[float]]:
        """Return the evaluations as columns of one length: ``step``, ``submission_seconds``, ..., every metric."""
        from algoperf_lightning.records.views import columns

        return columns(self)

    def to_frame(self) -> Any:
        """Return the evaluations as a pandas DataFrame, one row each, with the names of :meth:`columns`.

        Raises:
            MissingLibraryError: If pandas, which is optional, is not installed.
        """
        from algoperf_lightning.records.views import frame

        return frame(self)

    def submission_log(self) -> list[LoggedStep]:
        """Return what the submission logged, step by step, with training losses and learning rates.

        Raises:
            RecordError: If the trial was not recorded in a folder, or a row is damaged.
        """
        if self.folder is None:
            raise RecordError(
                "This trial has no folder, so its log was not kept. Add TrialRecorder() to the callbacks."
            )
        return read_log(self.folder)

    def log_columns(self) -> dict[str, list[float]]:
        """Return :meth:`submission_log` as columns of one length: ``step``, ``training/loss``, ``submission/<name>``.

        Raises:
            RecordError: As :meth:`submission_log`.
        """
        return log_columns(self.submission_log())

    # On disk

    def to_record(self) -> dict[str, Any]:
        """Return the content of ``trial.json``, as plain types."""
        names = [item.name for item in dataclasses.fields(self) if item.name not in _NOT_IN_TRIAL_FILE]
        record = {"format": FORMAT, **{name: getattr(self, name) for name in names}}
        record |= {"status": self.status.value, "evaluations": self.rows_written}
        record["time_to_target"] = None if math.isinf(self.time_to_target) else self.time_to_target
        record["step_to_target"] = self.step_to_target
        plain: dict[str, Any] = to_plain(record)
        return plain

    @classmethod
    def from_record(
        cls, record: Any, evaluations: list[Evaluation], where: Path | str, folder: Path | None = None
    ) -> TrialResult:
        """Return the result that :meth:`to_record` wrote, with its evaluations.

        Args:
            record: Content of ``trial.json``.
            evaluations: The evaluations in order.
            where: Name of the record in errors.
            folder: The trial's folder.

        Raises:
            RecordError: Naming what is missing, of a wrong type, or out of range.
        """
        fields = [item for item in dataclasses.fields(cls) if item.name not in _NOT_IN_TRIAL_FILE]
        check_fields(record, {**_hints(), "evaluations": int, "ruleset": Ruleset}, ("format", "status"), where)
        check_format(record, FORMAT, where)
        no_default = [item.name for item in fields if item.default is item.default_factory]
        check_fields(record, {}, no_default, where)
        check_fields(record.get("environment", {}), _ENVIRONMENT, (), f"{where}: environment")
        for number, environment in enumerate(record.get("environments", []), start=1):
            check_fields(
                environment, {**_ENVIRONMENT, "from_step": int}, ["from_step"], f"{where}: environment {number}"
            )
        check_at_least(record, _NOT_NEGATIVE, 0, where)
        check_at_least(record, _POSITIVE, 1e-300, where)
        if not _CHECKSUM.fullmatch(record.get("checksum", "")):
            raise RecordError(f"{where}: checksum must be a number and a checksum, but is {record['checksum']!r}.")
        given = {item.name: record[item.name] for item in fields if item.name in record}
        given["metric_range"] = tuple(given.get("metric_range", (None, None)))
        result = cls(**{**given, "status": Status(record["status"])}, folder=folder, evaluations=evaluations)
        result.rows_written = len(evaluations)
        check_evaluations(evaluations, result.metric, result.metric_range, where)
        if len(evaluations) < record.get("evaluations", 0):
            raise RecordError(f"{where} counts {record['evaluations']} evaluations, but there are {len(evaluations)}.")
        return result

    def write_trial(self, folder: Path) -> None:
        """Write ``trial.json``; on a full disk, overwrite the old file in place.

        Raises:
            OSError: If this also fails.
        """
        record = self.to_record()
        record["file_checksum"] = checksum_of_file(record)
        path = folder / TRIAL_FILE
        try:
            write_atomic(path, json.dumps(record, indent=2) + "\n")
        except OSError:
            if not path.is_file():
                raise
            record["message"] = record["message"][:500]
            record["file_checksum"] = checksum_of_file(record)
            overwrite_in_place(path, json.dumps(record) + "\n")

    def write_evaluations(self, folder: Path) -> None:
        """Write the complete ``evaluations.csv``, as at the start of a new or resumed run."""
        write_evaluations(folder / EVALUATIONS_FILE, self.evaluations)
        self.rows_written = len(self.evaluations)

    def append_evaluation(self, folder: Path) -> None:
        """Append the last evaluation to ``evaluations.csv``.

        Raises:
            OSError: If the disk is full; earlier rows are not affected.
        """
        append_evaluation(folder / EVALUATIONS_FILE, self.evaluations)
        self.rows_written = len(self.evaluations)

    @classmethod
    def read(cls, folder: str | Path, *, failures: bool = True) -> TrialResult:
        """Read a trial's folder, even if the trial is still running or was killed while writing.

        Args:
            folder: Folder of the trial.
            failures: Whether failure messages of ranks mark an unfinished trial as failed.

        Raises:
            RecordError: If ``trial.json`` is missing, a file is damaged, or a recorded evaluation is missing.
        """
        folder = Path(folder)
        path = folder / TRIAL_FILE
        try:
            text = path.read_text(encoding="utf-8")
            evaluations = read_evaluations(folder / EVALUATIONS_FILE)
            record = json.loads(text)
            result = cls.from_record(record, evaluations, path, folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.lexists(path):
                raise RecordError(f"{path} is a broken link.", remedy(folder)) from error
            parts = [name for name in (EVALUATIONS_FILE, CHECKPOINT_FILE) if os.path.lexists(folder / name)]
            if parts:
                raise RecordError(
                    f"{folder} contains {' and '.join(parts)}, but no {TRIAL_FILE}.", remedy(folder)
                ) from error
            raise RecordError(f"{folder} contains no trial: {TRIAL_FILE} is missing.") from None
        except RecordError as error:
            raise RecordError(error.what, remedy(folder)) from error
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RecordError(f"{path} is not the record of a trial: {reason}.", remedy(folder)) from error
        over, result.changed = result.status.final, difference(result)
        if over and result.changed:
            result.status = Status.FAILED
            result.message = f"The record was changed after the run: {result.changed}. {remedy(folder)}"
        if record.get("file_checksum", "") not in ("", checksum_of_file(record)):
            result.warnings.insert(0, EDITED)
        messages = read_failures(folder) if failures and not over else []
        if messages:
            # The first rank usually only notices that another one is gone.
            result.status = Status.FAILED
            result.message = " | ".join([*messages, *filter(None, [result.message])])
        return result


@cache
def _hints() -> dict[str, Any]:
    """Return the types of the fields of ``trial.json``; resolving them takes longer than checking a record."""
    return {name: hint for name, hint in get_type_hints(TrialResult).items() if name not in _NOT_IN_TRIAL_FILE}


def read_failures(folder: Path) -> list[str]:
    """Return the failure messages of the ranks and of the trial's process, in order of rank."""
    messages = []
    for path in sorted(folder.glob(FAILURE_FILE.format(rank="*"))):
        with suppress(OSError):  # removed in the meantime by a new run, or not a file
            messages.append(path.read_text(encoding="utf-8", errors="replace"))
    return messages


def read_heartbeat(folder: Path) -> float:
    """Return the submission seconds up to which a trial was known to run; 0 if it never ran or the file is damaged."""
    try:
        beat = (folder / HEARTBEAT_FILE).read_text(encoding="ascii")
    except (OSError, ValueError):
        return 0.0
    return float(beat) if _BEAT.fullmatch(beat) else 0.0
