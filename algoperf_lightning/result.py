"""The record of a trial: what was run, every evaluation, how it ended."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import append_line, overwrite_in_place, to_plain, write_atomic
from algoperf_lightning.record_checksum import checksum_of_file, difference
from algoperf_lightning.spec import Direction, Unit, is_better, meets_target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRIAL_FILE = "trial.json"
EVALUATIONS_FILE = "evaluations.csv"
CHECKPOINT_FILE = "last.ckpt"
HEARTBEAT_FILE = "heartbeat"
FAILURE_FILE = "failure_rank_{rank}.txt"
FORMAT = 1
"""Version of the files' format."""

COARSE = 0.25
"""A time to a target is hardly known if the evaluation before was earlier by more than this share of it."""

_COLUMNS = ("step", "submission_seconds", "wall_seconds", "loss")
_NOT_IN_TRIAL_FILE = ("evaluations", "changed", "folder")


class RecordError(BadInputError):
    """A trial's folder cannot be read as one."""


class Status(StrEnum):
    """How a trial stands."""

    RUNNING = "running"
    """Started and not ended: it runs, or it was killed and can be resumed."""
    REACHED = "reached"
    """The target was reached."""
    BUDGET_SPENT = "budget_spent"
    """The budget was used up before the target was reached."""
    STOPPED = "stopped"
    """The submission, ``max_steps`` or another callback ended it before the target was reached."""
    PREEMPTED = "preempted"
    """SIGTERM or Ctrl-C ended it in order; it can be resumed."""
    FAILED = "failed"
    """An error ended it; the message says which."""

    @property
    def final(self) -> bool:
        """Whether the trial is over for good."""
        return self in (Status.REACHED, Status.BUDGET_SPENT, Status.STOPPED)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of all splits."""

    step: int
    """Training steps made before it."""
    submission_seconds: float
    """Submission time used before it: the time that is scored."""
    wall_seconds: float
    """Wall time since the trial began, evaluations included, downtime between a kill and a resume not."""
    loss: float
    """Training loss of the last step, on the first rank."""
    metrics: Mapping[str, float]
    """Every metric, by ``split/name``."""

    def copy(self) -> Evaluation:
        """Return a copy whose metrics cannot be changed."""
        return dataclasses.replace(self, metrics=MappingProxyType(dict(self.metrics)))

    def used(self, unit: Unit) -> float:
        """Return what was used before it, in seconds of submission time or in steps."""
        return self.submission_seconds if unit == "seconds" else float(self.step)

    def to_row(self) -> dict[str, float]:
        """Return one flat row."""
        fixed = {name: getattr(self, name) for name in _COLUMNS}
        return {**fixed, **self.metrics}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation of a row made by :meth:`to_row`, or read from a file.

        Raises:
            ValueError, KeyError: If a column is missing or not a number.
        """
        metrics = {name: float(value) for name, value in row.items() if name not in _COLUMNS}
        seconds, wall, loss = (float(row[name]) for name in _COLUMNS[1:])
        return cls(int(row["step"]), seconds, wall, loss, metrics)


@dataclass(repr=False)
class TrialResult:
    """What one run measured. ``time_to_target`` is the number it was made for."""

    workload: str
    """Full name, variant included."""
    version: str
    """AlgoPerf version whose rules hold."""
    ruleset: str
    submission: str
    hyperparameters: dict[str, Any]
    seed: int
    batch_size: int
    budget: float
    """In ``unit``."""
    eval_period: float
    """In ``unit``."""
    metric: str
    direction: Direction
    validation_target: float
    test_target: float | None
    stop_at: str
    """``validation``: the run ended at the validation target; ``both``: it went on to the test target too."""
    stop_diverged: bool = False
    """Whether a loss that is NaN or infinite was to end the run."""
    unit: Unit = "seconds"
    """What the budget counts, and so what is scored: submission seconds or steps."""
    scale: float = 1.0
    """Factor on the workload's seconds, for a machine slower than the benchmark's; 1 for the benchmark's own."""
    tiny_data: bool = False
    """Whether it ran on a small data set made to try the code: no result of the benchmark."""
    warnings: list[str] = field(default_factory=list)
    """What a machine could see of the rules being broken."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Versions, hardware, strategy, precision."""
    status: Status = Status.RUNNING
    message: str = ""
    """What happened, in words, if it needs words."""
    steps: int = 0
    submission_seconds: float = 0.0
    wall_seconds: float = 0.0
    processor_seconds: float | None = None
    """Processor time that the first rank's process used in submission time; None if the clock was not real time."""
    load: float = 0.0
    """Highest one-minute load average of the machine at an evaluation; 0 where the system has none."""
    preemptions: int = 0
    """How often the run was resumed."""
    nonfinite_loss_step: int | None = None
    """The first step, of any rank, whose loss was NaN or infinite."""
    checksum: str = ""
    """Number of evaluations and the last link of the clock's chain over them: :mod:`.record_checksum`."""
    evaluations: list[Evaluation] = field(default_factory=list)
    changed: str = ""
    """In what a record that was read is not as the clock recorded it; empty where older records cannot say."""
    folder: Path | None = None
    """Where the record lies, if one was written."""

    @property
    def used(self) -> float:
        """What was used of the budget, in ``unit``."""
        return self.submission_seconds if self.unit == "seconds" else float(self.steps)

    @property
    def used_to_target(self) -> float:
        """What the first evaluation that meets the validation target had used, in ``unit``; infinite if none does."""
        hit = self.evaluation_at_target("validation")
        return math.inf if hit is None else hit.used(self.unit)

    @property
    def time_to_target(self) -> float:
        """Submission seconds of the first evaluation that meets the validation target; infinite if none does."""
        hit = self.evaluation_at_target("validation")
        return math.inf if hit is None else hit.submission_seconds

    @property
    def resolution(self) -> float:
        """How exactly ``used_to_target`` is known: how much earlier the evaluation before was, in ``unit``.

        The target was met between the two. NaN if it was not.
        """
        hit = self.evaluation_at_target("validation")
        if hit is None:
            return math.nan
        place = self.evaluations.index(hit)
        return hit.used(self.unit) - (self.evaluations[place - 1].used(self.unit) if place else 0.0)

    @property
    def step_to_target(self) -> int | None:
        """Training steps before the first evaluation that meets the validation target; None if none does."""
        hit = self.evaluation_at_target("validation")
        return None if hit is None else hit.step

    @property
    def best(self) -> float:
        """The best validation value of the target metric; NaN if there is none."""
        best = math.nan
        for evaluation in self.evaluations:
            value = evaluation.metrics.get(f"validation/{self.metric}", math.nan)
            best = value if is_better(value, best, self.direction) else best
        return best

    def target(self, split: str) -> float | None:
        """Return the target of ``validation`` or ``test``."""
        return self.validation_target if split == "validation" else self.test_target

    def evaluation_at_target(self, split: str) -> Evaluation | None:
        """Return the first evaluation that meets the target of ``validation`` or ``test``, None if none does."""
        target = self.target(split)
        if target is None:
            return None
        for evaluation in self.evaluations:
            if meets_target(evaluation.metrics.get(f"{split}/{self.metric}", math.nan), target, self.direction):
                return evaluation
        return None

    @property
    def is_reached(self) -> bool:
        """Whether every target that ends the run was reached."""
        splits = ["validation", "test"] if self.stop_at == "both" else ["validation"]
        return all(self.evaluation_at_target(split) is not None for split in splits if self.target(split) is not None)

    # In a notebook

    def __repr__(self) -> str:
        from algoperf_lightning.result_views import line

        return line(self)

    def _repr_html_(self) -> str:
        from algoperf_lightning.result_views import table

        return table(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the target metric against what was used of the budget, with the target; return the axes.

        Args:
            ax: Where to draw; None makes a new figure.
        """
        from algoperf_lightning.result_views import plot

        return plot(self, ax)

    def columns(self) -> dict[str, list[float]]:
        """Return the evaluations as columns of one length: ``step``, ``submission_seconds``, ..., every metric."""
        from algoperf_lightning.result_views import columns

        return columns(self)

    def to_frame(self) -> Any:
        """Return the evaluations as a pandas DataFrame, one row each, with the names of :meth:`columns`.

        Raises:
            MissingLibraryError: If pandas, which is no dependency, is not installed.
        """
        from algoperf_lightning.result_views import frame

        return frame(self)

    # On disk

    def write_trial(self, folder: Path) -> None:
        """Write ``trial.json``; on a full disk, over the old one.

        Raises:
            OSError: If not even that works.
        """
        record: dict[str, Any] = {"format": FORMAT}
        for item in dataclasses.fields(self):
            if item.name not in _NOT_IN_TRIAL_FILE:
                record[item.name] = getattr(self, item.name)
        record["time_to_target"] = None if math.isinf(self.time_to_target) else self.time_to_target
        record["step_to_target"] = self.step_to_target
        record = to_plain(record)
        record["file_checksum"] = checksum_of_file(record)
        path = folder / TRIAL_FILE
        try:
            write_atomic(path, json.dumps(record, indent=2) + "\n")
        except OSError:
            if not path.exists():
                raise
            record["message"] = record["message"][:500]
            record["file_checksum"] = checksum_of_file(record)
            overwrite_in_place(path, json.dumps(record) + "\n")

    def write_evaluations(self, folder: Path) -> None:
        """Write ``evaluations.csv`` whole, as a run does when it starts or goes on."""
        rows = [_csv_line(self._header()), *map(self._csv_row, self.evaluations)]
        write_atomic(folder / EVALUATIONS_FILE, "\n".join(rows) + "\n" if self.evaluations else "")

    def append_evaluation(self, folder: Path) -> None:
        """Append the last evaluation to ``evaluations.csv``.

        Raises:
            OSError: If the disk is full; the rows before it are unharmed.
        """
        path = folder / EVALUATIONS_FILE
        if len(self.evaluations) == 1:
            append_line(path, _csv_line(self._header()))
        append_line(path, self._csv_row(self.evaluations[-1]))

    def _csv_row(self, evaluation: Evaluation) -> str:
        row = evaluation.to_row()
        return _csv_line([row["step"], *(float(row.get(name, math.nan)) for name in self._header()[1:])])

    def _header(self) -> list[str]:
        return list(self.evaluations[0].to_row()) if self.evaluations else []

    @classmethod
    def read(cls, folder: str | Path) -> TrialResult:
        """Read a trial's folder, also of a trial that still runs or was killed while it wrote.

        Raises:
            RecordError: If ``trial.json`` is missing or not a record, or a row is damaged before the last one.
        """
        folder = Path(folder)
        path = folder / TRIAL_FILE
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            names = {item.name for item in dataclasses.fields(cls)} - {*_NOT_IN_TRIAL_FILE, "status"}
            given = {name: record[name] for name in names.intersection(record)}
            result = cls(**given, status=Status(record["status"]), folder=folder)
        except (FileNotFoundError, NotADirectoryError):
            raise RecordError(f"{folder} holds no trial: {TRIAL_FILE} is missing.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is not the record of a trial: {error!r}.") from error
        result.evaluations = _read_evaluations(folder / EVALUATIONS_FILE)
        result.changed = difference(result)
        if record.get("file_checksum", "") not in ("", checksum_of_file(record)):
            result.warnings.insert(0, f"{TRIAL_FILE} was changed after the run had written it.")
        failures = read_failures(folder)
        if failures and not result.status.final:
            # What the first rank saw, if it saw anything, is mostly that another one was gone.
            result.status = Status.FAILED
            result.message = " | ".join([*failures, *filter(None, [result.message])])
        return result


def read_failures(folder: Path) -> list[str]:
    """Return what ranks and the trial's process wrote of their end, in order of rank."""
    messages = []
    for path in sorted(folder.glob(FAILURE_FILE.format(rank="*"))):
        with suppress(FileNotFoundError):  # a run that begins again has removed it since
            messages.append(path.read_text(encoding="utf-8"))
    return messages


def read_heartbeat(folder: Path) -> float:
    """Return the submission seconds up to which a trial was known to run; 0 if it never was."""
    try:
        return float((folder / HEARTBEAT_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0


def _csv_line(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([repr(v) if isinstance(v, float) else v for v in values])
    return line.getvalue()


def _read_evaluations(path: Path) -> list[Evaluation]:
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        lines.pop()  # empty after a whole last line; else a line that a kill cut off
        return [Evaluation.from_row(row) for row in csv.DictReader(lines, strict=True)]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise RecordError(f"{path} has a damaged row: {error!r}.") from error
