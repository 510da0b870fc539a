"""Tuning in stages: the studies of a protocol that can be planned with the existing results.

Each stage is a study in a folder ``SUBMISSION/SETTING/STAGE/WORKLOAD``: ``valley_adam/cosine/tuning/quadratic_deep``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from algoperf_lightning.spec import WorkloadSpec
from algoperf_lightning.tuning.plan import PLAN_FILE, PlanMismatchError, Study
from algoperf_lightning.tuning.points import Point
from algoperf_lightning.tuning.prepared import Prepared, make_study
from algoperf_lightning.tuning.protocol import BEST, ONE_SHOT, REFINED, TUNING, Known, Protocol, Stage, plan_stages
from algoperf_lightning.tuning.request import Staged, TuningRequest
from algoperf_lightning.tuning.state import State, TrialState, look

STAGES = (ONE_SHOT, TUNING, REFINED, BEST)


def plan_staged(
    request: TuningRequest,
    staged: Staged,
    specs: Sequence[WorkloadSpec],
    prepared: Sequence[Prepared],
    budget: float | None,
) -> list[Study]:
    """Return the studies that can be planned now. Others may follow when their trials have ended.

    Args:
        request: The user's request.
        staged: Its protocol, and the largest budget.
        specs: Specs of the workloads.
        prepared: The submissions.
        budget: The user's budget of a trial, if any.

    Raises:
        PlanMismatchError: If more than that budget is planned on disk.
    """
    return [
        study
        for submission in prepared
        for spec in specs
        for study in _studies(request, staged, spec, submission, budget)
    ]


def _studies(
    request: TuningRequest, staged: Staged, spec: WorkloadSpec, submission: Prepared, budget: float | None
) -> list[Study]:
    setting = setting_of(submission.untuned, staged.protocol)
    folders = {stage: request.output / submission.folder / setting / stage / spec.full_name for stage in STAGES}
    found = {name: Study.read(folder) for name, folder in folders.items() if (folder / PLAN_FILE).exists()}
    known = {name: _known(study) for name, study in found.items()}
    stages = plan_stages(staged.protocol, staged.budget, submission.space, known)
    _check_growth(staged, found, stages, request.output / submission.folder / setting)
    base = make_study(request, spec, submission, 1, budget, [])
    return [
        dataclasses.replace(
            base,
            folder=folders[stage.name],
            seed=staged.protocol.seed,
            method="" if stage.space is None else "random",
            search_space=None if stage.space is None else stage.space.to_json(),
            defaults={name: value for name, value in submission.untuned.items() if name not in stage.points[0]},
            points=stage.points,
            seeds=stage.seeds,
            stop_at="budget",
            stop_diverged=True,
            setting=setting,
            stage=stage.name,
        )
        for stage in stages
    ]


def setting_of(hyperparameters: Point, protocol: Protocol) -> str:
    """Return the name of the folder of a setting: the values of fixed hyperparameters.

    Example:
        >>> settings = {"schedule": "constant", "faithful": False}
        >>> protocol = Protocol({}, seed=1, repeats=1, spanning=1, settings=settings)
        >>> setting_of({"schedule": "cosine", "faithful": True}, protocol), setting_of({"rate": 1.0}, protocol)
        ('cosine_faithful', 'constant')
    """
    values = {name: hyperparameters.get(name, without) for name, without in protocol.settings.items()}
    words = [name if value is True else str(value) for name, value in values.items() if value not in (None, False)]
    return "_".join(words) or "default"


def score(state: TrialState) -> float | None:
    """Return the performance of a trial at the end of its budget, higher is better; None if it has not ended.

    This is the target metric on the validation split, minus infinity for a trial that failed or has no such value. A
    trial that diverged counts as an untrained model.

    Reference: Schmidt et al. 2021, https://arxiv.org/abs/2007.01547, and the code of DeepOBS.
    """
    if state.state is State.FAILED:
        return -math.inf
    if not state.state.over or state.result is None:
        return None
    final = state.result.final
    value = math.nan if final is None else final.metrics.get(f"validation/{state.result.metric}", math.nan)
    if math.isnan(value):
        return -math.inf
    return value if state.result.direction == "max" else -value


def _known(study: Study) -> Known:
    return Known(study.points, [score(look(trial)) for trial in study.trials], study.search_space)


def _check_growth(staged: Staged, found: Mapping[str, Study], stages: Sequence[Stage], folder: Path) -> None:
    """Raise if the plan on disk is larger than the budget."""
    points = {stage.name: len(stage.points) for stage in stages}
    larger = [name for name, study in found.items() if len(study.points) > points.get(name, 0)]
    if not larger:
        return
    tuned, refined = (len(found[name].points) if name in found else 0 for name in (TUNING, REFINED))
    budgets = staged.protocol.budgets.items()
    fits = [name for name, each in budgets if each.points >= tuned and (each.refined or not refined)]
    raise PlanMismatchError(
        f"{folder} has the trials of a larger budget than {staged.budget!r}. A budget can grow but not shrink: run it "
        f"with --budget {' or '.join(fits) or 'of a larger protocol'}, or choose another --output."
    )


def trials_to_follow(staged: Staged, studies: Sequence[Study]) -> int:
    """Return the possible number of additional trials that will be planned when results exist."""
    groups = {(study.class_path, study.workload) for study in studies}
    planned = sum(len(study.seeds) for study in studies)
    return staged.protocol.most_trials(staged.budget) * len(groups) - planned
