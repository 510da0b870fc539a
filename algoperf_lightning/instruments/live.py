"""Display of runs while they train: read again whenever there are new rows, and drawn in a notebook.

Example of a cell, which returns when the run has ended::

    from algoperf_lightning.instruments.live import follow

    follow("runs/look")
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.instrument_rows import INSTRUMENTS_FILE, Row, read_rows
from algoperf_lightning.result import TrialResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAUSE = 2.0
"""Seconds between two checks for new rows."""
_WIDTH = 1080
"""Width of the picture in a notebook, in pixels."""


@dataclass(frozen=True)
class Measured:
    """Measurements of one or two runs, by the names of the runs."""

    rows: Mapping[str, list[Row]]
    evaluations: Mapping[str, tuple[list[int], list[float]]]
    """Steps and values of the target metric."""
    targets: Collection[float] = ()
    """Targets of the metric."""

    def panel(self, *, dark: bool = False) -> Figure:
        """Return a picture of the measurements.

        Args:
            dark: Whether to use a dark background.
        """
        from algoperf_lightning.instruments.pictures import panel

        return panel(self.rows, self.evaluations, targets=self.targets, dark=dark)


def named(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Return the folders of runs by the shortest names that distinguish them.

    Raises:
        BadInputError: If they are not one or two different folders.
    """
    paths = [Path(each) for each in folders]
    if not 1 <= len(paths) <= 2:
        raise BadInputError(f"{len(paths)} runs were given. Expected one, or two to compare.")
    for parts in range(1, max(len(path.absolute().parts) for path in paths) + 1):
        names = {str(Path(*path.absolute().parts[-parts:])): path for path in paths}
        if len(names) == len(paths):
            return names
    raise BadInputError(f"{paths[0]} was given twice. Expected one run, or two to compare.")


def read(runs: Mapping[str, Path]) -> Measured:
    """Return the measurements so far.

    Args:
        runs: Folders by name, as returned by :func:`named`.

    Raises:
        RecordError: If there is no trial in a folder, or a file of it is damaged.
    """
    results = {name: TrialResult.read(folder) for name, folder in runs.items()}
    evaluations = {}
    for name, result in results.items():
        metric = f"validation/{result.metric}"
        evaluations[name] = (
            [each.step for each in result.evaluations],
            [each.metrics.get(metric, math.nan) for each in result.evaluations],
        )
    targets = {each.validation_target for each in results.values() if each.validation_target is not None}
    return Measured({name: read_rows(folder) for name, folder in runs.items()}, evaluations, targets)


def watch(runs: Mapping[str, Path], pause: float = _PAUSE) -> Iterator[Measured]:
    """Yield the measurements, now and whenever there are new ones, until all runs have ended; nothing without rows.

    Args:
        runs: Folders by name, as returned by :func:`named`.
        pause: Seconds between two checks.

    Raises:
        RecordError: As :func:`read`.
    """
    seen = [0] * len(runs)
    while True:
        # Before the rows are read, so that rows that are written in between are found by the next check.
        ended = all(TrialResult.read(folder).status.final for folder in runs.values())
        sizes = [_size(folder / INSTRUMENTS_FILE) for folder in runs.values()]
        if sizes != seen and all(sizes):
            seen = sizes
            yield read(runs)
        if ended:
            return
        time.sleep(pause)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def follow(*runs: str | Path, pause: float = _PAUSE, dark: bool = False) -> None:
    """Show the panels of one or two runs in a notebook, and redraw them in place until the runs end.

    The runs train in other processes; interrupt the cell to stop watching.

    Args:
        *runs: Folders of one or two trials.
        pause: Seconds between two checks.
        dark: Whether to use a dark background.

    Raises:
        BadInputError: If no run or more than two runs are given, or one is given twice.
        RecordError: As :func:`read`.
    """
    from IPython import display

    from algoperf_lightning.report.looks import settings

    notebook: Any = display  # its classes have no types
    shown = None
    for measured in watch(named(runs), pause):
        file = io.BytesIO()
        with settings():
            measured.panel(dark=dark).savefig(file, format="png", dpi=100)
        picture = notebook.Image(data=file.getvalue(), format="png", width=_WIDTH)
        if shown is None:
            shown = notebook.DisplayHandle()
            shown.display(picture)
        else:
            shown.update(picture)
