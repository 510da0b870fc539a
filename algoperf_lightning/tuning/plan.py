"""Plans: the trials of a study, saved before the first of them starts.

A study is a folder ``SUBMISSION/study_K/WORKLOAD`` with ``plan.json``. It contains a folder ``trial_N`` for each trial,
with ``config.yaml`` (the input of ``algoperf fit``), and later the trial's record, its checkpoint and its log. All
state is in these files: there is no database and no hidden state.
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
    """A folder contains the plan of other trials than those that should run."""


@dataclass(frozen=True)
class Study:
    """The trials of one submission on one workload, of which the fastest is the study's result."""

    folder: Path
    submission: str
    """Name given by the user."""
    class_path: str
    """Import path of the submission's class."""
    workload: str
    """Full name, including the variant."""
    workload_options: dict[str, Any]
    """Class path and arguments of the workload, except for the seed and the data directory."""
    number: int
    """From 1."""
    studies: int
    """Number of studies of this submission and workload."""
    ruleset: str
    version: str
    unit: Unit
    """Unit of budgets: seconds of submission time, or steps."""
    scale: float
    """Factor on the workload's seconds, from the calibration of this machine; 1 for the benchmark's own."""
    budget: float
    """Budget of each trial, in ``unit``."""
    seed: int
    """Seed of the complete tuning run, which determines the points and the trials' seeds."""
    method: str
    """Method of drawing points; empty if none were drawn."""
    search_space: Any
    """Search space in AlgoPerf's JSON form; None if no points were drawn."""
    defaults: Point
    """The submission's hyperparameters that are not tuned."""
    points: tuple[Point, ...]
    """Hyperparameters of each trial; empty dicts under the self-tuning ruleset."""
    seeds: tuple[int, ...]
    """Seed of each trial."""
    free: tuple[str, ...] = ()
    """Hyperparameters that the submission accepts through ``**kwargs``, so that its signature does not name them."""
    stop_hopeless: bool = False
    """Whether a trial ends when it can no longer be the fastest of the study."""
    stop_at: StopAt = "validation"
    """End of trials: at a target, or at their budget."""
    stop_diverged: bool = False
    """Whether a loss that is not finite ends a trial."""
    setting: str = ""
    """For tuning in stages: the values of fixed hyperparameters, which are part of the folder's name."""
    stage: str = ""
    """For tuning in stages: the stage."""
    base_config: str | None = None
    """A packaged config with which every trial starts."""
    fit_arguments: tuple[str, ...] = ()
    """More arguments of ``algoperf fit``, for every trial."""

    @property
    def label(self) -> str:
        """Name among the studies of the submission: its number, or its setting and stage."""
        return f"{self.setting}/{self.stage}" if self.stage else str(self.number)

    @property
    def trials(self) -> list[PlannedTrial]:
        """The trials, in order."""
        return [PlannedTrial(self, number) for number in range(1, len(self.seeds) + 1)]

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``plan.json``."""
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
            BadInputError: If it contains no plan, or an unreadable one.
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
        """Write the plan and the trials' configs, unless they exist already; extend a smaller plan.

        Raises:
            PlanMismatchError: If the folder contains another plan, which is not changed.
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
]  # the last two with one line per trial
_REMEDY = (
    "Remove it and run the `algoperf tune` command that wrote it: the same command plans the same trials, and keeps "
    "those that have run."
)
_OPTIONAL = {item.name for item in dataclasses.fields(Study) if item.default is not dataclasses.MISSING}
"""Fields that plans of older versions may not have."""


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a study."""

    study: Study = field(repr=False)
    number: int
    """From 1."""

    @property
    def folder(self) -> Path:
        """Folder of its config, record, checkpoint and log."""
        return self.study.folder / f"trial_{self.number}"

    @property
    def name(self) -> str:
        """Name for messages: ``adamw study_1 digits trial_3``."""
        study = self.study.label if self.study.stage else f"study_{self.study.number}"
        return f"{self.study.submission} {study} {self.study.workload} trial_{self.number}"

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return self.study.seeds[self.number - 1]

    @property
    def point(self) -> Point:
        """The trial's tuned hyperparameters."""
        return self.study.points[self.number - 1]

    def config(self) -> str:
        """Return the YAML for ``algoperf fit``: workload, submission with all hyperparameters, rules."""
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
        """Write the config of the plan, if the existing file differs."""
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
    """Return the types of the written fields; resolving them takes longer than checking a record."""
    return {name: hint for name, hint in get_type_hints(Study).items() if name in _WRITTEN}


def _check(record: Any, path: Path) -> None:
    """Raise unless the content of a file is a plan.

    Raises:
        RecordError: Naming the wrong field.
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
    """Raise unless a plan equals the one in its folder, or extends it.

    Raises:
        PlanMismatchError: Naming the differences.
    """
    ours, theirs = study.to_json(), found.to_json()
    if study.studies > found.studies:
        theirs["studies"] = ours["studies"]
    if ours["trials"][: len(theirs["trials"])] == theirs["trials"]:
        theirs["trials"] = ours["trials"]
    if differing := [key for key in ours if ours[key] != theirs.get(key)]:
        lines = "; ".join(f"{key} was {_short(theirs.get(key))} and is now {_short(ours[key])}" for key in differing)
        raise PlanMismatchError(
            f"{study.folder / PLAN_FILE} contains a plan of other trials: {lines}. Run the command that wrote it, or "
            "choose another --output."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
