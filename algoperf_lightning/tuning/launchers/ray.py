"""Trials as tasks of a Ray cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.tuning.launchers.base import Launch, Launcher, sigterm_as_interrupt
from algoperf_lightning.tuning.launchers.local import RESTARTS
from algoperf_lightning.tuning.plan import LOG_FILE, PlannedTrial
from algoperf_lightning.tuning.trial_process import EXIT_LOCKED, child_environment, command, record_end
from algoperf_lightning.utilities.libraries import require_libraries

_PATIENCE = 60.0  # seconds to wait for the process of a killed worker to save its checkpoint


class TrialKilledError(RuntimeError):
    """The process of a trial was killed; Ray runs its task again."""


class RayLauncher(Launcher):
    """Run trials as tasks of an existing Ray cluster (https://docs.ray.io), or of a temporary one.

    The output folder and the data must be the same files on all of its machines. If the worker or machine of a trial
    dies, Ray runs the trial elsewhere, from its checkpoint.

    Args:
        address: Address of the cluster; ``auto`` finds the one of this machine, ``local`` starts one here.
        devices: GPUs of each trial.
        gpus: ``no`` for trials without GPUs.
        cpus: CPU cores of each trial.
    """

    def __init__(self, address: str = "auto", devices: int = 1, gpus: str = "yes", cpus: int = 1) -> None:
        if gpus not in ("yes", "no"):
            raise BadInputError(f"--option gpus={gpus}: expected yes or no.")
        self._address = address
        self._resources = {"num_gpus": devices if gpus == "yes" else 0, "num_cpus": cpus}

    def slots(self) -> int | None:
        """Return None: only the cluster knows it."""
        return None

    def run(self, launch: Launch) -> bool:
        """Submit all trials to Ray, wait for them, and return True.

        Raises:
            BadInputError: If there is no cluster at the address.
            MissingLibraryError: If Ray is not installed.
        """
        require_libraries("The launcher 'ray'", ["ray"], "algoperf-lightning[ray]")
        ray: Any = import_module("ray")
        try:
            ray.init(address=self._address, log_to_driver=False, configure_logging=False, ignore_reinit_error=True)
        except ConnectionError as error:
            raise BadInputError(
                f"There is no Ray cluster at {self._address!r} ({error}). Start one with `ray start --head`, or give "
                "--option address=ADDRESS; address=local starts one for this command."
            ) from error
        task = ray.remote(**self._resources, max_retries=RESTARTS, retry_exceptions=[TrialKilledError], max_calls=1)(
            run_trial
        )
        pending: dict[Any, PlannedTrial] = {}
        with sigterm_as_interrupt():  # after ray.init, which replaces the handler of SIGTERM
            try:
                for trial in launch.trials:
                    log = str(trial.folder.absolute() / LOG_FILE)
                    reference = task.options(name=trial.name).remote(command(trial), launch.environment, log)
                    pending[reference] = trial
                while pending:
                    ended, _ = ray.wait(list(pending), timeout=1.0)
                    for reference in ended:
                        _finish(ray, reference, pending.pop(reference))
                    launch.show()
            except KeyboardInterrupt:
                _end_all(ray, pending)
                raise
            finally:
                ray.shutdown()
        return True


def _finish(ray: Any, reference: Any, trial: PlannedTrial) -> None:
    """Print why a task could not run its trial to the end; a trial's own failure is in its record."""
    try:
        record_end(trial, ray.get(reference))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", error)
        print(f"{trial.name} did not finish: {type(cause).__name__}: {cause}", file=sys.stderr)  # noqa: T201


def _end_all(ray: Any, pending: dict[Any, PlannedTrial]) -> None:
    """Tell trials to save their checkpoints and end, and report those that have not done so in time."""
    for reference in pending:
        ray.cancel(reference)
    references = list(pending)
    _, left = ray.wait(references, num_returns=len(references), timeout=_PATIENCE) if references else ([], [])
    for reference in left:
        print(f"{pending[reference].name} has not stopped yet: its machine may still be saving its state.")  # noqa: T201


def run_trial(arguments: list[str], environment: dict[str, str], log: str) -> int:
    """Run a trial's process to its end in a Ray worker, and return its exit code.

    Raises:
        TrialKilledError: If it was killed.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        code = _run_once(arguments, environment, log)
        if code < 0:
            raise TrialKilledError(f"{arguments[-1]} was killed by signal {-code}.")
        # The previous worker was killed, and its trial is still saving its checkpoint.
        if code != EXIT_LOCKED or time.monotonic() > deadline:
            return code
        time.sleep(1.0)


def _run_once(arguments: list[str], environment: dict[str, str], log: str) -> int:
    with Path(log).open("ab") as file:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=child_environment(environment),
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            time.sleep(0.2)  # Ray's cancellation of a task does not interrupt a wait for a process
        return process.returncode
    finally:
        if process.poll() is None:  # the task was cancelled
            process.send_signal(signal.SIGTERM)
            process.wait()
