"""Computes the studies of a user's request; errors are reported before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.tuning.clock_options import budget_override
from algoperf_lightning.tuning.plan import Study
from algoperf_lightning.tuning.prepared import Prepared, find_spec, make_study
from algoperf_lightning.tuning.request import TuningRequest as TuningRequest
from algoperf_lightning.tuning.staged import plan_staged


def plan_studies(request: TuningRequest) -> list[Study]:
    """Return the studies of a request. Nothing is written.

    Existing studies in the output folder with the same search space, method and seed keep their points, so a plan can
    be extended by studies and trials.

    All submissions with the same search space try the same points on all workloads, and trials of different submissions
    have the same seeds, so differences between submissions are not due to random points.

    Raises:
        BadInputError: Listing all problems of the request.
    """
    problems: list[str] = []
    specs = [found for name in _unique(request.workloads) if (found := find_spec(name, request, problems)) is not None]
    made = [Prepared.of(name, request, problems) for name in _unique(request.submissions)]
    prepared = [submission for submission in made if submission is not None]
    budget = budget_override(request.fit_arguments, problems)
    unscaled = [spec.full_name for spec in specs if request.scales and spec.full_name not in request.scales]
    problems += [f"{name} was not calibrated. Run `algoperf calibrate {name}` into the same file." for name in unscaled]
    folders = [name.rpartition(".")[2] for name in _unique(request.submissions)]
    twice = sorted({name for name in folders if folders.count(name) > 1})
    problems += [
        f"Two submissions have the name {name!r} and would share a folder. Tune them separately." for name in twice
    ]
    strays = [name for name in request.search_spaces if name not in request.submissions]
    problems += [f"A search space was given for {name!r}, which is not among the submissions." for name in strays]
    if problems:
        lines = "\n".join(f"- {line}" for line in problems)
        raise BadInputError(f"The plan has errors:\n{lines}")
    if request.staged is not None:
        return plan_staged(request, request.staged, specs, prepared, budget)
    points = {
        (submission.name, spec.full_name): submission.points(request, spec) for submission in prepared for spec in specs
    }
    return [
        make_study(request, spec, submission, number, budget, points[submission.name, spec.full_name][number - 1])
        for submission in prepared
        for number in range(1, request.number_of_studies + 1)
        for spec in specs
    ]


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
