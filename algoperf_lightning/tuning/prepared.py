"""The parts of plans: submissions with their points, workloads, and a study of both."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError, in_one_line
from algoperf_lightning.plugins import find_submission, get_workload
from algoperf_lightning.registry import find_workload
from algoperf_lightning.rng import SEEDS, derive_seed
from algoperf_lightning.sizes import at_size
from algoperf_lightning.spec import WorkloadSpec
from algoperf_lightning.submission import Submission
from algoperf_lightning.tuning.checks import free_names
from algoperf_lightning.tuning.plan import PLAN_FILE, SWEEP, Study
from algoperf_lightning.tuning.points import Point, split_into_studies
from algoperf_lightning.tuning.request import TuningRequest
from algoperf_lightning.tuning.search_space import SearchSpace
from algoperf_lightning.tuning.sweep import FIRST, Sweep
from algoperf_lightning.utilities.signatures import constructor_parameters


@dataclass(frozen=True)
class Prepared:
    """A submission with its points for studies that were not planned before."""

    name: str
    class_path: str
    space: SearchSpace | None
    fresh_points: list[list[Point]]
    """By study."""
    defaults: Point
    free: tuple[str, ...]
    """Hyperparameters that only ``**kwargs`` accepts."""
    sweep: Sweep | None = None
    untuned: Point = field(default_factory=dict)
    """All hyperparameters at the default point, if the study tries it."""

    @property
    def folder(self) -> str:
        """Name of the submission's folder in the output."""
        return self.name.rpartition(".")[2]

    @classmethod
    def of(cls, name: str, request: TuningRequest, problems: list[str]) -> Prepared | None:
        """Return a submission by name; None if it cannot be planned, with the reason added to the problems."""
        try:
            submission = find_submission(name)
            if not (isinstance(submission, type) and issubclass(submission, Submission)):
                raise BadInputError(f"{name!r} is not a Submission class, but {submission!r}.")
            sweep = None if request.sweep is None else Sweep.of(submission, request.sweep)
            space = _space(name, submission, request) if sweep is None else sweep.space
            points = _split(space, request, {}) if sweep is None else [sweep.points([], _first(request))]
            fixed = _fixed(submission, request)
            made, *_ = [submission(**fixed, **point) for study in points for point in study]  # all are checked now
            untuned = {} if request.staged is None else _plain(submission(**fixed).hyperparameters)
        except (BadInputError, TypeError) as error:
            problems.append(f"{name}: {error}")
            return None
        except (Exception, SystemExit) as error:  # errors of the submission's own code
            problems.append(f"{name} cannot be created: {in_one_line(error)}.")
            return None
        tuned = points[0][0]
        defaults = {key: value for key, value in _plain(made.hyperparameters).items() if key not in tuned}
        class_path = f"{submission.__module__}.{submission.__qualname__}"
        free = free_names(submission, [*defaults, *tuned])
        return cls(name, class_path, space, points, defaults, free, sweep, untuned)

    def method(self, request: TuningRequest) -> str:
        """Return the method of drawing points, as named in plans."""
        return "" if self.space is None else request.method if self.sweep is None else SWEEP

    def points(self, request: TuningRequest, spec: WorkloadSpec) -> list[list[Point]]:
        """Return the points of each study on a workload; existing studies keep their points."""
        found = self._planned(request, spec)
        if self.sweep is not None:  # all studies have the same octaves
            return [self.sweep.points(list(found.values()), _first(request))] * request.number_of_studies
        existing = {number: study.points for number, study in found.items()}
        return _split(self.space, request, existing) if existing else self.fresh_points

    def _planned(self, request: TuningRequest, spec: WorkloadSpec) -> dict[int, Study]:
        """Return the studies on a workload that are planned on disk with the same way of drawing points."""
        found = {}
        space = None if self.space is None else json.loads(json.dumps(self.space.to_json()))
        drawn = (space, self.method(request), request.seed)
        for number in range(1, request.number_of_studies + 1):
            folder = _folder(request, self.folder, number, spec)
            if self.space is not None and (folder / PLAN_FILE).exists():
                study = Study.read(folder)
                if (study.search_space, study.method, study.seed) == drawn:
                    found[number] = study
        return found


def _first(request: TuningRequest) -> int:
    """Return the initial number of octaves of a sweep."""
    return FIRST if request.trials is None else request.trials


def _split(
    space: SearchSpace | None, request: TuningRequest, existing: Mapping[int, Sequence[Point]]
) -> list[list[Point]]:
    if space is None:
        return [[{}] for _ in range(request.number_of_studies)]
    if request.staged is not None:
        return [request.staged.points(space)]
    trials = request.trials_of(space)
    return split_into_studies(space, request.number_of_studies, trials, request.seed, request.method, existing)


def _space(name: str, submission: type[Submission], request: TuningRequest) -> SearchSpace | None:
    """Return the search space for the ruleset; raise if it does not fit."""
    given = request.search_spaces.get(name)
    if request.ruleset == "self-tuning":
        if given is not None or submission.search_space is not None:
            where = str(given) if given is not None else f"{submission.__name__}.search_space"
            raise BadInputError(
                f"The self-tuning ruleset allows no search space, but there is {where}: a submission must set all its "
                "hyperparameters itself. Tune it under --ruleset external, or use a class whose search_space is None."
            )
        return None
    space = SearchSpace.of(submission) if given is None else SearchSpace.load(given, submission)
    if space is None and not (request.staged and request.staged.defaults_only):
        raise BadInputError(
            f"The external-tuning ruleset needs a search space, but {submission.__name__} declares none. Give one with "
            f"--search-space {name}=FILE.json, or use --ruleset self-tuning."
        )
    return space


def find_spec(name: str, request: TuningRequest, problems: list[str]) -> WorkloadSpec | None:
    """Return a workload's spec; None if it cannot be run, with the reason added to the problems."""
    try:
        spec = find_workload(name, request.version)
        get_workload(spec.name)  # detect missing libraries now
    except BadInputError as error:
        problems.append(str(error))
        return None
    folder = spec.data_folder(request.data_dir)
    if missing := [file for file in spec.files if not (folder / file).exists()]:
        where = f"--data-dir {shlex.quote(str(request.data_dir))}"
        problems.append(
            f"{name}: {folder / missing[0]} is missing. "
            + (
                f"Write the data with `algoperf data small {spec.name} {where}`."
                if spec.size == "small"
                else f"Download the data with `algoperf data prepare {spec.name} {where}`, or write a tiny data set: "
                f"`algoperf data tiny {spec.name} {where}`."
            )
        )
    return spec


def _folder(request: TuningRequest, submission: str, number: int, spec: WorkloadSpec) -> Path:
    return request.output / submission / f"study_{number}" / spec.full_name


def make_study(
    request: TuningRequest,
    spec: WorkloadSpec,
    submission: Prepared,
    number: int,
    budget: float | None,
    points: Sequence[Point],
) -> Study:
    """Return a study of a submission on a workload.

    Args:
        request: The user's request.
        spec: The spec of the workload.
        submission: The submission.
        number: Number of the study, from 1.
        budget: The user's budget of a trial, if any.
        points: Points of the trials.
    """
    workload = get_workload(spec.name)
    options: dict[str, Any] = {"version": request.version, **at_size(spec.size)}
    if spec.variant is not None:
        options["variant"] = spec.variant
    scale = request.scales.get(spec.full_name, 1.0)
    return Study(
        folder=_folder(request, submission.folder, number, spec),
        submission=submission.folder,
        class_path=submission.class_path,
        workload=spec.full_name,
        workload_options={"class_path": f"{workload.__module__}.{workload.__qualname__}", "init_args": options},
        number=number,
        studies=request.number_of_studies,
        ruleset=request.ruleset,
        version=request.version,
        unit=request.unit,
        scale=scale,
        budget=spec.allowance(request.ruleset, request.unit, scale)[0] if budget is None else budget,
        seed=request.seed,
        method=submission.method(request),
        search_space=None if submission.space is None else submission.space.to_json(),
        defaults=submission.defaults,
        points=tuple(points),
        seeds=tuple(
            # Octaves are compared with each other, so they differ only in the hyperparameter.
            derive_seed(request.seed, "trial", spec.full_name, number, 1 if submission.sweep else trial) % SEEDS
            for trial in range(1, len(points) + 1)
        ),
        free=submission.free,
        stop_hopeless=request.stop_hopeless,
        base_config=_base_config(spec),
        fit_arguments=tuple(request.fit_arguments),
    )


def _base_config(spec: WorkloadSpec) -> str | None:
    name = spec.name if spec.size is None else f"{spec.size}/{spec.name}"
    return name if files("algoperf_lightning.configs").joinpath(f"{name}.yaml").is_file() else None


def _fixed(submission: type[Submission], request: TuningRequest) -> Mapping[str, Any]:
    """Return the hyperparameters that the user sets for all trials.

    A hyperparameter that the submission does not have is omitted if its value is the one for such submissions.

    Raises:
        BadInputError: If the submission does not have one with another value.
    """
    if request.staged is None:
        return {}
    known, takes_any = constructor_parameters(submission)
    fixed = {}
    for name, value in request.staged.fixed.items():
        if takes_any or name in known:
            fixed[name] = value
        elif (without := request.staged.protocol.settings[name]) != value:
            raise BadInputError(
                f"{submission.__name__} has no hyperparameter {name!r}, so it can only be run with {name} = {without}, "
                f"but got {value}. Add an argument {name!r} to the class, or leave out --{name}."
            )
    return fixed


def _plain(values: Mapping[str, Any]) -> Point:
    """Return the values in a form for plans."""
    return {
        name: value for name, value in values.items() if value is None or isinstance(value, (bool, int, float, str))
    }
