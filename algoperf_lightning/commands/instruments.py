"""``algoperf instruments``: pictures of what instruments measured in a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import make_folder
from algoperf_lightning.instruments.live import Measured, named, read, watch
from algoperf_lightning.records.instrument_rows import read_rows, unmeasurable


def run(arguments: Sequence[str]) -> None:
    """Draw once, or repeatedly during the run."""
    parser = Parser(prog="algoperf instruments", description="Plot the measurements of instruments in one or two runs.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trial; two are plotted side by side")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="redraw the pictures whenever there are new measurements, until the run ends",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the pictures (default: the first run's folder)")
    parser.add_argument("--dark", action="store_true", help="use a dark background")
    options = parser.parse(arguments)
    runs = named(options.runs)
    output = make_folder(options.output or options.runs[0], "--output")
    drawn = False
    for measured in watch(runs) if options.follow else [read(runs)]:
        if all(measured.rows.values()):
            _draw(measured, output, options.dark)
            drawn = True
    if not drawn:
        empty = next(folder for folder in runs.values() if not read_rows(folder))
        raise BadInputError(
            f"Nothing was measured in {empty}. Run it with instruments: "
            "algoperf fit ... --instruments.measure business."
        )


def _draw(measured: Measured, output: Path, dark: bool) -> None:
    from algoperf_lightning.instruments.pictures import layers
    from algoperf_lightning.report.looks import save

    written = [output / "instruments.png", output / "layers.png"]
    save(measured.panel(dark=dark), written[0])
    save(layers(measured.rows, dark=dark), written[1])
    for name, rows in measured.rows.items():
        for instrument, reason in unmeasurable(rows).items():
            print(f"{name}: {instrument} was not measured: {reason}.")
    print(f"Drawn: {', '.join(map(str, written))}")
