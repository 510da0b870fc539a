"""One trial, one process: every way in finds the lock of a trial that runs, and leaves the trial as it is."""

import os
import signal
import sys
import time
from pathlib import Path

import lightning as L
import pytest
from test_processes import journal, run, start
from test_ways_in import BIN, command

from algoperf_lightning.baselines import AdamW
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.launch import trainer_options
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.utilities.locks import TrialLock, TrialLockedError, is_locked
from algoperf_lightning.workloads import Digits

SCRIPT = Path(__file__).with_name("run_trial.py")
ENDLESS = ["--budget", 1000, "--period", 0.3]


@pytest.fixture
def running(tmp_path):
    """A trial that runs and stands still, so that whatever changes in its folder was changed by another."""
    folder = tmp_path / "run"
    process = start(folder, *ENDLESS)
    try:
        while len(journal(folder, event="evaluation")) < 2:
            assert process.poll() is None, (tmp_path / "run.log").read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGSTOP)
        yield process, folder / "trial"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def by_python(folder):
    recorder = TrialRecorder(folder)
    trainer = L.Trainer(
        callbacks=[TimeBudget(), recorder],
        **{**trainer_options(), "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False},
    )
    with pytest.raises(TrialLockedError) as caught:
        trainer.fit(Digits(AdamW()), ckpt_path=recorder.checkpoint_path)
    return str(caught.value)


def by_fit(folder):
    done = command(
        *(BIN / "algoperf", "fit", "--config", "digits", "--submission", "adamw", "--recorder.folder", folder),
        cwd=folder.parent,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


def by_torchrun(folder):
    done = command(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, BIN / "algoperf"),
        *("fit", "--config", "digits", "--submission", "adamw", "--recorder.folder", folder),
        *("--trainer.devices", 2, "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp"),
        cwd=folder.parent,
    )
    assert done.returncode != 0
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("start_second", [by_python, by_fit, pytest.param(by_torchrun, marks=pytest.mark.slow)])
def test_a_second_process_is_refused_and_changes_nothing(running, start_second):
    process, folder = running
    before = contents(folder)
    message = start_second(folder)
    assert f"{folder} is already run by another process (process {process.pid} on" in message
    assert message.count("another process") == 1
    assert contents(folder) == before


@pytest.mark.slow
def test_a_killed_holder_leaves_the_trial_to_the_next(running, tmp_path):
    process, folder = running
    before = TrialResult.read(folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    code, log = run(folder.parent, "--max-steps", before.evaluations[-1].step + 50, *ENDLESS)
    assert code == 0, log
    after = TrialResult.read(folder)
    assert after.status is Status.STOPPED
    assert after.evaluations[: len(before.evaluations)] == before.evaluations
    assert not is_locked(folder)


def test_a_lock_that_was_handed_on_is_the_recorders_own(tmp_path):
    lock = TrialLock(tmp_path)
    assert lock.take()
    assert "another process" in by_python(tmp_path)
    lock.hand_on()
    recorder = TrialRecorder(tmp_path)
    trainer = L.Trainer(
        callbacks=[TimeBudget(), recorder],
        max_steps=1,
        **{**trainer_options(), "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False},
    )
    trainer.fit(Digits(AdamW()))
    assert TrialResult.read(tmp_path).steps == 1
    assert is_locked(tmp_path), "the recorder gave back a lock that is not its own"
    lock.release()
    assert not is_locked(tmp_path)
