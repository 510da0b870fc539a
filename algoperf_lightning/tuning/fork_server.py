"""A process that has imported everything a trial needs, and forks the trials of one slot, one after the other.

Importing torch, Lightning and the plug-ins takes seconds of processor time, which is more than many small trials
compute. A forked trial starts immediately and is still a separate process, with its own memory, random state, signals
and exit. This requires that the server computes nothing itself (so it has neither threads nor a CUDA context, which do
not survive a fork), and that it imports only this library, so that each trial imports its submission again.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

SERVE = "--serve"
"""Argument of the trial process that turns it into a server."""

_PRELOADED_PLUGINS = "algoperf_lightning."


class ForkServer:
    """The launcher's side of a server.

    Args:
        command: Starts the server: the trial process with :data:`SERVE` instead of a folder.
        environment: Environment of the server and of each trial that it forks.
        cores: Cores that server and trials may use; None: all.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], cores: frozenset[int] | None = None) -> None:
        # In a separate session: only the launcher receives Ctrl-C, and then ends its trials regularly.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        if cores is not None:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(self._process.pid, cores)
        self._unread = b""

    def start(self, folder: Path, log: Path) -> ForkedTrial | None:
        """Fork a trial's process and return it; None if the server is gone.

        Args:
            folder: The trial's folder.
            log: Its output is appended to this file.
        """
        assert self._process.stdin is not None
        request = json.dumps({"folder": str(folder.absolute()), "log": str(log.absolute())})
        try:
            self._process.stdin.write(f"{request}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = self.read(None)
        return None if answer is None else ForkedTrial(answer, self)

    def read(self, timeout: float | None) -> int | None:
        """Return the next number that the server sends: a trial's process, then its exit code.

        Returns:
            None if nothing was received in ``timeout`` seconds, or if the server has ended (:attr:`gone`).
        """
        descriptor = self.fileno()
        while b"\n" not in self._unread:
            if not select.select([descriptor], [], [], timeout)[0]:
                return None
            received = os.read(descriptor, 4096)
            if not received:
                return None
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return int(line)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the server has sent something, or has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    @property
    def gone(self) -> bool:
        """Whether the server has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the server; its trial must have ended before."""
        self._process.terminate()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()


class ForkedTrial:
    """A trial's process, with the part of :class:`subprocess.Popen` that launchers use."""

    def __init__(self, pid: int, server: ForkServer) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.server = server

    def poll(self) -> int | None:
        """Return the exit code, minus the signal of a killed process; None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises:
            subprocess.TimeoutExpired: If it still runs after ``timeout`` seconds.
        """
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self.returncode = self.server.read(timeout)
            if self.returncode is None and self.server.gone:
                # The system has killed the server, for example for memory; its trial saves its checkpoint and ends.
                self.returncode = -signal.SIGKILL
        return self.returncode


def wait_for_any(trials: Sequence[ForkedTrial], timeout: float) -> None:
    """Wait until one of the running trials has ended, at most ``timeout`` seconds."""
    servers = [trial.server for trial in trials]
    select.select(servers, [], [], timeout)


def serve() -> tuple[Path, int] | None:
    """Import what trials need, then fork one for each request on standard input.

    Returns:
        In a forked process the trial's folder and the server's process; in the server None, when the launcher has
        closed the pipe.
    """
    _preload()
    gc.collect()
    gc.freeze()  # garbage collection in the trials skips these objects, so that their memory remains shared
    server = os.getpid()
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # printed text must not be mistaken for a reply
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            replies.close()
            _become_fresh(Path(request["log"]))
            return Path(request["folder"]), server
        print(pid, file=replies)
        # Reaped only after its end was reported, so that the launcher never signals another process with that number.
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        print(end.si_status if end.si_code == os.CLD_EXITED else -end.si_status, file=replies)
        os.waitpid(pid, 0)
    return None


def end_at_once(code: int) -> NoReturn:
    """End a forked process like Python, but without destroying all objects.

    The server has imported many objects in shared memory, which destroying them would copy.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    for each in gc.get_objects():  # without those of the server
        if isinstance(each, io.IOBase) and not each.closed and each.writable():
            with suppress(Exception):
                each.flush()
    os._exit(code)


def _preload() -> None:
    from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, plugins

    with suppress(Exception):  # the trial's own import reports the error
        import_module("algoperf_lightning.commands.fit")
        from algoperf_lightning.commands.fit_options import CALLBACKS

        for group in (CALLBACKS, WORKLOADS, SUBMISSIONS):
            for entry in plugins(group).values():
                if entry.value.startswith(_PRELOADED_PLUGINS):
                    with suppress(Exception):
                        entry.load()
        import_module("algoperf_lightning.commands.fit").prepare_parser()


def _become_fresh(log: Path) -> None:
    """Give a forked process the state of a new one: a session, its own input, output and random state."""
    os.setsid()
    for path, flags, descriptors in (
        (os.devnull, os.O_RDONLY, (0,)),
        (log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, (1, 2)),
    ):
        opened = os.open(path, flags, 0o644)
        for descriptor in descriptors:
            os.dup2(opened, descriptor)
        os.close(opened)
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
