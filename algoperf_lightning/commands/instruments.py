"""``algoperf instruments``: pictures of what instruments measured in a trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import make_folder
from algoperf_lightning.records.instrument_rows import Row, read_rows, unmeasurable
from algoperf_lightning.result import TrialResult

_PAUSE = 2.0
"""Seconds between two looks at a run that is followed."""


def run(arguments: Sequence[str]) -> None:
    """Draw once, or repeatedly during the run."""
    parser = Parser(prog="algoperf instruments", description="Draw the measurements of instruments in one or two runs.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trial; two are drawn side by side")
    parser.add_argument(
        "--follow", action="store_true", help="draw again whenever there are new rows, until the run ends"
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the pictures (default: the first run's folder)")
    options = parser.parse(arguments)
    folders = [Path(each) for each in options.runs]
    if len(folders) > 2:
        raise BadInputError(f"{len(folders)} runs were given. Expected one, or two to be compared.")
    output = make_folder(options.output or folders[0], "--output")
    names = _names(folders)
    seen = -1
    while True:
        rows = {name: read_rows(folder) for name, folder in names.items()}
        if sum(map(len, rows.values())) != seen:
            seen = sum(map(len, rows.values()))
            _draw(names, rows, output, follow=options.follow)
        if not options.follow or all(TrialResult.read(folder).status.final for folder in folders):
            return
        time.sleep(_PAUSE)


def _names(folders: Sequence[Path]) -> dict[str, Path]:
    """Return folders by the shortest names that tell them apart."""
    for parts in range(1, max(len(folder.absolute().parts) for folder in folders) + 1):
        names = {str(Path(*folder.absolute().parts[-parts:])): folder for folder in folders}
        if len(names) == len(folders):
            return names
    raise BadInputError(f"{folders[0]} was given twice. Expected one run, or two to be compared.")


def _draw(names: dict[str, Path], rows: dict[str, list[Row]], output: Path, *, follow: bool) -> None:
    from algoperf_lightning.instruments.pictures import layers, panel
    from algoperf_lightning.report.looks import save

    empty = [folder for name, folder in names.items() if not rows[name]]
    if empty and not follow:
        raise BadInputError(
            f"Nothing was measured in {empty[0]}. Run it with instruments: "
            "algoperf fit ... --instruments.measure business."
        )
    if empty:
        return
    evaluations = {}
    for name, folder in names.items():
        result = TrialResult.read(folder)
        known = [(e.step, e.metrics.get(f"validation/{result.metric}", float("nan"))) for e in result.evaluations]
        evaluations[name] = [step for step, _ in known], [value for _, value in known]
    written = [output / "instruments.png"]
    save(panel(rows, evaluations), written[0])
    for number, (name, each) in enumerate(rows.items(), start=1):
        written.append(output / f"layers{'' if number == 1 else f'_{number}'}.png")
        save(layers(each, name), written[-1])
        for instrument, reason in unmeasurable(each).items():
            print(f"{name}: {instrument} was not measured: {reason}.")
    print(f"Drawn: {', '.join(map(str, written))}")
