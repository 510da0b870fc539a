"""Every way a user starts a run, for real: commands in processes of their own, notebooks in kernels."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
import yaml

from algoperf_lightning.cli import main
from algoperf_lightning.result import Status, TrialResult

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "300"}


def command(*arguments, cwd, **environment):
    return subprocess.run(
        [str(a) for a in arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def trials(folder):
    return [TrialResult.read(path.parent) for path in folder.rglob("trial.json")]


def test_fit_from_a_packaged_config_with_overrides(tmp_path):
    done = command(
        *(BIN / "algoperf", "fit", "--config", "digits", "--config", "submissions/nesterov"),
        *("--submission.learning_rate", "0.2", "--time_budget.target", "0.9", "--workload.seed", "7"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (trial,) = trials(tmp_path)
    assert trial.status is Status.REACHED
    assert trial.submission == "nesterov"
    assert trial.hyperparameters["learning_rate"] == 0.2
    assert (trial.seed, trial.validation_target) == (7, 0.9)
    assert "target reached" in done.stdout
    assert "validation accuracy ≥ 0.9" in done.stdout
    assert re.search(rf"steps to target .*{trial.step_to_target:,}, in", done.stdout)
    assert str(trial.folder.relative_to(tmp_path)) in done.stdout


@pytest.mark.slow
def test_a_printed_config_is_a_config_and_a_run_is_resumed_by_the_same_command(tmp_path):
    fit = (BIN / "algoperf", "fit", "--config")
    printed = command(
        *(*fit, "digits", "--submission", "nadamw", "--submission.learning_rate", "0.003", "--trainer.max_steps", "30"),
        *("--recorder.folder", "trial", "--time_budget.ruleset", "self-tuning", "--print_config"),
        cwd=tmp_path,
    )
    assert printed.returncode == 0, printed.stderr
    config = yaml.safe_load(printed.stdout)
    assert config["submission"]["init_args"]["learning_rate"] == 0.003
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    done = command(*fit, "mine.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (trial,) = trials(tmp_path)
    assert (trial.status, trial.steps, trial.budget) == (Status.STOPPED, 30, 15_000)
    again = command(*fit, "mine.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert trials(tmp_path)[0].evaluations == trial.evaluations  # it was finished: nothing is done again
    longer = command(*fit, "mine.yaml", "--trainer.max_steps", "40", cwd=tmp_path)
    assert longer.returncode == 0, longer.stderr
    (trial,) = trials(tmp_path)
    assert [e.step for e in trial.evaluations] == [1, 30, 40]


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(
            ("fabric", "run", "--accelerator=cpu", "--devices=2", "--", ROOT / "examples" / "train.py"),
            id="fabric-run",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("torchrun", "--nproc-per-node=2", ROOT / "examples" / "train.py"), id="torchrun", marks=pytest.mark.slow
        ),
        pytest.param(("algoperf", "fit", "--config", "hardware/2cpu"), id="algoperf-fit", marks=pytest.mark.slow),
    ],
)
def test_a_launcher_of_two_processes_makes_one_run(tmp_path, launcher):
    done = command(
        BIN / launcher[0],
        *launcher[1:],
        *("--config", "digits", "--time_budget.target", "0.5", "--trainer.accelerator", "cpu"),
        cwd=tmp_path,
        MASTER_PORT=str(20000 + os.getpid() % 20000),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = trials(tmp_path)
    assert trial.status is Status.REACHED
    assert trial.environment["ranks"] == 2
    assert done.stdout.count("target reached") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("quickstart", "Status.REACHED", marks=pytest.mark.slow),
        ("two_processes", "Status.REACHED"),
        pytest.param("compare_two", "Figure", marks=pytest.mark.slow),
        pytest.param("read_a_report", "Figure", marks=pytest.mark.slow),
        pytest.param(
            "missed_target", r"'failing': \['warmup_divergence'.*'repaired': \[\]}.*REACHED", marks=pytest.mark.slow
        ),
    ],
)
def test_notebook(name, shown, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "docs" / "gallery" / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    last = code[-1].outputs[-1]["data"]["text/plain"]
    assert re.search(shown, last, re.DOTALL)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["fit", "--config", "digist"], "Unknown config 'digist'. Did you mean 'digits'?", id="config"),
        pytest.param(["fit", "--config", "no.yaml"], "no.yaml", id="config-file"),
        pytest.param(["fit", "--workload", "mnsit"], "Unknown workload 'mnsit'. Did you mean 'mnist'?", id="workload"),
        pytest.param(
            ["fit", "--config", "digits", "--submission=adam"],
            "Unknown submission 'adam'. Did you mean 'adamw'?",
            id="submission",
        ),
        pytest.param(
            ["fit", "--config", "digits", "--submission.learning_rat", "1"],
            "submission.learning_rate?",
            id="hyperparameter",
        ),
        pytest.param(["fit", "--config", "digits", "--trainer.devises", "1"], "trainer.devises", id="trainer-option"),
        pytest.param(
            ["fit", "--config", "digits", "--time_budget.budget", "-1"], "budget must be a positive", id="budget"
        ),
        pytest.param(["fit", "--config", "digits", "--time_budget.target", "0"], "target must be", id="target"),
        pytest.param(["fit", "--config", "digits", "--workload.version", "0.7"], "version '0.7'", id="version"),
        pytest.param(["fit", "--config", "digits", "--workload.variant", "x"], "variant of digits 'x'", id="variant"),
        pytest.param(["fit", "--config", "digits", "--ckpt_path", "gone.ckpt"], "gone.ckpt: no such file", id="ckpt"),
        pytest.param(["fti"], "Did you mean 'fit'?", id="command"),
        pytest.param(["list", "--version", "2"], "Unknown benchmark version '2'", id="list-version"),
        pytest.param(["data", "tiny", "digit"], "Did you mean 'digits'?", id="data-workload"),
        pytest.param(["data", "check", "mnist"], "train-images-idx3-ubyte (and 3 more) is missing", id="missing-data"),
    ],
)
def test_bad_input_gets_one_clear_error(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("trial.json"))


def test_misspelt_key_of_a_config(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("trainer:\n  acelerator: cpu\n")
    with pytest.raises(SystemExit):
        main(["fit", "--config", "digits", "--config", str(tmp_path / "bad.yaml")])
    assert "acelerator" in capsys.readouterr().err


@pytest.mark.slow
def test_tiny_data_and_then_a_run_on_them(tmp_path):
    for action in ("tiny", "check"):
        done = command(BIN / "algoperf", "data", action, "mnist", "cifar10", "digits", "--data-dir", "d", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    listed = command(BIN / "algoperf", "list", "--data-dir", "d", cwd=tmp_path)
    rows = {line.split()[0]: line for line in listed.stdout.splitlines() if line.strip()}
    assert all("missing" not in rows[name] for name in ("mnist", "cifar10", "digits"))
    done = command(
        *(BIN / "algoperf", "fit", "--config", "mnist", "--workload.data_dir", "d", "--workload.compile", "false"),
        *("--time_budget.target", "0.7", "--time_budget.eval_period", "0.5"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (trial,) = trials(tmp_path)
    assert trial.status is Status.REACHED
    assert trial.tiny_data  # the record tells it from a run on the real ones, and so does the table
    assert "not a benchmark result" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["--help"], ["--version"], *([name, "--help"] for name in ("tune", "pack", "reproduce"))],
    ids=" ".join,
)
def test_looking_around_does_not_load_torch(arguments, tmp_path):
    script = (
        "import sys, json\nfrom algoperf_lightning.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(json.dumps([name for name in ('torch', 'lightning', 'torchvision') if name in sys.modules]))"
    )
    done = command(sys.executable, "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    if arguments == ["list"]:
        for name in ("digits", "mnist", "cifar10", "adamw", "nadamw", "momentum", "nesterov"):
            assert name in done.stdout
