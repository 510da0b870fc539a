"""Programs of tests, in processes forked from one that has imported torch and Lightning, as that takes seconds.

The processes are as real as others: they import this library anew, have a process group of their own, and are killed
and waited for by their ids. What depends on how a process is started (launchers, the installed command) starts its own.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["lightning"])


class Program:
    """A script, or code as of ``python -c``, in a process of its own; with the interface of :class:`subprocess.Popen`.

    Args:
        script: Path, or code.
        arguments: Of the command line.
        output: File to which the standard streams are appended.
        environment: Variables, all that there are.
        cwd: Current folder.
        leader: The program whose process group this one joins; None: a group of its own.
    """

    def __init__(self, script, arguments, output, environment, cwd=None, leader=None):
        self.args = [str(script), *map(str, arguments)]
        group = 0 if leader is None else leader.pid
        self._process = SERVER.Process(target=_run, args=(self.args, str(output), environment, cwd, group))
        self._process.start()
        self.pid = self._process.pid
        while self._process.is_alive() and os.getpgid(self.pid) != (group or self.pid):
            time.sleep(0.002)

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)


def start_ranks(ranks, script, arguments, output, environment):
    """Start a script once for each rank, with the variables that ``torchrun`` sets; the first rank leads the group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = []
    for rank in range(ranks):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "GROUP_RANK": 0}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
        variables = {**environment, **{name: str(value) for name, value in place.items()}}
        leader = programs[0] if programs else None
        programs.append(Program(script, arguments, output, variables, leader=leader))
    return programs


def wait_for_ranks(programs, timeout):
    """Return the first exit code that is not 0, or 0; then, and after the timeout, no rank is left."""
    deadline = time.monotonic() + timeout
    try:
        while True:
            codes = [program.poll() for program in programs]
            if failed := [code for code in codes if code]:
                return failed[0]
            if None not in codes:
                return 0
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(programs[0].args, timeout)
            time.sleep(0.05)
    finally:
        for program in programs:
            if program.poll() is None:
                os.kill(program.pid, signal.SIGKILL)
                program.wait()


def _run(argv, output, environment, cwd, group):
    os.setpgid(0, group)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd or os.curdir)
    is_file = Path(argv[0]).is_file()
    sys.path[:0] = [str(Path(argv[0]).parent) if is_file else ""]
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = argv if is_file else ["-c", *argv[1:]]
    try:
        if is_file:
            runpy.run_path(argv[0], run_name="__main__")
        else:
            exec(argv[0], {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
