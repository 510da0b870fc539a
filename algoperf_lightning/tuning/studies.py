"""Studies that lie on disk: all below some folders, and the order in which their trials are run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.tuning.plan import PLAN_FILE, PlannedTrial, Study


def find_studies(folders: Iterable[str | Path]) -> list[Study]:
    """Return all studies below some folders, sorted by folder.

    Raises:
        BadInputError: If there are none.
    """
    roots = [Path(folder) for folder in folders]
    plans = [(root, path) for root in roots for path in root.rglob(PLAN_FILE)]
    found = sorted({path.parent for root, path in plans if not is_left_by_system(path.relative_to(root).as_posix())})
    if not found:
        raise BadInputError(
            f"No study lies in {', '.join(map(str, roots))}. Plan some with `algoperf tune WORKLOAD --submission NAME "
            "--output DIR`."
        )
    return [Study.read(folder) for folder in found]


def in_order(studies: Sequence[Study]) -> list[PlannedTrial]:
    """Return all trials in the order to run them: first trials of all first studies first, so that all advance."""
    trials = [trial for study in studies for trial in study.trials]
    place = {study.folder: position for position, study in enumerate(studies)}
    return sorted(trials, key=lambda trial: (trial.study.number, trial.number, place[trial.study.folder]))
