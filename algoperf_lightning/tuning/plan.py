"""Plans: which trials make up a study, written down before the first of them starts.

A study is a folder ``SUBMISSION/study_K/WORKLOAD`` with ``plan.json``, and in it a folder ``trial_N`` for each trial,
with ``config.yaml`` (what ``algoperf fit`` is given), and later the trial's record, its checkpoint and its log. What is
on disk is all there is: no database, no hidden state.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import make_folder, write_atomic
from algoperf_lightning.records.checks import RecordError, check_at_least, check_fields
from algoperf_lightning.spec import StopAt, Unit
from algoperf_lightning.tuning.points import Point

PLAN_FILE = "plan.json"
CONFIG_FILE = "config.yaml"
LOG_FILE = "log.txt"
FORMAT = 1
"""Version of the plan's format."""
SWEEP = "sweep"
"""The method of plans whose points are octaves of one hyperparameter."""


class PlanMismatchError(BadInputError):
    """A folder holds the plan of other trials than those that are to run."""


@dataclass(frozen=True)
class Study:
    """The trials of one submission on one workload that compete with each other: the fastest is the study's result."""

    folder: Path
    submission: str
    """As the user named it."""
    class_path: str
    """Import path of the submission's class."""
    workload: str
    """Full name, variant included."""
    workload_options: dict[str, Any]
    """Class path and arguments of the workload, but for the seed and the data directory."""
    number: int
    """From 1."""
    studies: int
    """How many there are of this submission and workload."""
    ruleset: str
    version: str
    unit: Unit
    """What budgets count: seconds of submission time, or steps."""
    scale: float
    """Factor on the workload's seconds, as calibrated for this machine; 1 for the benchmark's own."""
    budget: float
    """What each trial may use, in ``unit``."""
    seed: int
    """Of the whole tuning: it decides the points and the trials' seeds."""
    method: str
    """How points were drawn; empty where none were."""
    search_space: Any
    """In AlgoPerf's JSON form; None where no points were drawn."""
    defaults: Point
    """The submission's hyperparameters that are not tuned."""
    points: tuple[Point, ...]
    """Hyperparameters of each trial; empty dicts under the self-tuning ruleset."""
    seeds: tuple[int, ...]
    """Seed of each trial."""
    free: tuple[str, ...] = ()
    """Hyperparameters that the submission takes by ``**kwargs``, so that its signature does not name them."""
    stop_hopeless: bool = False
    """Whether a trial ends when another one of the study has been faster than it can become."""
    stop_at: StopAt = "validation"
    """Where trials end: at a target, or at their budget."""
    stop_diverged: bool = False
    """Whether a loss that is not finite ends a trial."""
    setting: str = ""
    """Of tuning in stages: the values of the hyperparameters that are set for all of it, as its folder is called."""
    stage: str = ""
    """Of tuning in stages: which of them it is."""
    base_config: str | None = None
    """A packaged config that every trial begins with."""
    fit_arguments: tuple[str, ...] = ()
    """More arguments of ``algoperf fit``, for every trial."""

    @property
    def label(self) -> str:
        """How it is called among those of the submission: its number, or its setting and stage."""
        return f"{self.setting}/{self.stage}" if self.stage else str(self.number)

    @property
    def trials(self) -> list[PlannedTrial]:
        """The trials, in order."""
        return [PlannedTrial(self, number) for number in range(1, len(self.seeds) + 1)]

    def to_json(self) -> dict[str, Any]:
        """Return what ``plan.json`` holds."""
        record = {name: getattr(self, name) for name in _WRITTEN}
        trials = zip(self.seeds, self.points, strict=True)
        rows = [
            {"trial": number, "seed": seed, "hyperparameters": point}
            for number, (seed, point) in enumerate(trials, start=1)
        ]
        written: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **record, "trials": rows}))
        return written

    @classmethod
    def read(cls, folder: Path) -> Study:
        """Read a study's folder.

        Raises:
            BadInputError: If it holds no plan, or one that cannot be read.
        """
        path = folder / PLAN_FILE
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise BadInputError(
                    f"{path} has format {record['format']!r}, but this library reads {FORMAT}. Continue with the "
                    "version of algoperf-lightning that wrote it, or choose another --output."
                )
            _check(record, path)
            rows = record["trials"]
            written = {name: record[name] for name in _WRITTEN if name in record or name not in _OPTIONAL}
            tuples = {name: tuple(written[name]) for name in ("free", "fit_arguments") if name in written}
            return cls(
                folder=folder,
                points=tuple(row["hyperparameters"] for row in rows),
                seeds=tuple(row["seed"] for row in rows),
                **{**written, **tuples},
            )
        except FileNotFoundError:
            raise BadInputError(f"{folder} is not a study: {PLAN_FILE} is missing.") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, BadInputError):
                raise
            raise BadInputError(f"{path} is not the plan of a study: {error!r}. {_REMEDY}") from error

    def write(self) -> None:
        """Write the plan and the trials' configs, or find them as they would be written, or let a smaller plan grow.

        Raises:
            PlanMismatchError: If the folder holds another plan; nothing is changed then.
        """
        found = Study.read(self.folder) if (self.folder / PLAN_FILE).exists() else None
        if found is not None:
            check_same(self, found)
        if found is None or found.to_json() != self.to_json():
            make_folder(self.folder)
            write_atomic(self.folder / PLAN_FILE, json.dumps(self.to_json(), indent=2) + "\n")
        for trial in self.trials:
            if not (trial.folder / CONFIG_FILE).exists():
                make_folder(trial.folder)
                write_atomic(trial.folder / CONFIG_FILE, trial.config())


_WRITTEN = [
    item.name for item in dataclasses.fields(Study) if item.name not in ("folder", "points", "seeds")
]  # the last two as rows of trials
_REMEDY = (
    "Remove it and run the `algoperf tune` command that wrote it: the same command plans the same trials, and keeps "
    "those that have run."
)
_OPTIONAL = {item.name for item in dataclasses.fields(Study) if item.default is not dataclasses.MISSING}
"""What plans of older versions may lack."""


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a study."""

    study: Study = field(repr=False)
    number: int
    """From 1."""

    @property
    def folder(self) -> Path:
        """Where its config, record, checkpoint and log lie."""
        return self.study.folder / f"trial_{self.number}"

    @property
    def name(self) -> str:
        """How people call it: ``adamw study_1 digits trial_3``."""
        study = self.study.label if self.study.stage else f"study_{self.study.number}"
        return f"{self.study.submission} {study} {self.study.workload} trial_{self.number}"

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return self.study.seeds[self.number - 1]

    @property
    def point(self) -> Point:
        """The trial's hyperparameters, as far as they were tuned."""
        return self.study.points[self.number - 1]

    def config(self) -> str:
        """Return the YAML that ``algoperf fit`` is given: workload, submission with all hyperparameters, rules."""
        study = self.study
        hyperparameters = {**study.defaults, **self.point}
        free = {name: hyperparameters.pop(name) for name in study.free}
        workload = {
            "class_path": study.workload_options["class_path"],
            "init_args": {**study.workload_options["init_args"], "seed": self.seed},
        }
        content = {
            "workload": workload,
            "submission": {
                "class_path": study.class_path,
                "init_args": hyperparameters,
                **({"dict_kwargs": free} if free else {}),
            },
            "time_budget": {
                "ruleset": study.ruleset,
                "unit": study.unit,
                **({"scale": study.scale} if study.scale != 1.0 else {}),
                **({"stop_at": study.stop_at} if study.stop_at != "validation" else {}),
                **({"stop_diverged": True} if study.stop_diverged else {}),
            },
            "trainer": {"logger": False, "enable_progress_bar": False, "enable_model_summary": False},
        }
        head = (
            f"# {self.name}. By hand: algoperf fit {shlex.join([*self.fit_options, '--config', CONFIG_FILE])} "
            "--recorder.folder .\n"
        )
        return head + yaml.safe_dump(content, sort_keys=False)

    def restore_config(self) -> None:
        """Write the config as the plan has it, where what lies there is another."""
        path = self.folder / CONFIG_FILE
        with suppress(OSError, ValueError):
            if path.read_text(encoding="utf-8") == self.config():
                return
        if path.is_dir():
            path.rename(path.with_name(f"set_aside.{CONFIG_FILE}"))
        write_atomic(path, self.config())

    @property
    def fit_options(self) -> list[str]:
        """Arguments of ``algoperf fit`` that come before the trial's config."""
        base = [] if self.study.base_config is None else ["--config", self.study.base_config]
        return [*base, *self.study.fit_arguments]


@cache
def _hints() -> dict[str, Any]:
    """Return the types of the fields that are written; to find them takes longer than to check a record."""
    return {name: hint for name, hint in get_type_hints(Study).items() if name in _WRITTEN}


def _check(record: Any, path: Path) -> None:
    """Raise unless what was read is a plan.

    Raises:
        RecordError: Naming the field that is wrong.
    """
    hints = _hints()
    required = [name for name in (*_WRITTEN, "trials") if name not in _OPTIONAL]
    where = f"{path} is not the plan of a study"
    try:
        check_fields(record, {**hints, "trials": list[dict[str, Any]]}, required, where)
        check_at_least(record, ("number", "studies"), 1, where)
        check_at_least(record, ("budget", "scale"), 1e-300, where)
        for row in record["trials"]:
            check_fields(row, {"seed": int, "hyperparameters": dict[str, Any]}, ("seed", "hyperparameters"), where)
    except RecordError as error:
        raise RecordError(f"{error} {_REMEDY}") from error


def check_same(study: Study, found: Study) -> None:
    """Raise unless a plan is the one found in its folder, or has all of its trials and more.

    Raises:
        PlanMismatchError: Naming what differs.
    """
    ours, theirs = study.to_json(), found.to_json()
    if study.studies > found.studies:
        theirs["studies"] = ours["studies"]
    if ours["trials"][: len(theirs["trials"])] == theirs["trials"]:
        theirs["trials"] = ours["trials"]
    if differing := [key for key in ours if ours[key] != theirs.get(key)]:
        lines = "; ".join(f"{key} was {_short(theirs.get(key))} and is now {_short(ours[key])}" for key in differing)
        raise PlanMismatchError(
            f"{study.folder / PLAN_FILE} plans other trials: {lines}. Run the command it was made with, or choose "
            "another --output."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
