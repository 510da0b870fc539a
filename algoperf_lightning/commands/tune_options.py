"""The options of ``algoperf tune``, and the resulting request."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from algoperf_lightning.commands.parser import Once, Parser
from algoperf_lightning.data.data_dir import resolve_data_dir
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.spec import BENCHMARK_VERSIONS, LATEST_VERSION, TRIALS, UNITS
from algoperf_lightning.tuning.calibration import read_scales
from algoperf_lightning.tuning.request import Staged, TuningRequest
from algoperf_lightning.tuning.suites import Suite, get_suite, with_variant

_EPILOG = (
    "Arguments after -- are passed to every `algoperf fit`: -- --config hardware/8gpu. Precision and compilation as "
    "in the benchmark: -- --workload.benchmark_settings true. Run the same command again to resume."
)


def tune_parser() -> Parser:
    """Return the parser of the options before ``--``."""
    parser = Parser(
        hands_on=True,
        prog="algoperf tune",
        description="Run all studies and trials that a ruleset requires, for the given submissions and workloads.",
        epilog=_EPILOG,
    )
    _add_plan_options(parser)
    _add_protocol_options(parser)
    _add_run_options(parser)
    return parser


def _add_plan_options(parser: Parser) -> None:
    """Add the options that define the trials."""
    add = parser.add_argument
    add(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help="names of workloads: digits, fastmri, fastmri_tanh (variant), fastmri_tiny, fastmri_small (sizes)",
    )
    add(
        "--suite",
        help="algoperf, small (all of AlgoPerf at small size), tiny (digits and all of AlgoPerf at tiny size) or "
        "crowded-valley; all workloads of the suite, or those named",
    )
    add(
        "--submission",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME",
        help="registered names, or import paths of classes",
    )
    add("--ruleset", default="external", help=f"{' or '.join(TRIALS)} (default %(default)s)")
    add("--version", default=LATEST_VERSION, help=f"AlgoPerf version: {', '.join(BENCHMARK_VERSIONS)} (default newest)")
    add("--studies", type=int, help="default: 3, or 5 for version 0.5")
    add("--trials", type=int, help="trials of each study (default 5, or all points of a smaller space; self-tuning 1)")
    add(
        "--unit", choices=UNITS, help="unit of budgets (default seconds; tiny and small: steps; crowded-valley: epochs)"
    )
    add("--calibration", metavar="FILE", help="scale the seconds for this machine, with a file of `algoperf calibrate`")
    add("--seed", type=int, default=0, help="determines points and seeds of the trials (default %(default)s)")
    add("--method", default="halton", help="sampling of points: halton, random, or algoperf (the benchmark's sequence)")
    add(
        "--search-space",
        nargs="+",
        action="extend",
        default=[],
        metavar="[NAME=]FILE",
        help="replaces the search space of the class: a file, a packaged one (tiny/adamw), or a folder with a "
        "NAME.json for each submission (tiny)",
    )
    add(
        "--sweep",
        action=Once,
        metavar="NAME",
        help="try octaves of this hyperparameter around its default (NAME=VALUE: around VALUE) instead of a search "
        "space; extended while the best value is at an end; --trials is the initial number (default 7), --studies 1",
    )
    add("--stop-hopeless", action="store_true", help="end trials that can no longer be the fastest of their study")


def _add_protocol_options(parser: Parser) -> None:
    """Add the options of suites with their own protocol."""
    add = parser.add_argument
    add(
        "--budget",
        metavar="NAME",
        help="for crowded-valley: one-shot (default), small, medium or large; each includes the previous one",
    )
    add("--schedule", metavar="NAME", help="for crowded-valley: constant, cosine, cosine-restarts or trapezoid")
    add(
        "--faithful",
        action="store_true",
        help="for crowded-valley: reproduce the published runs, including their errors",
    )


def _add_run_options(parser: Parser) -> None:
    """Add the options that define where and how the trials run."""
    add = parser.add_argument
    add("--data-dir", help="folder of the data (default $ALGOPERF_DATA_DIR, else ./data)")
    add("--output", required=True, metavar="RUNS", help="folder of the plan and all records")
    add("--launcher", default="local", help="local, slurm, ray, or an installed one (default %(default)s)")
    add(
        "--option",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="options of the launcher: jobs=4 devices=1 ...",
    )
    add("--retry-failed", action="store_true", help="run failed trials again")
    add("--dry-run", action="store_true", help="show the plan and its longest duration, without writing anything")
    add("--plain", action="store_true", help="print lines instead of a live table")


def request_of(options: argparse.Namespace, fit_arguments: list[str]) -> TuningRequest:
    """Return the request of the options.

    Args:
        options: The parsed options.
        fit_arguments: Arguments of ``algoperf fit``.

    Raises:
        BadInputError: If they are incompatible, or a file cannot be read.
    """
    suite = None if options.suite is None else get_suite(options.suite, options.version)
    if suite is None and not options.workloads:
        raise BadInputError("No workload was given. Name workloads, or choose a suite: --suite tiny.")
    workloads = options.workloads if suite is None else suite.choose(options.workloads)
    return TuningRequest(
        workloads=with_variant(workloads, "faithful", options.version) if options.faithful else workloads,
        submissions=options.submission,
        output=Path(options.output),
        ruleset=options.ruleset,
        version=options.version,
        studies=options.studies,
        trials=options.trials,
        unit=options.unit or ("seconds" if suite is None else suite.unit),
        scales={} if options.calibration is None else read_scales(Path(options.calibration), options.version),
        seed=options.seed,
        method=options.method,
        search_spaces=_search_spaces(options.search_space, options.submission),
        sweep=options.sweep,
        staged=_staged(options, suite),
        stop_hopeless=options.stop_hopeless,
        fit_arguments=fit_arguments,
        data_dir=resolve_data_dir(options.data_dir),
    )


def _staged(options: argparse.Namespace, suite: Suite | None) -> Staged | None:
    """Return the tuning protocol; None for AlgoPerf's."""
    given = {"budget": options.budget, "schedule": options.schedule, "faithful": options.faithful or None}
    if suite is None or suite.protocol is None:
        if names := [f"--{name}" for name, value in given.items() if value is not None]:
            raise BadInputError(
                f"{', '.join(names)} can only be used with a suite that has a protocol: add --suite crowded-valley."
            )
        return None
    smallest = next(iter(suite.protocol.budgets))
    fixed = {name: given[name] for name in ("schedule", "faithful") if given[name] is not None}
    return Staged(suite.protocol, options.budget or smallest, fixed)


def _search_spaces(given: Sequence[str], submissions: Sequence[str]) -> dict[str, Path]:
    """Return files by submission, from ``NAME=FILE``, ``FILE`` if there is one submission, or a folder of files.

    A folder contains a ``NAME.json`` for each submission, unless another is given by ``NAME=FILE``. A submission
    without a file keeps its own search space, which is reported.
    """
    found: dict[str, Path] = {}
    named: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        path = _file_or_packaged(file if equals else text)
        if equals:
            named[name] = path
        elif path.is_dir():
            found.update(_in_folder(path, submissions))
        elif len(submissions) == 1:
            found[submissions[0]] = path
        else:
            raise BadInputError(
                f"--search-space {text}: there are {len(submissions)} submissions. Name the submission: NAME={text}."
            )
    return {**found, **named}


def _in_folder(folder: Path, submissions: Sequence[str]) -> dict[str, Path]:
    if all(is_left_by_system(path.name) for path in folder.glob("*.json")):
        raise BadInputError(f"--search-space {folder}: expected a folder with files NAME.json, but it has none.")
    found = {}
    for submission in submissions:
        path = folder / f"{submission.rpartition('.')[2]}.json"
        if path.exists():
            found[submission] = path
        else:
            print(f"{submission}: the search space {path.name} is not in {folder}; that of the class is used.")
    return found


def _file_or_packaged(name: str) -> Path:
    """Return the path; packaged files may be given by name: ``tiny``, ``tiny/adamw``."""
    packaged = Path(str(files("algoperf_lightning.configs"))) / "search_spaces"
    candidates = (Path(name), packaged / f"{name}.json", packaged / name)
    return next((path for path in candidates if path.exists()), Path(name))
