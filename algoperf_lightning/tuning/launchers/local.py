"""Concurrent trials on this machine, each on its own devices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.tuning.fork_server import ForkedTrial, ForkServer, wait_for_any
from algoperf_lightning.tuning.launchers.base import Launch, Launcher, sigterm_as_interrupt
from algoperf_lightning.tuning.plan import LOG_FILE, PlannedTrial
from algoperf_lightning.tuning.state import State, look
from algoperf_lightning.tuning.trial_process import (
    EXIT_LOCKED,
    child_environment,
    command,
    record_end,
    server_command,
)
from algoperf_lightning.utilities.locks import is_locked

RESTARTS = 2
"""How often a trial whose process was killed is resumed immediately, before it is left for the next command."""

_FORKS = sys.platform == "linux"  # on other systems, system libraries do not survive a fork
_PAUSE = 0.5  # seconds between checks of the processes
_GRACE = 60.0  # seconds that a trial has to save its checkpoint at the end
_LOCK_PATIENCE = 10.0  # seconds; the process that holds a trial may be one of an ended runner, saving its checkpoint


@dataclass
class _Slot:
    """Devices for one trial at a time."""

    environment: Mapping[str, str]
    cores: frozenset[int] | None = None
    forks: bool = False
    """Whether trials are forked from a process that has imported everything; not if they use GPUs."""
    trial: PlannedTrial | None = None
    process: subprocess.Popen[bytes] | ForkedTrial | None = None
    server: ForkServer | None = None

    def open(self, launch: Launch) -> None:
        """Start the server, if one is used."""
        if self.forks:
            environment = child_environment(launch.environment, self.environment)
            self.server = ForkServer(server_command(), environment, self.cores)

    def start(self, trial: PlannedTrial, launch: Launch) -> None:
        """Start a trial's process."""
        self.trial = trial  # first, so that a signal never arrives while a process has no trial
        if self.server is not None and self.server.gone:
            self.server.close()
            self.open(launch)
        if self.server is not None:
            self.process = self.server.start(trial.folder, trial.folder / LOG_FILE)
            if self.process is not None:
                return
        environment = child_environment(launch.environment, self.environment)
        with (trial.folder / LOG_FILE).open("ab") as log:
            # In a separate session: only this process receives Ctrl-C, and then ends its trials regularly.
            self.process = subprocess.Popen(
                command(trial),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        if self.cores is not None:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(self.process.pid, self.cores)


@dataclass
class _Queue:
    waiting: deque[PlannedTrial]
    restarts: dict[str, int] = field(default_factory=dict)
    found_locked: dict[str, float] = field(default_factory=dict)
    """Time at which a trial was first found to be run by another process."""

    def try_later(self, trial: PlannedTrial) -> None:
        """Put a locked trial after the others; after a while, leave it to the process that runs it."""
        first = self.found_locked.setdefault(trial.name, time.monotonic())
        if time.monotonic() - first < _LOCK_PATIENCE:
            self.waiting.append(trial)


class LocalLauncher(Launcher):
    """Run trials on this machine.

    With GPUs, the number of concurrent trials is the number of GPUs (in ``CUDA_VISIBLE_DEVICES``, if it is set) divided
    by the GPUs of a trial; each trial only sees its own. Without GPUs, one trial at a time runs on all cores.
    Concurrent trials on one CPU slow each other down; with ``jobs`` each gets its own cores, but they still share
    memory and caches.

    Args:
        jobs: Concurrent trials. Default: as above.
        devices: GPUs of each trial. The Trainer needs the same number: ``-- --trainer.devices 8``.
    """

    def __init__(self, jobs: int | None = None, devices: int = 1) -> None:
        self._slots = _slots(jobs, devices, _visible_gpus())

    def slots(self) -> int:
        """Return the number of concurrent trials."""
        return len(self._slots)

    def run(self, launch: Launch) -> bool:
        """Run all trials, and return True.

        A failed trial does not affect the others, a killed trial resumes from its checkpoint, and a trial that another
        process runs is left to it.
        """
        queue = _Queue(deque(launch.trials))
        with sigterm_as_interrupt():
            try:
                for slot in self._slots[: len(queue.waiting)]:
                    slot.open(launch)
                while queue.waiting or any(slot.process for slot in self._slots):
                    for slot in self._slots:
                        if slot.process is not None and slot.process.poll() is not None:
                            _finish(slot, queue)
                        if slot.process is None:
                            _start_next(slot, queue, launch)
                    launch.show()
                    _pause(self._slots)
            finally:
                _end_all(self._slots)
        return True


def _pause(slots: Sequence[_Slot]) -> None:
    """Wait until the next check of the processes, or until a forked one ends."""
    forked = [slot.process for slot in slots if isinstance(slot.process, ForkedTrial)]
    wait_for_any(forked, _PAUSE)


def _start_next(slot: _Slot, queue: _Queue, launch: Launch) -> None:
    for _ in range(len(queue.waiting)):
        trial = queue.waiting.popleft()
        if is_locked(trial.folder):
            queue.try_later(trial)
            continue
        state = look(trial).state
        if state.over or (state is State.FAILED and trial.name in queue.found_locked):
            continue  # another process ran it
        slot.start(trial, launch)
        return


def _finish(slot: _Slot, queue: _Queue) -> None:
    assert slot.process is not None
    assert slot.trial is not None
    trial, code = slot.trial, slot.process.returncode
    assert code is not None
    slot.process = slot.trial = None
    assert code is not None
    restarts = queue.restarts.get(trial.name, 0)
    if code == EXIT_LOCKED:
        queue.try_later(trial)
    elif code < 0 and restarts < RESTARTS:  # killed, for example by the system for memory
        queue.restarts[trial.name] = restarts + 1
        queue.waiting.appendleft(trial)
    else:
        record_end(trial, code)


def _end_all(slots: list[_Slot]) -> None:
    """Tell trials to save their checkpoints and end; kill those that do not, and report them."""
    running = [(slot.trial, slot.process) for slot in slots if slot.trial is not None and slot.process is not None]
    for _, process in running:
        process.terminate()
    deadline = time.monotonic() + _GRACE
    for trial, process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            _kill(process)
            process.wait()
            lost = "it resumes from its last checkpoint, and the time since then counts as used"
            print(f"{trial.name} did not stop in time and was killed: {lost}.")  # noqa: T201
    for slot in slots:
        if slot.server is not None:
            slot.server.close()
            slot.server = None


def _kill(process: subprocess.Popen[bytes] | ForkedTrial) -> None:
    """Kill a trial's process and, on systems with sessions, the processes that read data for it."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    elif isinstance(process, subprocess.Popen):
        process.kill()


def _visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, with their names in ``CUDA_VISIBLE_DEVICES``."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _slots(jobs: int | None, devices: int, gpus: list[str]) -> list[_Slot]:
    if not gpus:
        return _cpu_slots(jobs or 1)
    count = len(gpus) // devices if jobs is None else jobs
    if count < 1 or count * devices > len(gpus):
        raise BadInputError(
            f"{jobs or 1} trials in parallel with {devices} GPUs each need {(jobs or 1) * devices} GPUs, but there "
            f"are {len(gpus)}. Change the launcher's options jobs and devices, or CUDA_VISIBLE_DEVICES."
        )
    shares = [gpus[number * devices : (number + 1) * devices] for number in range(count)]
    return [_Slot({"CUDA_VISIBLE_DEVICES": ",".join(share)}) for share in shares]


def _cpu_slots(jobs: int) -> list[_Slot]:
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [_Slot({}, forks=_FORKS) for _ in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise BadInputError(
            f"{jobs} trials in parallel need one core each, but there are {len(cores)}. Choose fewer jobs."
        )
    share = len(cores) // jobs
    return [
        _Slot(
            {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(share))},
            frozenset(cores[number * share : (number + 1) * share]),
            _FORKS,
        )
        for number in range(jobs)
    ]
