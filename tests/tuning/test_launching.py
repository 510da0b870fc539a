"""How launchers start, try again, and end the processes of trials, with stand-ins for trials."""

import json
import os
import signal
import sys
import threading
import time

import lightning as L
import pytest
from lightning.fabric.plugins.environments import LightningEnvironment

from algoperf_lightning.launch import trainer_options
from algoperf_lightning.tuning import trial_process
from algoperf_lightning.tuning.launchers import local
from algoperf_lightning.tuning.launchers.base import Launch
from algoperf_lightning.tuning.launchers.ray import run_trial
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.trial_process import child_environment
from algoperf_lightning.utilities.locks import TrialLock

# What the shells of `torchrun`, `salloc` and `jsrun` tell the second of four processes.
PLACE = {
    **dict.fromkeys(("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "SLURM_PROCID", "SLURM_LOCALID"), "1"),
    **dict.fromkeys(("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK", "LSB_JOBID", "TORCHELASTIC_RUN_ID"), "1"),
    **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"), "4"),
    **dict.fromkeys(("JSM_NAMESPACE_SIZE", "MASTER_PORT"), "4"),
    **dict.fromkeys(("MASTER_ADDR", "LSB_DJOB_RANKFILE", "SLURM_JOB_NAME"), "elsewhere"),
    "SLURM_NODEID": "0",
}

# Stand-ins for trials; each notes that it was started.
HEAD = "import os, pathlib, signal, sys, time; f = pathlib.Path(sys.argv[1]); (f / 'starts').open('a').write('x')\n"
RUNS = HEAD
TELLS = "import json, os; print(json.dumps(dict(os.environ)))"
FINDS_IT_LOCKED_ONCE = HEAD + "sys.exit(75 if (f / 'starts').read_text() == 'x' else 0)"
DEAF = HEAD + "signal.signal(signal.SIGTERM, signal.SIG_IGN); (f / 'up').touch(); time.sleep(60)"
SAVES = HEAD + (
    "def save(*_):\n    time.sleep(1)\n    (f / 'saved').touch()\n    os._exit(143)\n"
    "signal.signal(signal.SIGTERM, save); (f / 'up').touch(); time.sleep(60)"
)


@pytest.fixture
def trials(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(local, "_PAUSE", 0.05)
    (study,) = plan_studies(TuningRequest(["digits"], ["probes.Slow"], tmp_path / "runs", studies=1, trials=2))
    study.write()
    return study.trials


@pytest.fixture
def run(tmp_path, trials, monkeypatch):
    """Runs stand-ins for the first trials, on the local launcher."""

    def run(script, count=1, show=None):
        deadline = time.monotonic() + 30

        def watch():
            assert time.monotonic() < deadline, "the launcher does not come to an end"
            if show is not None:
                show()

        monkeypatch.setattr(local, "_FORKS", False)  # a stand-in is a process that a command starts
        monkeypatch.setattr(local, "command", lambda trial: [sys.executable, "-c", script, str(trial.folder)])
        return local.LocalLauncher().run(Launch(trials[:count], tmp_path / "runs", tmp_path, watch))

    return run


def starts(trial):
    path = trial.folder / "starts"
    return len(path.read_text()) if path.exists() else 0


# Their environment


def test_a_trial_does_not_take_itself_for_a_rank_of_what_its_launcher_was_started_by(monkeypatch):
    for name, value in PLACE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "environ", child_environment())
    assert trial_process._is_first_rank()
    assert trainer_options() == {}
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    assert isinstance(trainer.strategy.cluster_environment, LightningEnvironment)
    assert (trainer.world_size, trainer.global_rank) == (2, 0)


def test_launchers_give_trials_that_environment_and_their_own(tmp_path, trials, run, monkeypatch):
    for name, value in PLACE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OF_THE_USER", "kept")
    assert run(TELLS)
    assert run_trial([sys.executable, "-c", TELLS], {"ALGOPERF_DATA_DIR": str(tmp_path)}, str(tmp_path / "log")) == 0
    for log in (trials[0].folder / "log.txt", tmp_path / "log"):
        environment = json.loads(log.read_text())
        assert not {"RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID"} & set(environment)
        assert environment["OF_THE_USER"] == "kept"
        assert environment["ALGOPERF_DATA_DIR"] == str(tmp_path)
        assert environment["ALGOPERF_PARENT"] == str(os.getpid())


# Trials in other processes' hands


def test_a_trial_whose_last_process_is_just_ending_is_tried_again(trials, run):
    lock = TrialLock(trials[0].folder)
    assert lock.take()
    threading.Timer(0.5, lock.release).start()
    assert run(RUNS)
    assert starts(trials[0]) == 1


def test_a_trial_that_finds_itself_locked_is_tried_again(trials, run):
    assert run(FINDS_IT_LOCKED_ONCE)
    assert starts(trials[0]) == 2


def test_a_trial_that_another_runner_runs_is_left_to_it(trials, run, monkeypatch):
    monkeypatch.setattr(local, "_LOCK_PATIENCE", 0.3)
    lock = TrialLock(trials[0].folder)
    assert lock.take()
    assert run(RUNS, count=2)
    assert [starts(trial) for trial in trials] == [0, 1]
    lock.release()


def test_a_trial_that_fails_with_another_runner_is_not_run_again(trials, run):
    lock = TrialLock(trials[0].folder)
    assert lock.take()

    def fail():
        (trials[0].folder / "failure_rank_0.txt").write_text("no such data")
        lock.release()

    threading.Timer(0.3, fail).start()
    assert run(RUNS)
    assert starts(trials[0]) == 0


# The end


def test_a_trial_that_does_not_end_in_time_is_killed_and_named(trials, run, monkeypatch, capsys):
    monkeypatch.setattr(local, "_GRACE", 0.3)

    def interrupt():
        if (trials[0].folder / "up").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(DEAF, show=interrupt)
    assert capsys.readouterr().out.startswith("Slow study_1 digits trial_1 did not stop in time and was killed")


def test_further_signals_do_not_cut_short_the_saving_that_the_first_began(trials, run, capsys):
    too_early = []
    before = signal.signal(signal.SIGTERM, own := lambda *_: too_early.append(True))

    def terminate_twice():
        if (trials[0].folder / "up").exists():
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        with pytest.raises(KeyboardInterrupt):
            run(SAVES, show=terminate_twice)
        assert (trials[0].folder / "saved").exists()
        assert not too_early, "the handler from before was back while the trial still saved"
        assert "was killed" not in capsys.readouterr().out
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
