"""Forked trials are what trials in fresh processes are: same numbers, nothing left by the one before, own signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT, algoperf, has_evaluated, started, states, tune, wait_until

from algoperf_lightning.tuning.fork_server import ForkServer
from algoperf_lightning.tuning.trial_process import command, server_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere trials are not forked")

STEPS = ("--unit", "steps", "--studies", 1)
SHORT = ("--time_budget.budget", 60, "--time_budget.eval_period", 20)


def tuned(runs, submission, trials, *fit):
    return (
        "tune",
        "digits",
        "--submission",
        submission,
        *STEPS,
        "--trials",
        trials,
        "--output",
        runs,
        "--",
        *SHORT,
        *fit,
    )


def comparable(folder):
    """What does not depend on the speed of the machine: the record, and each evaluation without its times."""
    record = json.loads((folder / "trial.json").read_text())
    rows = [line.split(",") for line in (folder / "evaluations.csv").read_text().splitlines()]
    kept = [column for column, name in enumerate(rows[0]) if "seconds" not in name]
    fixed = ("status", "steps", "seed", "hyperparameters", "warnings", "environment", "preemptions")
    return {name: record[name] for name in fixed}, [[row[column] for column in kept] for row in rows]


def children(process):
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
def test_a_forked_trial_computes_what_one_in_a_fresh_process_does(tmp_path):
    code, printed = algoperf(*tuned(tmp_path / "forked", "adamw", 2))
    assert code == 0, printed
    code, printed = algoperf(*tuned(tmp_path / "fresh", "adamw", 2), CUDA_VISIBLE_DEVICES="")
    assert code == 0, printed
    forked = [state.trial for state in states(tmp_path / "forked")]
    for trial, other in zip(forked, states(tmp_path / "fresh"), strict=True):
        expected = comparable(trial.folder)
        for name in ("trial.json", "evaluations.csv", "last.ckpt", "heartbeat"):
            (other.trial.folder / name).unlink(missing_ok=True)
        for path in other.trial.folder.glob("last.*"):
            path.unlink()
        subprocess.run(command(other.trial), env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
        assert comparable(other.trial.folder) == expected


@pytest.mark.slow
def test_a_trial_finds_nothing_of_the_one_before(tmp_path):
    code, printed = algoperf(*tuned(tmp_path / "runs", "probes.Untidy", 2))
    assert code == 0, printed
    assert all(state.state.over for state in states(tmp_path / "runs"))


@pytest.mark.slow
def test_a_forked_trial_starts_its_other_ranks(tmp_path):
    code, printed = algoperf(*tuned(tmp_path / "runs", "adamw", 1, "--config", "hardware/2cpu"))
    assert code == 0, printed
    (state,) = states(tmp_path / "runs")
    assert state.state.over
    assert state.result.environment["ranks"] == 2


@pytest.mark.slow
def test_when_the_server_is_killed_its_trial_is_resumed(tmp_path):
    runs = tmp_path / "runs"
    with started(*tune(runs, "probes.Slow", "--studies", 1, "--trials", 1)) as runner:
        wait_until(lambda: has_evaluated(runs))
        (server,) = children(runner.pid)
        os.kill(server, signal.SIGKILL)
        assert runner.wait(120) == 0
    (state,) = states(runs)
    assert state.state.over
    assert state.result.preemptions == 1


@pytest.mark.slow
def test_a_server_reports_how_a_trial_ended_and_ends_with_its_launcher(tmp_path):
    server = ForkServer(server_command(), ENVIRONMENT)
    trial = server.start(tmp_path / "no_such_study" / "trial_1", tmp_path / "log.txt")
    assert trial.pid in children(server._process.pid)
    assert trial.wait(60) == 1
    assert trial.poll() == 1
    assert "no_such_study" in (tmp_path / "log.txt").read_text()
    os.kill(server._process.pid, signal.SIGKILL)
    wait_until(lambda: server.gone)
    assert server.start(tmp_path, tmp_path / "log.txt") is None
    server.close()


def test_a_process_that_ends_at_once_keeps_what_it_wrote(tmp_path):
    script = (
        "import atexit, pathlib, sys, threading, time\n"
        "from algoperf_lightning.tuning.fork_server import end_at_once\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "text, raw = (folder / 'text').open('w'), (folder / 'raw').open('wb')\n"
        "text.write('left open')\n"
        "raw.write(b'too')\n"
        "atexit.register(lambda: (folder / 'at_exit').touch())\n"
        "threading.Thread(target=lambda: (time.sleep(0.5), (folder / 'thread').touch())).start()\n"
        "end_at_once(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], env=ENVIRONMENT, check=False, timeout=120)
    assert done.returncode == 3
    assert (tmp_path / "text").read_text() == "left open"
    assert (tmp_path / "raw").read_bytes() == b"too"
    assert (tmp_path / "at_exit").exists()
    assert (tmp_path / "thread").exists()
