"""Trials on this machine, in real processes that fail, are killed, and are started twice."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading

import pytest
from commands import algoperf, has_evaluated, number_of_running, started, states, tune, wait_until

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import read_heartbeat
from algoperf_lightning.tuning.launchers import local
from algoperf_lightning.tuning.launchers.local import LocalLauncher
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.state import State
from algoperf_lightning.utilities.locks import TrialLock, holder, is_locked

HOLD = """
import os, pathlib, sys, time
from algoperf_lightning.utilities.locks import TrialLock
lock = TrialLock(pathlib.Path(sys.argv[1]))
taken = lock.take()
if os.fork() == 0:  # as a worker that reads data; it outlives its parent
    time.sleep(60)
    os._exit(0)
print(taken, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_one_trial_fails_one_is_killed_and_the_others_go_on(tmp_path):
    runs = tmp_path / "runs"
    command = tune(runs, "probes.Troubled", "--studies", 1, "--trials", 3, "--option", "jobs=2")
    code, printed = algoperf(*command, PROBE=str(tmp_path))
    well, failed, killed = states(runs)
    assert code == 1
    assert "Troubled study_1 digits trial_2: failed: RuntimeError in training: this one fails" in printed
    assert failed.state is State.FAILED
    assert well.state.over
    assert killed.state.over
    assert (tmp_path / "killed").exists(), "the third trial was not killed at all"
    assert killed.result.preemptions == 1, "it did not go on from its checkpoint"
    assert "Traceback" in (failed.trial.folder / "log.txt").read_text()

    # The same command again: what is finished is kept, what failed is not touched.
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("trial.json")}
    code, printed = algoperf(*command, PROBE=str(tmp_path))
    assert code == 1
    assert "3 trials: 1 failed, " in printed
    assert before == {path: path.stat().st_mtime_ns for path in runs.rglob("trial.json")}

    # And failed ones when asked to.
    code, printed = algoperf(*command[: command.index("--")], "--retry-failed", *command[command.index("--") :])
    changed = [path for path in before if path.stat().st_mtime_ns != before[path]]
    assert changed == [failed.trial.folder / "trial.json"]

    code, printed = algoperf("status", runs)
    assert code == 0
    assert re.search(r"Troubled +1 +digits +2 +failed", printed)
    code, printed = algoperf("score", runs, "--output", tmp_path / "report")
    assert code == 0, printed
    assert (tmp_path / "report" / "report.html").exists()


@pytest.mark.slow
def test_a_trial_that_ends_its_process_has_failed_and_is_not_run_again_each_time(tmp_path):
    runs = tmp_path / "runs"
    command = tune(runs, "quitters.Quitting", "--studies", 1, "--trials", 2)
    code, printed = algoperf(*command)
    assert code == 1
    found = {state.trial.point["trouble"]: state for state in states(runs)}
    assert [state.state for state in found.values()] == [State.FAILED] * 2, printed
    assert "Quitting.training_step raised SystemExit: 0" in found["SystemExit"].message
    assert "ended with exit code 0" in found["os._exit"].message
    code, printed = algoperf(*command)
    assert code == 1
    assert "2 trials: 2 failed" in printed
    code, printed = algoperf(*tune(tmp_path / "other", "quitters.QuittingAtOnce", "--studies", 1))
    assert code == 2
    assert "QuittingAtOnce cannot be created: SystemExit" in printed


@pytest.mark.slow
def test_a_killed_runner_takes_its_trials_with_it_and_the_same_command_goes_on(tmp_path):
    runs = tmp_path / "runs"
    command = tune(runs, "probes.Slow", "--studies", 1, "--trials", 1)
    with started(*command) as runner:
        wait_until(lambda: has_evaluated(runs))
        runner.kill()
        wait_until(lambda: not is_locked(states(runs)[0].trial.folder))
    (state,) = states(runs)
    assert state.state is State.INTERRUPTED
    assert state.result.status == "preempted", "the trial was not told to end when its runner was gone"
    used = state.result.submission_seconds
    assert read_heartbeat(state.trial.folder) == pytest.approx(used, abs=1e-6), "it is charged for more than it used"
    assert used > 0.3
    code, printed = algoperf(*command)
    (state,) = states(runs)
    assert code == 0, printed
    assert state.state.over
    assert state.result.preemptions == 1
    assert state.result.submission_seconds > used


@pytest.mark.slow
def test_two_runners_on_one_folder_share_the_work(tmp_path):
    runs, go = tmp_path / "runs", tmp_path / "go"
    long = ["--time_budget.budget", "600", "--time_budget.target", "0.3"]
    command = tune(runs, "probes.Waiting", "--studies", 1, "--trials", 2, fit=long)
    with started(*command, PROBE=str(tmp_path)) as first:
        wait_until(lambda: number_of_running(runs) == 1)
        with started(*command, PROBE=str(tmp_path)) as second:
            wait_until(lambda: number_of_running(runs) == 2)
            go.touch()
            assert second.wait(120) == 0
        assert first.wait(120) == 0
    for state in states(runs):
        assert state.state.over
        assert state.result.preemptions == 0
        log = (state.trial.folder / "log.txt").read_text()
        assert len(re.findall(r"│ evaluations\s", log)) == 1, "it was not run once"


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_runner_ends_its_trials_in_order(tmp_path, signum):
    runs = tmp_path / "runs"
    with started(*tune(runs, "probes.Slow", "--studies", 1, "--trials", 1)) as runner:
        wait_until(lambda: has_evaluated(runs))
        runner.send_signal(signum)
        assert runner.wait(60) == 130
    (state,) = states(runs)
    assert state.state is State.INTERRUPTED
    assert state.result.status == "preempted"
    assert (state.trial.folder / "last.ckpt").exists()


@pytest.mark.slow
def test_a_hopeless_trial_is_ended_and_the_study_says_so(tmp_path):
    runs = tmp_path / "runs"
    easy = ["--time_budget.target", "0.5", "--time_budget.budget", "60"]
    command = tune(runs, "probes.Unequal", "--studies", 1, "--trials", 2, "--stop-hopeless", fit=easy)
    code, printed = algoperf(*command)
    assert code == 0, printed
    fast, hopeless = states(runs)
    assert fast.state is State.REACHED
    assert hopeless.state is State.STOPPED
    assert hopeless.result.message.startswith("Stopped as hopeless: trial_1 of the study reached the target after")
    assert hopeless.result.submission_seconds < 50
    assert json.loads((hopeless.trial.folder.parent / "plan.json").read_text())["stop_hopeless"] is True


@pytest.mark.slow
def test_the_config_of_a_trial_runs_by_hand(tmp_path):
    runs = tmp_path / "runs"
    (trial,) = [state.trial for state in states_of_plan(runs)]
    by_hand = shlex.split((trial.folder / "config.yaml").read_text().splitlines()[0].partition("algoperf ")[2])
    code, printed = algoperf(*by_hand, cwd=trial.folder)
    assert code == 0, printed
    (state,) = states(runs)
    assert state.state.over
    assert state.result.seed == trial.seed


def states_of_plan(runs):
    """Plan one trial, and leave it to be run."""
    plan = plan_studies(
        TuningRequest(
            ["digits"], ["probes.Slow"], runs, studies=1, trials=1, fit_arguments=["--time_budget.budget", "3"]
        )
    )
    for study in plan:
        study.write()
    return states(runs)


# Locks


def hold(folder):
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)


def test_a_lock_is_held_by_one_process_and_gone_when_that_is_killed(tmp_path):
    assert not is_locked(tmp_path)
    holding = hold(tmp_path)
    assert holding.stdout.readline().strip() == "True"
    assert is_locked(tmp_path)
    assert f"process {holding.pid} on" in holder(tmp_path)
    assert not TrialLock(tmp_path).take()
    holding.kill()
    holding.stdout.close()
    holding.wait()
    assert not is_locked(tmp_path)
    assert holder(tmp_path) == ""
    mine = TrialLock(tmp_path)
    assert mine.take()
    assert not TrialLock(tmp_path).take()
    mine.release()
    assert TrialLock(tmp_path).take()


def test_looking_at_a_lock_does_not_keep_others_from_taking_it(tmp_path):
    lock = TrialLock(tmp_path)
    looking = threading.Event()

    def look():
        while not looking.is_set():
            is_locked(tmp_path)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(100):
            assert lock.take()
            lock.release()
    finally:
        looking.set()
        looker.join()
    assert not is_locked(tmp_path)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(BadInputError, match="this file system has no locks"):
        TrialLock(tmp_path).take()


# Devices


@pytest.mark.parametrize(
    ("visible", "options", "expected"),
    [
        ("0,1,2,3", {}, ["0", "1", "2", "3"]),
        ("0,1,2,3", {"devices": 2}, ["0,1", "2,3"]),
        ("4,7", {"jobs": 1}, ["4"]),
        ("GPU-a,GPU-b", {}, ["GPU-a", "GPU-b"]),
    ],
)
def test_each_trial_sees_its_own_gpus_only(monkeypatch, visible, options, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launcher = LocalLauncher(**options)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in launcher._slots] == expected
    assert launcher.slots() == len(expected)


def test_trials_side_by_side_on_a_cpu_have_cores_of_their_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 5, 6})
    slots = LocalLauncher(jobs=2)._slots
    assert [sorted(slot.cores) for slot in slots] == [[0, 1], [2, 5]]
    assert [slot.environment["OMP_NUM_THREADS"] for slot in slots] == ["2", "2"]
    assert LocalLauncher().slots() == 1


@pytest.mark.parametrize(("visible", "options"), [("0,1", {"jobs": 3}), ("0", {"devices": 2}), ("", {"jobs": 99_999})])
def test_more_trials_than_devices_are_refused(monkeypatch, visible, options):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(BadInputError, match=r"Change the launcher's options|Choose fewer jobs"):
        LocalLauncher(**options)


def test_a_trial_that_is_killed_again_and_again_is_left_for_the_next_command():
    slot = local._Slot({})
    queue = local._Queue(local.deque())
    attempts = 0
    queue.waiting.append(trial := type("Trial", (), {"name": "t"})())
    while queue.waiting:
        queue.waiting.popleft()
        attempts += 1
        slot.trial, slot.process = trial, type("Process", (), {"returncode": -9})()
        local._finish(slot, queue)
    assert attempts == 1 + local.RESTARTS
