"""``algoperf tune``: all studies and trials of a ruleset, resumable, on a launcher."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from algoperf_lightning.commands.fit_arguments import FitArguments
from algoperf_lightning.commands.fit_errors import check_types
from algoperf_lightning.commands.hparams import expand_hparams
from algoperf_lightning.commands.parser import Once, Parser
from algoperf_lightning.data.data_dir import resolve_data_dir
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.plugins import find_submission
from algoperf_lightning.records.repair import forget_failure, repair
from algoperf_lightning.spec import BENCHMARK_VERSIONS, LATEST_VERSION, TRIALS
from algoperf_lightning.tuning.calibration import read_scales
from algoperf_lightning.tuning.launchers import make_launcher
from algoperf_lightning.tuning.launchers.base import Launch, Launcher
from algoperf_lightning.tuning.plan import PLAN_FILE, PlannedTrial, Study, check_same
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.state import State, TrialState, look
from algoperf_lightning.tuning.studies import in_order
from algoperf_lightning.tuning.suites import get_suite
from algoperf_lightning.tuning.sweep import Sweep, describe_sweep
from algoperf_lightning.tuning.view import describe, left_at_worst, status_table, summary, watching
from algoperf_lightning.utilities import terminal
from algoperf_lightning.utilities.locks import is_locked

_EPILOG = (
    "Arguments after -- are given to every `algoperf fit`: -- --config hardware/8gpu. Precision and compilation as the "
    "benchmark timed them: -- --workload.benchmark_settings true. "
    "The same command again goes on where the last one ended."
)


def run(arguments: Sequence[str]) -> None:
    """Plan, run what is left of the plan, and say how it stands."""
    given = list(arguments)
    split = given.index("--") if "--" in given else len(given)
    options = _parser().parse(given[:split])
    check_types(FitArguments().read(expand_hparams(given[split + 1 :])))  # or each trial would find out for itself
    request = _request(options, given[split + 1 :])
    launcher = make_launcher(options.launcher, options.option)
    studies = plan_studies(request)
    for study in studies:
        if (study.folder / PLAN_FILE).exists():
            check_same(study, Study.read(study.folder))
    if options.dry_run:
        _show_plan(studies, launcher.slots())
        return
    done = _run(studies, request, launcher, options)
    while done and request.sweep is not None:
        # What comes next follows from the records of what has run.
        grown = plan_studies(request)
        if grown == studies:
            break
        _print_extensions(studies, grown)
        studies = grown
        done = _run(studies, request, launcher, options)
    if request.sweep is not None:
        _describe_sweeps(request.sweep, studies)
    _report(in_order(studies), done)


def _run(studies: Sequence[Study], request: TuningRequest, launcher: Launcher, options: argparse.Namespace) -> bool:
    """Write the plan and run what is left of it; return whether nothing of it was handed over to run later."""
    for study in studies:
        study.write()
    trials = in_order(studies)
    to_run = [state.trial for state in map(look, trials) if _is_to_run(state, options.retry_failed)]
    if options.retry_failed:
        renew([trial for trial in to_run if look(trial).state is State.FAILED])
    print(summary([look(trial) for trial in trials], launcher.slots()), flush=True)
    done = not to_run
    try:
        with watching(trials, launcher.slots(), options.plain) as show:
            if to_run:
                done = launcher.run(Launch(to_run, request.output, request.data_dir, show))
            show()
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from the last checkpoints.")
        raise SystemExit(130) from None
    return done


def _print_extensions(studies: Sequence[Study], grown: Sequence[Study]) -> None:
    for before, now in zip(studies, grown, strict=True):
        if now.number == 1 and (added := now.points[len(before.points) :]):
            values = ", ".join(_shown(value) for point in added for value in point.values())
            print(f"{now.submission} on {now.workload}: the best is at an end, so the sweep goes on with {values}.")


def _describe_sweeps(wanted: str, studies: Sequence[Study]) -> None:
    groups: dict[tuple[str, str], list[Study]] = {}
    for study in studies:
        groups.setdefault((study.class_path, study.workload), []).append(study)
    for (class_path, _), group in groups.items():
        print(describe_sweep(Sweep.of(find_submission(class_path), wanted), group))


def renew(failed: Sequence[PlannedTrial]) -> None:
    """Let failed trials run again: repair their folders, and forget what their failures said."""
    for trial in failed:
        if is_locked(trial.folder):
            continue  # another runner has it
        trial.restore_config()
        planned = {"workload": trial.study.workload, "seed": trial.seed}
        if done := repair(trial.folder, planned):
            print(f"{trial.name}: {done}", flush=True)
        forget_failure(trial.folder)


def _is_to_run(state: TrialState, retry_failed: bool) -> bool:
    return not state.state.over and (retry_failed or state.state is not State.FAILED)


def _report(trials: Sequence[PlannedTrial], done: bool) -> None:
    """Say how all trials stand, and what to do about those that failed or, if the launcher is done, were left."""
    states = [look(trial) for trial in trials]
    failed = [state for state in states if state.state is State.FAILED]
    for state in failed:
        print(describe(state), file=sys.stderr)
    print(summary(states))
    if failed:
        print("Failed trials are run again with --retry-failed; what they printed is in log.txt of their folders.")
    left = [state for state in states if done and state.state in (State.WAITING, State.INTERRUPTED)]
    if left:
        print(f"{len(left)} trials were left before their end; the same command goes on with them. See their log.txt.")
    if failed or left:
        raise SystemExit(1)


def _show_plan(studies: Sequence[Study], slots: int | None) -> None:
    console = terminal.console()
    states = [look(trial) for trial in in_order(studies)]
    console.print(status_table(states, console.width))
    for study in studies:
        if study.number == 1 and study.search_space is not None:
            console.print(f"{study.submission} on {study.workload}, study 1:", highlight=False)
            for trial in study.trials:
                point = ", ".join(f"{name} {_shown(value)}" for name, value in trial.point.items())
                console.print(f"  trial {trial.number}, seed {trial.seed}: {point}", highlight=False, soft_wrap=True)
    console.print(
        f"{len(states)} trials, {left_at_worst(states, slots)}; evaluations and starts come on top. Nothing was "
        "written.",
        soft_wrap=True,
        highlight=False,
    )


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _request(options: argparse.Namespace, fit_arguments: list[str]) -> TuningRequest:
    suite = None if options.suite is None else get_suite(options.suite, options.version)
    if suite is None and not options.workloads:
        raise BadInputError("No workload was named. Name some, or take a whole suite: --suite tiny.")
    return TuningRequest(
        workloads=options.workloads if suite is None else suite.choose(options.workloads),
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
        stop_hopeless=options.stop_hopeless,
        fit_arguments=fit_arguments,
        data_dir=resolve_data_dir(options.data_dir),
    )


def _search_spaces(given: Sequence[str], submissions: Sequence[str]) -> dict[str, Path]:
    """Return files by submission, from ``NAME=FILE``, ``FILE`` where there is one submission, or a folder of files.

    In a folder each submission has its ``NAME.json``, unless another is given by ``NAME=FILE``. One without a file
    keeps its own search space, which is reported.
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
                f"--search-space {text}: there are {len(submissions)} submissions. Say whose it is: NAME={text}."
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
    """Return the path; what comes with the package may be called as it is in there: ``tiny``, ``tiny/adamw``."""
    packaged = Path(str(files("algoperf_lightning.configs"))) / "search_spaces"
    candidates = (Path(name), packaged / f"{name}.json", packaged / name)
    return next((path for path in candidates if path.exists()), Path(name))


def _parser() -> Parser:
    parser = Parser(
        hands_on=True,
        prog="algoperf tune",
        description="Run all studies and trials that a ruleset prescribes, for some submissions on some workloads.",
        epilog=_EPILOG,
    )
    _add_plan_options(parser)
    _add_run_options(parser)
    return parser


def _add_plan_options(parser: Parser) -> None:
    """Add what decides which trials there are."""
    add = parser.add_argument
    add("workloads", nargs="*", metavar="WORKLOAD", help="digits, fastmri, a variant: fastmri_tanh; tiny: fastmri_tiny")
    add("--suite", help="algoperf, or tiny: digits and the same at tiny size; all of it, or the workloads named")
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
    add("--unit", choices=("seconds", "steps"), help="what budgets count (default seconds; in the suite tiny steps)")
    add("--calibration", metavar="FILE", help="scale seconds for this machine, as `algoperf calibrate` measured it")
    add("--seed", type=int, default=0, help="decides points and seeds of the trials (default %(default)s)")
    add(
        "--method", default="halton", help="how points are drawn: halton, random, or algoperf: the benchmark's sequence"
    )
    add(
        "--search-space",
        nargs="+",
        action="extend",
        default=[],
        metavar="[NAME=]FILE",
        help="instead of the class's own search space; packaged: tiny/adamw; a folder with NAME.json of each: tiny",
    )
    add(
        "--sweep",
        action=Once,
        metavar="NAME",
        help="instead of a search space, octaves of this hyperparameter around its default (NAME=VALUE: around that); "
        "extends itself while the best is at an end; --trials is how many to begin with (default 7), --studies 1",
    )
    add("--stop-hopeless", action="store_true", help="end trials that can no longer be the fastest of their study")


def _add_run_options(parser: Parser) -> None:
    """Add where and how the trials are run."""
    add = parser.add_argument
    add("--data-dir", help="where the data lie (default $ALGOPERF_DATA_DIR, else ./data)")
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
    add("--retry-failed", action="store_true", help="run trials that failed once more")
    add("--dry-run", action="store_true", help="show the plan and the time it takes at worst, and write nothing")
    add("--plain", action="store_true", help="print lines instead of a live table")
