"""How runs end from outside: Ctrl-C, SIGTERM within an evaluation, a step without an end, a rank that is killed."""

import os
import re
import shlex
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from preloaded import Program
from test_processes import journal, run, start

from algoperf_lightning.result import Status, TrialResult, read_heartbeat

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "COLUMNS": "300",
    "PYTHONPATH": str(Path(__file__).parent),
}
RULES = ["--time_budget.budget", "100", "--time_budget.eval_period", "1", "--time_budget.target", "0.9999"]
IN_STEPS = ["--time_budget.unit", "steps", "--time_budget.budget", "200", "--time_budget.eval_period", "20"]

pytestmark = pytest.mark.slow


def fit(*options):
    return [*("fit", "--workload", "endings.LongEvaluation", "--submission", "endings.Paused"), *options]


@contextmanager
def started(arguments, folder, before="pass", **environment):
    """Start ``algoperf``; what it printed lies in ``printed`` in the folder."""
    code = f"import sys; {before}; from algoperf_lightning.cli import main; main(sys.argv[1:])"
    printed = folder / "printed"
    printed.unlink(missing_ok=True)
    process = Program(code, arguments, printed, {**ENVIRONMENT, **environment}, folder)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(condition, process):
    while not (found := condition()):
        assert process.poll() is None, "it ended too soon"
        time.sleep(0.05)
    return found


def trial_of(folder):
    return next(iter(folder.rglob("trial.json")), folder / "none").parent


def evaluations_of(folder):
    trial = trial_of(folder)
    return TrialResult.read(trial).evaluations if (trial / "trial.json").exists() else []


@pytest.mark.parametrize("given", [False, True], ids=["default-folder", "folder"])
def test_ctrl_c_saves_says_where_and_how_to_resume_and_a_finished_trial_says_so(tmp_path, given):
    options = ["--recorder.folder", "my trial"] if given else []
    with started(fit(*RULES, *options), tmp_path) as process:
        until(lambda: len(evaluations_of(tmp_path)) >= 2, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, (tmp_path / "printed").read_text()
    trial = trial_of(tmp_path)
    stopped = TrialResult.read(trial)
    assert stopped.status is Status.PREEMPTED
    assert "Ctrl-C" in stopped.message
    printed = (tmp_path / "printed").read_text()
    assert "Traceback" not in printed
    if given:
        assert trial == tmp_path / "my trial"
    (command,) = re.findall(r"to resume: algoperf (.*)", printed)
    resumed = [*shlex.split(command), "--trainer.max_steps", str(stopped.steps + 20)]
    with started(resumed, tmp_path) as process:
        assert process.wait(120) == 0, (tmp_path / "printed").read_text()
    done = TrialResult.read(trial)
    assert done.preemptions == 1
    assert done.steps == stopped.steps + 20  # from the very step at which it was stopped
    assert done.evaluations[: len(stopped.evaluations)] == stopped.evaluations
    assert len(list(tmp_path.rglob("trial.json"))) == 1

    with started(resumed, tmp_path) as process:
        assert process.wait(120) == 0
    assert "This trial is finished" in (tmp_path / "printed").read_text()
    assert TrialResult.read(trial) == done


def test_ctrl_c_again_ends_at_once(tmp_path):
    with started(fit(*RULES), tmp_path, LONG_STEP=str(tmp_path / "in_step")) as process:
        until((tmp_path / "in_step").exists, process)
        process.send_signal(signal.SIGINT)
        time.sleep(1.5)
        assert process.poll() is None  # it waits for the step
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, (tmp_path / "printed").read_text()
    assert TrialResult.read(trial_of(tmp_path)).status is Status.PREEMPTED
    assert "press ctrl-c again" in (tmp_path / "printed").read_text().lower()
    assert "to resume: algoperf fit" in (tmp_path / "printed").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_within_a_long_evaluation_leaves_it_and_it_is_made_again(tmp_path, number):
    options = fit(*RULES, "--recorder.folder", "t")
    with started(options, tmp_path, LONG_EVALUATION=str(tmp_path / "evaluating")) as process:
        until((tmp_path / "evaluating").exists, process)
        beat = read_heartbeat(tmp_path / "t")
        process.send_signal(number)
        assert process.wait(60) == 128 + number, (tmp_path / "printed").read_text()  # of ten minutes
    stopped = TrialResult.read(tmp_path / "t")
    assert stopped.status is Status.PREEMPTED
    assert "in evaluation" in stopped.message
    assert len(stopped.evaluations) == 2
    assert stopped.evaluations[-1].submission_seconds < stopped.submission_seconds <= beat + 1
    with started([*options, "--trainer.max_steps", str(stopped.steps + 20)], tmp_path) as process:
        assert process.wait(120) == 0, (tmp_path / "printed").read_text()
    done = TrialResult.read(tmp_path / "t")
    assert done.evaluations[:2] == stopped.evaluations
    third = done.evaluations[2]  # due at once: the time that was used stays used, and the steps are made again
    assert third.submission_seconds > stopped.submission_seconds
    assert stopped.evaluations[-1].step < third.step <= stopped.steps
    assert done.preemptions == 1


@pytest.mark.parametrize("stubborn", [False, True], ids=["told", "forced"])
@pytest.mark.parametrize("unit", ["seconds", "steps"])
def test_a_step_that_does_not_end_is_ended_with_a_record(tmp_path, unit, stubborn):
    rules = ["--time_budget.budget", "3", "--time_budget.eval_period", "1"] if unit == "seconds" else IN_STEPS
    rules += ["--time_budget.target", "0.9999"]
    # Where steps are counted, one may take all of the workload's 60 seconds.
    grace = 1 if unit == "seconds" else -55
    before = (
        "from algoperf_lightning.callbacks import watchdog as w; "
        f"w.GRACE, w.LOOK_EVERY, w.PATIENCE = {grace}, 0.1, 3.0; from algoperf_lightning import result"
    )
    environment = {"LONG_STEP": str(tmp_path / "in_step"), **({"STUBBORN": "1"} if stubborn else {})}
    with started(fit(*rules, "--recorder.folder", "t"), tmp_path, before, **environment) as process:
        assert process.wait(120) == 124, (tmp_path / "printed").read_text()
    record = TrialResult.read(tmp_path / "t")
    assert record.status is Status.FAILED
    assert re.match(r"Step 20 did not end within .* It was executing .*endings.py:\d+, in \w+\.", record.message)
    assert "Step 20 did not end" in (tmp_path / "printed").read_text()
    assert (tmp_path / "in_step").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_alone_interrupts_the_trial_and_it_resumes(tmp_path, rank):
    folder = tmp_path / "run"
    options = ["--ranks", 2, "--period", 0.5, "--budget", 1000]
    process = start(folder, *options)
    try:
        until(lambda: len(journal(folder, rank, "evaluation")) >= 2, process)
        os.kill(journal(folder, rank)[0]["pid"], signal.SIGKILL)
        assert process.wait(60) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    stopped = TrialResult.read(folder / "trial")
    assert stopped.status in (Status.PREEMPTED, Status.RUNNING), stopped.message
    time.sleep(1.0)  # until the other rank is gone too, and its lock with it
    code, log = run(folder, *options, "--max-steps", stopped.steps + 100)
    assert code == 0, log
    done = TrialResult.read(folder / "trial")
    assert done.preemptions == 1
    assert done.evaluations[: len(stopped.evaluations)] == stopped.evaluations
