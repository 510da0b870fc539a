"""Trials as tasks of a real Ray cluster on this machine, one of whose workers is killed."""

import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import ENVIRONMENT, algoperf, has_evaluated, started, states, tune, wait_until
from test_sweeps import finish

from algoperf_lightning.cli import main
from algoperf_lightning.tuning.launchers import ray as ray_launcher
from algoperf_lightning.tuning.trial_process import planned_trial
from algoperf_lightning.utilities.locks import is_locked


@pytest.mark.slow
def test_without_a_cluster_it_is_told(tmp_path):
    pytest.importorskip("ray")
    command = tune(tmp_path / "runs", "probes.Slow", "--studies", 1, "--trials", 2, "--launcher", "ray")
    code, printed = algoperf(*command, RAY_ADDRESS="")
    assert code == 2
    assert "There is no Ray cluster at 'auto'" in printed


def test_the_stages_of_a_protocol_follow_each_other_in_one_command(tmp_path, monkeypatch):
    handed_over = []

    def run_at_once(arguments, environment, log):
        handed_over.append(planned_trial(Path(arguments[-1])))
        finish(handed_over[-1], math.inf, 0.5)
        return 0

    task = SimpleNamespace(
        options=lambda name: SimpleNamespace(remote=lambda *given: (len(handed_over), run_at_once(*given)))
    )
    stub = SimpleNamespace(
        init=lambda **options: None,
        remote=lambda **options: lambda function: task,
        wait=lambda references, timeout: (references, []),
        get=lambda reference: reference[1],
        shutdown=lambda: None,
    )
    monkeypatch.setattr(ray_launcher, "import_module", lambda name: stub)
    suite = ["tune", "--suite", "crowded-valley", "quadratic_deep", "--submission", "valley_sgd", "--plain"]
    command = [*suite, "--output", str(tmp_path / "runs"), "--launcher", "ray", "--option", "gpus=no", "--budget"]
    main([*command, "small"])
    assert Counter(trial.study.stage for trial in handed_over) == {"one_shot": 10, "tuning": 25, "best": 9}
    main([*command, "small"])
    assert len(handed_over) == 44, "trials that are over were run again"
    main([*command, "medium"])
    assert Counter(trial.study.stage for trial in handed_over[44:]) == {"tuning": 25}


@pytest.mark.slow
def test_a_trial_whose_worker_is_killed_goes_on_in_another(tmp_path):
    pytest.importorskip("ray")
    runs = tmp_path / "runs"
    options = ["--launcher", "ray", "--option", "address=local", "gpus=no"]
    with started(*tune(runs, "probes.Slow", "--studies", 1, "--trials", 2, *options)) as runner:
        wait_until(lambda: has_evaluated(runs))
        worker = parent_of(runner_of(states(runs)[0].trial.folder))
        os.kill(worker, signal.SIGKILL)
        code = runner.wait(240)
        printed = runner.stdout.read()
    assert code == 0, printed
    first, second = states(runs)
    assert first.state.over
    assert second.state.over
    assert first.result.preemptions == 1, "the trial of the killed worker did not go on from its checkpoint"


@pytest.mark.slow
def test_a_terminated_runner_ends_its_trials_in_order(tmp_path):
    pytest.importorskip("ray")
    runs = tmp_path / "runs"
    options = ["--launcher", "ray", "--option", "address=local", "gpus=no"]
    with started(*tune(runs, "probes.Slow", "--studies", 1, "--trials", 1, *options)) as runner:
        wait_until(lambda: has_evaluated(runs))
        runner.terminate()
        assert runner.wait(90) == 130
        (state,) = states(runs)
        assert state.result.status == "preempted"
        assert not is_locked(state.trial.folder), "the runner did not wait for its trial"


@pytest.mark.slow
def test_a_task_that_cannot_run_its_trial_is_told(tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "runs" / "Slow" / "study_1" / "digits" / "trial_1" / "log.txt").mkdir(parents=True)
    options = ["--launcher", "ray", "--option", "address=local", "gpus=no"]
    code, printed = algoperf(*tune(tmp_path / "runs", "probes.Slow", "--studies", 1, "--trials", 1, *options))
    assert code == 1
    assert "Slow study_1 digits trial_1 did not finish: IsADirectoryError" in printed


def runner_of(folder):
    return int((folder / "lock").read_text().split()[1])


def parent_of(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
def test_a_missing_ray_is_told_with_what_to_install(tmp_path):
    script = (
        "import sys; sys.modules['ray'] = None\n"
        "from algoperf_lightning.cli import main\n"
        f"main({[str(a) for a in tune(tmp_path / 'runs', 'probes.Slow', '--trials', 2, '--launcher', 'ray')]!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert "pip install 'algoperf-lightning[ray]'" in done.stderr
    assert states(tmp_path / "runs")
