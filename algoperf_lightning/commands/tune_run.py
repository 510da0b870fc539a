"""The work of ``algoperf tune``: plan all studies and trials of a ruleset, run them on a launcher, report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from algoperf_lightning.commands.fit_arguments import FitArguments
from algoperf_lightning.commands.fit_errors import check_types
from algoperf_lightning.commands.hparams import expand_hparams
from algoperf_lightning.commands.tune_options import request_of
from algoperf_lightning.plugins import find_submission
from algoperf_lightning.records.repair import forget_failure, repair
from algoperf_lightning.tuning.launchers import make_launcher
from algoperf_lightning.tuning.launchers.base import Launch, Launcher
from algoperf_lightning.tuning.plan import PLAN_FILE, PlannedTrial, Study, check_same
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.staged import trials_to_follow
from algoperf_lightning.tuning.state import State, TrialState, Watch, look
from algoperf_lightning.tuning.studies import in_order
from algoperf_lightning.tuning.sweep import Sweep, describe_sweep
from algoperf_lightning.tuning.view import describe, left_at_worst, status_table, summary, watching
from algoperf_lightning.utilities import terminal
from algoperf_lightning.utilities.locks import is_locked


def tune(options: argparse.Namespace, fit_arguments: list[str]) -> None:
    """Plan, run the remaining trials of the plan, and report.

    Args:
        options: Options of the command.
        fit_arguments: Arguments of ``algoperf fit``, for every trial.

    Raises:
        BadInputError: If something cannot be planned.
    """
    check_types(FitArguments().read(expand_hparams(fit_arguments)))  # otherwise each trial would fail
    request = request_of(options, fit_arguments)
    launcher = make_launcher(options.launcher, options.option)
    studies = plan_studies(request)
    for study in studies:
        if (study.folder / PLAN_FILE).exists():
            check_same(study, Study.read(study.folder))
    if options.dry_run:
        _show_plan(studies, launcher.slots())
        _show_what_may_follow(request, studies)
        return
    done = _run(studies, request, launcher, options)
    while done and not (request.sweep is None and request.staged is None):
        # The next trials depend on the records of previous ones.
        grown = plan_studies(request)
        if grown == studies:
            break
        if request.sweep is not None:
            _print_extensions(studies, grown)
        studies = grown
        done = _run(studies, request, launcher, options)
    if request.sweep is not None:
        _describe_sweeps(request.sweep, studies)
    if not done and _show_what_may_follow(request, studies):
        print("Run the same command again when the preceding trials have ended.")
    _report(in_order(studies), done)


def _run(studies: Sequence[Study], request: TuningRequest, launcher: Launcher, options: argparse.Namespace) -> bool:
    """Write the plan and run its remaining trials; return False if trials were submitted to run later."""
    for study in studies:
        study.write()
    trials = in_order(studies)
    watch = Watch(trials)
    to_run = [state for state in watch.look() if _is_to_run(state, options.retry_failed)]
    if options.retry_failed:
        renew([state.trial for state in to_run if state.state is State.FAILED])
    print(summary(watch.look(), launcher.slots()), flush=True)
    done = not to_run
    try:
        with watching(watch, launcher.slots(), options.plain) as show:
            if to_run:
                done = launcher.run(Launch([state.trial for state in to_run], request.output, request.data_dir, show))
            show()
    except KeyboardInterrupt:
        print("Interrupted. The same command resumes from the last checkpoints.")
        raise SystemExit(130) from None
    return done


def _print_extensions(studies: Sequence[Study], grown: Sequence[Study]) -> None:
    for before, now in zip(studies, grown, strict=True):
        if now.number == 1 and (added := now.points[len(before.points) :]):
            values = ", ".join(_shown(value) for point in added for value in point.values())
            print(
                f"{now.submission} on {now.workload}: the best value is at an end, so the sweep continues with "
                f"{values}."
            )


def _describe_sweeps(wanted: str, studies: Sequence[Study]) -> None:
    groups: dict[tuple[str, str], list[Study]] = {}
    for study in studies:
        groups.setdefault((study.class_path, study.workload), []).append(study)
    for (class_path, _), group in groups.items():
        print(describe_sweep(Sweep.of(find_submission(class_path), wanted), group))


def renew(failed: Sequence[PlannedTrial]) -> None:
    """Prepare failed trials for another run: repair their folders, and delete their failures."""
    for trial in failed:
        if is_locked(trial.folder):
            continue  # another process runs it
        trial.restore_config()
        planned = {"workload": trial.study.workload, "seed": trial.seed}
        if done := repair(trial.folder, planned):
            print(f"{trial.name}: {done}", flush=True)
        forget_failure(trial.folder)


def _is_to_run(state: TrialState, retry_failed: bool) -> bool:
    return not state.state.over and (retry_failed or state.state is not State.FAILED)


def _report(trials: Sequence[PlannedTrial], done: bool) -> None:
    """Print the status of all trials, and what to do about failed ones or, if the launcher is done, remaining ones."""
    states = [look(trial) for trial in trials]
    failed = [state for state in states if state.state is State.FAILED]
    for state in failed:
        print(describe(state), file=sys.stderr)
    print(summary(states))
    if failed:
        print("--retry-failed runs the failed trials again; their output is in log.txt in their folders.")
    left = [state for state in states if done and state.state in (State.WAITING, State.INTERRUPTED)]
    if left:
        print(f"{len(left)} trials did not finish; the same command resumes them. See their log.txt.")
    if failed or left:
        raise SystemExit(1)


def _show_plan(studies: Sequence[Study], slots: int | None) -> None:
    console = terminal.console()
    states = [look(trial) for trial in in_order(studies)]
    console.print(status_table(states, console.width))
    for study in studies:
        if study.number == 1 and any(study.points):
            console.print(f"{study.submission} on {study.workload}, study {study.label}:", highlight=False)
            for trial in study.trials:
                point = ", ".join(f"{name} {_shown(value)}" for name, value in trial.point.items())
                console.print(f"  trial {trial.number}, seed {trial.seed}: {point}", highlight=False, soft_wrap=True)
    console.print(
        f"{len(states)} trials, {left_at_worst(states, slots)}; plus evaluations and start-up. Nothing was written.",
        soft_wrap=True,
        highlight=False,
    )


def _show_what_may_follow(request: TuningRequest, studies: Sequence[Study]) -> bool:
    """Print what will be planned when results exist; return whether there is anything."""
    staged = request.staged
    if staged is None or not (count := trials_to_follow(staged, studies)):
        return False
    most = max(study.budget for study in studies)
    print(
        f"At most {count} more trials depend on the results (refined spaces, best points with other seeds), "
        f"each of at most {most:,g} {studies[0].unit}."
    )
    return True


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
