"""Studies on disk: all studies below some folders, and the order in which their trials run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.tuning.plan import PLAN_FILE, PlannedTrial, Study


def find_studies(folders: Iterable[str | Path]) -> list[Study]:
    """Return all studies below some folders, sorted by folder.

    Raises:
        BadInputError: If there are none in one of them.
    """
    below = {root: set(_plans(root)) for root in map(Path, folders)}
    if empty := [str(root) for root, found in below.items() if not found]:
        raise BadInputError(
            f"There is no study in {', '.join(empty)}. Plan one with `algoperf tune WORKLOAD --submission NAME "
            "--output DIR`."
        )
    return [Study.read(folder) for folder in sorted(set().union(*below.values()))]


def _plans(root: Path) -> Iterator[Path]:
    for path in root.rglob(PLAN_FILE):
        if not is_left_by_system(path.relative_to(root).as_posix()):
            yield path.parent


def in_order(studies: Sequence[Study]) -> list[PlannedTrial]:
    """Return all trials in their running order: first the first trials of all first studies, so that all advance."""
    trials = [trial for study in studies for trial in study.trials]
    place = {study.folder: position for position, study in enumerate(studies)}
    return sorted(trials, key=lambda trial: (trial.study.number, trial.number, place[trial.study.folder]))
