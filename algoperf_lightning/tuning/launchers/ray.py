"""Trials as tasks of a Ray cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import MissingLibraryError
from algoperf_lightning.tuning.launchers.base import Launch, Launcher
from algoperf_lightning.tuning.launchers.local import RESTARTS
from algoperf_lightning.tuning.plan import LOG_FILE
from algoperf_lightning.tuning.trial_process import EXIT_LOCKED, PARENT, command

_PATIENCE = 60.0  # seconds to wait for the process of a killed worker to save its checkpoint


class TrialKilledError(RuntimeError):
    """The process of a trial was killed; Ray runs its task again."""


class RayLauncher(Launcher):
    """Run trials as tasks of a Ray cluster that is there already (https://docs.ray.io), or one made for the occasion.

    The output folder and the data must be the same files on all of its machines. A trial whose worker or machine dies
    is run again by Ray elsewhere, and goes on from its checkpoint.

    Args:
        address: Of the cluster; ``auto`` finds the one this machine belongs to, ``local`` starts one here.
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
        """Return None: that is for the cluster to know."""
        return None

    def run(self, launch: Launch) -> None:
        """Hand all trials to Ray, and wait for them.

        Raises:
            BadInputError: If there is no cluster at the address.
            MissingLibraryError: If Ray is not installed.
        """
        ray = _import_ray()
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
        environment = launch.environment
        pending = [
            task.options(name=trial.name).remote(command(trial), environment, str(trial.folder.absolute() / LOG_FILE))
            for trial in launch.trials
        ]
        try:
            while pending:
                _, pending = ray.wait(pending, timeout=1.0)
                launch.show()
        except KeyboardInterrupt:
            for reference in pending:
                ray.cancel(reference)
            ray.wait(pending, num_returns=len(pending), timeout=_PATIENCE)
            raise
        finally:
            ray.shutdown()


def run_trial(arguments: list[str], environment: dict[str, str], log: str) -> int:
    """Run a trial's process to its end, in a worker of Ray, and return its exit code.

    Raises:
        TrialKilledError: If it was killed.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        code = _run_once(arguments, environment, log)
        if code < 0:
            raise TrialKilledError(f"{arguments[-1]} was killed by signal {-code}.")
        # The worker before this one was killed, and its trial is still saving its checkpoint.
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
            env={**os.environ, **environment, PARENT: str(os.getpid())},
            start_new_session=True,
        )
    try:
        return process.wait()
    finally:
        if process.poll() is None:  # the task was cancelled
            process.send_signal(signal.SIGTERM)
            process.wait()


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            "The launcher 'ray' needs the library Ray: pip install 'algoperf-lightning[ray]'."
        ) from error
    return ray
