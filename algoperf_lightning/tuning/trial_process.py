"""One planned trial in a separate process: ``python -m algoperf_lightning.tuning.trial_process FOLDER``.

Every launcher starts this. It takes the trial's lock, and passes the trial's config to ``algoperf fit``, which starts
the trial, resumes it from its checkpoint, or finds it finished. The end of the process releases its memory and lock.

Exit codes: 0 the trial is finished; 143 it was terminated, and can be resumed; 75 another process runs it; 2 its
settings are wrong; 1 it failed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import FAILURE_FILE, RecordError, Status, TrialResult
from algoperf_lightning.tuning.fork_server import SERVE, end_at_once, serve
from algoperf_lightning.tuning.plan import CONFIG_FILE, PlannedTrial, Study
from algoperf_lightning.tuning.state import State, look
from algoperf_lightning.utilities.interruption import OutsideEnd, Preempted
from algoperf_lightning.utilities.locks import TrialLock, holder

EXIT_LOCKED = 75
EXIT_PREEMPTED = 128 + signal.SIGTERM
PARENT = "ALGOPERF_PARENT"
"""Environment variable with the process that started this one; when that ends, the trial ends regularly."""

_MODULE = [sys.executable, "-m", __name__]
_PR_SET_PDEATHSIG = 1
_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
_PLACE = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
)
_PLACE_PREFIXES = ("TORCHELASTIC_", "JSM_NAMESPACE_")


def command(trial: PlannedTrial) -> list[str]:
    """Return the command that runs a trial."""
    return [*_MODULE, str(trial.folder.absolute())]


def server_command() -> list[str]:
    """Return the command that starts a server, which forks the processes of trials."""
    return [*_MODULE, SERVE]


def child_environment(*more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a trial's process that this one starts: this one's, and ``more``.

    Variables of ``torchrun``, ``srun`` and similar programs about ranks are removed. Otherwise a trial would consider
    itself one of several ranks, and wait for the others.
    """
    mine = {
        name: value for name, value in os.environ.items() if name not in _PLACE and not name.startswith(_PLACE_PREFIXES)
    }
    for variables in more:
        mine.update(variables)
    return {**mine, PARENT: str(os.getpid())}


def record_end(trial: PlannedTrial, code: int) -> None:
    """Record a trial as failed if its process ended by itself and left it unfinished, for example with ``os._exit``.

    Otherwise every ``algoperf tune`` would run it again. A trial that was killed, or asked to end, can be resumed.
    """
    if code < 0 or code in (EXIT_LOCKED, EXIT_PREEMPTED):
        return
    stands = look(trial)
    unfinished = stands.state in (State.WAITING, State.INTERRUPTED)
    if unfinished and (stands.result is None or stands.result.status is Status.RUNNING):
        text = f"The trial's process ended with exit code {code} before the trial ended, without a message."
        (trial.folder / FAILURE_FILE.format(rank=0)).write_text(text, encoding="utf-8")


def planned_trial(folder: Path) -> PlannedTrial:
    """Return the planned trial of a folder.

    Raises:
        BadInputError: If there is none.
    """
    study = Study.read(folder.parent)
    for trial in study.trials:
        if trial.folder.name == folder.name:
            return trial
    raise BadInputError(f"{folder} does not belong to its study, which has {len(study.seeds)} trials.")


def fit_arguments(trial: PlannedTrial) -> list[str]:
    """Return the arguments of ``algoperf fit``."""
    arguments = [*trial.fit_options, "--config", str(trial.folder / CONFIG_FILE)]
    arguments += ["--recorder.folder", str(trial.folder)]
    if trial.study.stop_hopeless:
        arguments += ["--trainer.callbacks+=algoperf_lightning.callbacks.StopHopeless"]
        arguments += [f"--trainer.callbacks.study={trial.folder.parent}"]
    return arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one trial and return the exit code."""
    parser = argparse.ArgumentParser(prog="trial_process", description="Run one planned trial.")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("folder", nargs="?", type=Path, help="SUBMISSION/study_K/WORKLOAD/trial_N")
    place.add_argument(SERVE, action="store_true", help="fork a trial for each request on standard input")
    options = parser.parse_args(arguments)
    _listen()
    if options.folder is not None:
        return _take_and_run(options.folder.absolute())
    forked = serve()
    if forked is not None:
        folder, server = forked
        sys.argv[1:] = [str(folder)]  # with which Lightning starts further ranks
        os.environ[PARENT] = str(server)
        _listen()
        end_at_once(_take_and_run(folder))
    return 0


def _take_and_run(folder: Path) -> int:
    """Run a trial unless another process does, and return the exit code."""
    if not _is_first_rank():
        return _run(folder)
    lock = TrialLock(folder)
    if not lock.take():
        print(f"{folder} is already run by another process: {holder(folder)}.", file=sys.stderr)  # noqa: T201
        return EXIT_LOCKED
    lock.hand_on()
    try:
        return _run(folder)
    finally:
        lock.release()


def _listen() -> None:
    """End this process regularly after a signal, or when the process that started it ends."""
    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):  # Windows has the first one only
            signal.signal(getattr(signal, name), _end_early)
    if parent := os.environ.pop(PARENT, ""):
        _end_with(int(parent))


def _run(folder: Path) -> int:
    from algoperf_lightning.commands import fit
    from algoperf_lightning.training.calls import describe

    failure = folder / FAILURE_FILE.format(rank=0)
    try:
        trial = planned_trial(folder)
        if _is_first_rank():
            trial.restore_config()  # the plan counts, even if the file was changed since
        arguments = fit_arguments(trial)
        fit.fit(fit.parse(arguments), arguments)
    except BadInputError as error:
        failure.write_text(str(error), encoding="utf-8")
        print(f"algoperf: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except (OutsideEnd, KeyboardInterrupt):
        raise
    except BaseException as error:
        if not _end_is_recorded(folder):
            failure.write_text(describe(error), encoding="utf-8")
        if isinstance(error, Exception):
            raise
        traceback.print_exc()
        return 1
    return 0


def _end_is_recorded(folder: Path) -> bool:
    try:
        return TrialResult.read(folder).status in (Status.FAILED, Status.PREEMPTED)
    except RecordError:
        return False


def _end_early(signum: int, frame: object) -> None:
    """End before the training loop has started; after that, the clock handles these signals."""
    # The first rank determines the status. Other ranks are also terminated when it fails, which is not a preemption.
    raise Preempted(signal.SIGTERM, first_rank=_is_first_rank())


def _is_first_rank() -> bool:
    """Return whether this is the rank that represents the trial, whoever started the ranks."""
    ranks = [os.environ[name] for name in _RANKS if name in os.environ]
    return all(rank == "0" for rank in ranks)


def _end_with(parent: int) -> None:
    """Request SIGTERM for the end of the parent process (Linux); a trial then saves its checkpoint and ends."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has already ended
        raise SystemExit(EXIT_PREEMPTED)


if __name__ == "__main__":
    sys.exit(main())
