"""The record of a trial: what was run, every evaluation, how it ended."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

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
from algoperf_lightning.spec import Direction, Ruleset, Unit, is_better, meets_target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRIAL_FILE = "trial.json"
CHECKPOINT_FILE = "last.ckpt"
HEARTBEAT_FILE = "heartbeat"
FAILURE_FILE = "failure_rank_{rank}.txt"
DEFAULT_CLOCK = "time.monotonic"
FORMAT = 1
"""Version of the files' format."""

COARSE = 0.25
"""A time to a target is coarse if the interval since the previous evaluation is more than this share of it."""

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
        """Whether the trial has ended and cannot be resumed."""
        return self in (Status.REACHED, Status.BUDGET_SPENT, Status.STOPPED)


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
    stop_at: Literal["validation", "both"]
    """``validation``: the run ended at the validation target; ``both``: it went on to the test target too."""
    stop_diverged: bool = False
    """Whether a loss that is NaN or infinite was to end the run."""
    unit: Unit = "seconds"
    """What the budget counts, and so what is scored: submission seconds or steps."""
    scale: float = 1.0
    """Factor on the workload's seconds, for a machine slower than the benchmark's; 1 for the benchmark's own."""
    metric_range: tuple[float | None, float | None] = (None, None)
    """The smallest and the largest value that the metric can have; None where it has no end."""
    clock: str = DEFAULT_CLOCK
    """Where seconds came from; those of another clock than the default are no measurement."""
    tiny_data: bool = False
    """Whether it ran on a small data set made to try the code: no result of the benchmark."""
    warnings: list[str] = field(default_factory=list)
    """What a machine could see of the rules being broken."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing of how the submission trains, and breaks no rule."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Versions, hardware, strategy, precision; of a run that was resumed elsewhere, where it ran last."""
    environments: list[dict[str, Any]] = field(default_factory=list)
    """Every environment it ran in, in order, with ``from_step``, the steps made before; one unless a resume changed
    it."""
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
    """In what a record that was read is not as the clock recorded it; empty where older records cannot say.

    Such a trial counts as one that missed its target, everywhere.
    """
    folder: Path | None = None
    """Where the record lies, if one was written."""
    rows_written: int = field(default=0, compare=False, repr=False)
    """How many evaluations ``evaluations.csv`` holds; one that could not be written is not counted."""

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
        """The best validation value of the target metric; NaN if there is none, or if the record was changed."""
        best = math.nan
        for evaluation in [] if self.changed else self.evaluations:
            value = evaluation.metrics.get(f"validation/{self.metric}", math.nan)
            best = value if is_better(value, best, self.direction) else best
        return best

    def target(self, split: str) -> float | None:
        """Return the target of ``validation`` or ``test``."""
        return self.validation_target if split == "validation" else self.test_target

    def evaluation_at_target(self, split: str) -> Evaluation | None:
        """Return the first evaluation that meets the target of ``validation`` or ``test``, None if none does.

        In a record that was changed after the clock had written it, none does: it is no measurement.
        """
        target = self.target(split)
        if target is None or self.changed:
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
        from algoperf_lightning.records.views import line

        return line(self)

    def _repr_html_(self) -> str:
        from algoperf_lightning.records.views import table

        return table(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the target metric against what was used of the budget, with the target; return the axes.

        Args:
            ax: Where to draw; None makes a new figure.
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
            MissingLibraryError: If pandas, which is no dependency, is not installed.
        """
        from algoperf_lightning.records.views import frame

        return frame(self)

    # On disk

    def to_record(self) -> dict[str, Any]:
        """Return what ``trial.json`` holds, as plain types."""
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
            record: What was read of ``trial.json``.
            evaluations: In order.
            where: What errors call the record.
            folder: The trial's folder.

        Raises:
            RecordError: Naming what is missing, of a wrong type, or out of range.
        """
        fields = [item for item in dataclasses.fields(cls) if item.name not in _NOT_IN_TRIAL_FILE]
        hints = {name: hint for name, hint in get_type_hints(cls).items() if name not in _NOT_IN_TRIAL_FILE}
        check_fields(record, {**hints, "evaluations": int, "ruleset": Ruleset}, ("format", "status"), where)
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
            raise RecordError(f"{where} counts {record['evaluations']} evaluations, but {len(evaluations)} are there.")
        return result

    def write_trial(self, folder: Path) -> None:
        """Write ``trial.json``; on a full disk, over the old one.

        Raises:
            OSError: If not even that works.
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
        """Write ``evaluations.csv`` whole, as a run does when it starts or goes on."""
        write_evaluations(folder / EVALUATIONS_FILE, self.evaluations)
        self.rows_written = len(self.evaluations)

    def append_evaluation(self, folder: Path) -> None:
        """Append the last evaluation to ``evaluations.csv``.

        Raises:
            OSError: If the disk is full; the rows before it are unharmed.
        """
        append_evaluation(folder / EVALUATIONS_FILE, self.evaluations)
        self.rows_written = len(self.evaluations)

    @classmethod
    def read(cls, folder: str | Path, *, failures: bool = True) -> TrialResult:
        """Read a trial's folder, also of a trial that still runs or was killed while it wrote.

        Args:
            folder: The trial's.
            failures: Whether what ranks wrote of their end makes an unfinished trial a failed one.

        Raises:
            RecordError: If ``trial.json`` is missing, a file is damaged, or an evaluation that was written is gone.
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
                raise RecordError(f"{path} is a link to nowhere.", remedy(folder)) from error
            parts = [name for name in (EVALUATIONS_FILE, CHECKPOINT_FILE) if os.path.lexists(folder / name)]
            if parts:
                raise RecordError(
                    f"{folder} holds {' and '.join(parts)}, but no {TRIAL_FILE}.", remedy(folder)
                ) from error
            raise RecordError(f"{folder} holds no trial: {TRIAL_FILE} is missing.") from None
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
            result.warnings.insert(0, f"{TRIAL_FILE} was changed after the run had written it.")
        messages = read_failures(folder) if failures and not over else []
        if messages:
            # What the first rank saw, if it saw anything, is mostly that another one was gone.
            result.status = Status.FAILED
            result.message = " | ".join([*messages, *filter(None, [result.message])])
        return result


def read_failures(folder: Path) -> list[str]:
    """Return what ranks and the trial's process wrote of their end, in order of rank."""
    messages = []
    for path in sorted(folder.glob(FAILURE_FILE.format(rank="*"))):
        with suppress(OSError):  # a run that begins again has removed it since, or it is no file
            messages.append(path.read_text(encoding="utf-8", errors="replace"))
    return messages


def read_heartbeat(folder: Path) -> float:
    """Return the submission seconds up to which a trial was known to run; 0 if it never was, or if that is damaged."""
    try:
        beat = (folder / HEARTBEAT_FILE).read_text(encoding="ascii")
    except (OSError, ValueError):
        return 0.0
    return float(beat) if _BEAT.fullmatch(beat) else 0.0
