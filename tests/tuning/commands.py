"""The `algoperf` command in processes of its own, for the tests of tuning."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from preloaded import Program

from algoperf_lightning.tuning.state import State, look
from algoperf_lightning.tuning.studies import find_studies, in_order

HERE = Path(__file__).parent
COMMAND = "import sys; from algoperf_lightning.cli import main; main(sys.argv[1:])"
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": str(HERE),
    "COLUMNS": "200",
}


def algoperf(*arguments, timeout=300, cwd=None, **environment):
    """Run to the end; return the exit code and what was printed."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "printed"
        program = Program(COMMAND, arguments, output, {**ENVIRONMENT, **environment}, cwd)
        try:
            code = program.wait(timeout)
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
        return code, output.read_text()


@contextmanager
def started(*arguments, **environment):
    """Start in the background; whatever is left of it at the end is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "algoperf_lightning", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**ENVIRONMENT, **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def states(runs):
    """How all trials in a folder stand, in the order they are run."""
    return [look(trial) for trial in in_order(find_studies([runs]))]


def has_evaluated(runs):
    """Whether the first trial in a folder has evaluated; also while there is no plan yet."""
    return any(runs.rglob("plan.json")) and (result := states(runs)[0].result) is not None and result.evaluations


def number_of_running(runs):
    """How many trials in a folder are running; also while there is no plan yet."""
    return any(runs.rglob("plan.json")) and sum(state.state is State.RUNNING for state in states(runs))


def wait_until(condition, seconds=240.0):
    """Wait for a condition, and return what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def tune(runs, submission, *options, fit=()):
    """Arguments of a small tuning on digits, whose trials take some seconds."""
    quick = ["--time_budget.eval_period", "0.5", "--time_budget.budget", "12", "--time_budget.target", "0.9", *fit]
    return ["tune", "digits", "--submission", submission, "--output", runs, "--plain", *options, "--", *quick]
