"""Runs of a study in stages, read for a comparison of final performance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import TrialResult
from algoperf_lightning.scoring.final_performance import DEFAULT, FinalRun, FinalRuns
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.spec import Direction
from algoperf_lightning.tuning.plan import PlannedTrial, Study
from algoperf_lightning.tuning.protocol import BEST, ONE_SHOT, REFINED, TUNING, Protocol
from algoperf_lightning.tuning.state import State, TrialState, look
from algoperf_lightning.tuning.studies import find_studies
from algoperf_lightning.tuning.suites import CROWDED_VALLEY

EXPLODED = "ended with a loss above the untrained model's"


def read_final_runs(folders: Iterable[str | Path], protocol: Protocol = CROWDED_VALLEY) -> tuple[FinalRuns, list[str]]:
    """Return the runs of studies in stages, and remarks on them.

    A run that diverged counts as an untrained model, and so does one that failed, or that ended with a loss above the
    untrained model's. (The study kept such losses. A single one of 1e14 dominates every mean that contains it.)

    Args:
        folders: Folders of ``algoperf tune --suite crowded-valley``.
        protocol: The protocol with which they were planned.

    Raises:
        BadInputError: If there are no runs, none has ended, a study occurs twice or without the points on which it
            depends, or runs have different lengths.
    """
    studies = [study for study in find_studies(folders) if study.stage]
    if not studies:
        raise BadInputError(
            f"No study in stages was found in {', '.join(map(str, folders))}. Run one with `algoperf tune --suite "
            "crowded-valley quadratic_deep --submission NAME --output DIR`. Studies whose trials end at a target are "
            "compared with `algoperf score`."
        )
    _check_lengths(studies)
    found: list[FinalRun] = []
    directions: dict[str, Direction] = {}
    counts: Counter[str] = Counter()
    groups: dict[tuple[str, str, str], dict[str, Study]] = {}
    for study in studies:
        stages = groups.setdefault((study.workload, study.submission, study.setting), {})
        if (other := stages.setdefault(study.stage, study)) is not study:
            raise BadInputError(
                f"{study.submission} {study.label} on {study.workload} is in {other.folder} and in {study.folder}. "
                "Name the folder of one of them only."
            )
    for stages in groups.values():
        for trial, point in _numbered(stages, max(each.points for each in protocol.budgets.values())):
            state = look(trial)
            run = _final_run(state, point)
            if run is None:
                counts["unfinished" if state.state is not State.FAILED else "failed without an evaluation"] += 1
                continue
            assert state.result is not None
            counts["failed" if state.state is State.FAILED else _kind_of_end(state.result)] += 1
            directions[run.problem] = state.result.direction
            found.append(run)
    if not found:
        raise BadInputError("No run has ended yet. `algoperf status RUNS` shows their progress.")
    budgets = {name: each.points + each.refined for name, each in protocol.budgets.items()}
    return FinalRuns(found, directions, budgets, protocol.seed), list(_notes(counts, len(found)))


def _numbered(stages: Mapping[str, Study], points: int) -> Iterator[tuple[PlannedTrial, int]]:
    """Yield every trial of a submission on a workload with the number of its point in the order of the search.

    Args:
        stages: Stages by name.
        points: Number of points of the search space, after which the refined ones are numbered.
    """
    numbers: dict[str, int] = {}
    for name, first in ((ONE_SHOT, DEFAULT), (TUNING, 0), (REFINED, points), (BEST, 0)):
        study = stages.get(name)
        if study is None:
            continue
        for trial in study.trials:
            key = repr(sorted(trial.point.items()))
            if name == ONE_SHOT:
                yield trial, DEFAULT
            elif name != BEST:
                number = first + trial.number - 1
                numbers.setdefault(key, number)  # the first of equal points is chosen
                yield trial, number
            elif key in numbers:
                yield trial, numbers[key]
            else:
                raise BadInputError(
                    f"{study.folder} runs {trial.point} again, but no study here tried it first. Name the folder of "
                    f"all stages, as in `algoperf final {study.folder.parents[1]}`."
                )


def _final_run(state: TrialState, point: int) -> FinalRun | None:
    """Return the result of a trial, None if it has not ended or is unknown."""
    result, study = state.result, state.trial.study
    if result is None or not (state.state.over or state.state is State.FAILED):
        return None
    evaluation = result.final if state.state.over else next(iter(result.evaluations), None)
    if evaluation is None:
        return None
    validation = evaluation.metrics.get(f"validation/{result.metric}", math.nan)
    useless = math.isnan(validation) or state.state is State.FAILED
    if useless:  # never selected, as during tuning
        validation = math.inf if result.direction == "min" else -math.inf
    shown = (result.evaluations[0] if useless or _kind_of_end(result) else evaluation).metrics
    test = shown.get(f"test/{result.metric}", shown.get(f"validation/{result.metric}", math.nan))
    return FinalRun(study.workload, study.submission, study.setting, point, result.seed, validation, test)


def _kind_of_end(result: TrialResult) -> str:
    """Return ``diverged``, :data:`EXPLODED`, or nothing."""
    if result.diverged:
        return "diverged"
    if result.direction == "max" or result.final is None or not result.evaluations:
        return ""
    name = f"validation/{result.metric}"
    untrained = result.evaluations[0].metrics.get(name, math.nan)
    return EXPLODED if result.final.metrics.get(name, math.nan) > untrained else ""


def _check_lengths(studies: Iterable[Study]) -> None:
    lengths: dict[str, dict[tuple[float, str], Study]] = {}
    for study in studies:
        lengths.setdefault(study.workload, {})[study.budget, study.unit] = study
    for workload, found in lengths.items():
        if len(found) > 1:
            words = ", ".join(f"{budget:g} {unit} in {study.folder}" for (budget, unit), study in found.items())
            raise BadInputError(f"Runs of {workload} have different lengths: {words}. Compare runs of one length.")


def _notes(counts: Mapping[str, int], ended: int) -> Iterator[str]:
    yield f"{counted(ended, 'run')} ended."
    if number := counts.get("unfinished"):
        yield f"{counted(number, 'run')} did not end yet; results that need more runs are left out."
    for what in ("diverged", EXPLODED, "failed"):
        if number := counts.get(what):
            verb = "counts" if number == 1 else "count"
            yield f"{counted(number, 'run')} that {what} {verb} as an untrained model."
    if number := counts.get("failed without an evaluation"):
        yield f"{counted(number, 'run')} failed before an evaluation and cannot be compared."
