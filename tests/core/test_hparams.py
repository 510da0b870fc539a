"""``algoperf fit --hparams`` and ``algoperf tune --search-space`` with the ``hparams.json`` of a trial."""

import json

import pytest

from algoperf_lightning import cli
from algoperf_lightning.commands.hparams import expand_hparams
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import TrialResult
from algoperf_lightning.tuning.plan import Study

POINT = {
    # A point of the benchmark's baseline, with its names and all its digits.
    "dropout_rate": 0.1,
    "label_smoothing": 0.1,
    "learning_rate": 0.0017486387539278373,
    "one_minus_beta1": 0.06733926164,
    "beta2": 0.9955159689799007,
    "weight_decay": 0.08121616522670176,
    "warmup_factor": 0.02,
}


@pytest.fixture
def hparams(tmp_path):
    path = tmp_path / "hparams.json"
    path.write_text(json.dumps(POINT, indent=2))
    return str(path)


def test_a_trial_runs_with_the_point_of_another(tmp_path, hparams):
    folder = tmp_path / "trial_1"
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.max_steps=1", f"--recorder.folder={folder}"]
    # Before the submission it belongs to, and what is given after it counts.
    given = ["--hparams", hparams, "--config", "digits", "--submission", "nadamw", "--submission.dropout_rate", "0.0"]
    cli.main(["fit", *given, *quiet])
    made = TrialResult.read(folder).hyperparameters
    assert {name: made[name] for name in POINT} == {**POINT, "dropout_rate": 0.0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--submission", "a", "--hparams", "F"], "--submission a X"),
        (["--hparams=F", "--submission=a"], "--submission=a X"),
        (
            ["--hparams", "F", "--submission", "a", "--config", "c", "--submission.x", "1"],
            "--submission a --config c X --submission.x 1",
        ),
        (["--config", "c", "--submission.x", "1", "--hparams", "F"], "--config c --submission.x 1 X"),
        (["--config", "c"], "--config c"),
    ],
)  # fmt: skip
def test_the_point_comes_after_the_submission_and_before_what_is_given_later(tmp_path, arguments, expected):
    path = tmp_path / "hparams.json"
    path.write_text('{"opt_name": "adam", "nesterov": true, "clip": null}')
    expanded = " ".join(expand_hparams([argument.replace("F", str(path)) for argument in arguments]))
    point = "--submission.opt_name=adam --submission.nesterov=true --submission.clip=null"
    assert expanded == expected.replace("X", point)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"--hparams .*hparams\.json cannot be read: No such file"),
        ("{", r"hparams\.json is not JSON"),
        ("[1]", "must hold one point"),
        ("{}", "must hold one point"),
        ('{"learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"}}', "A search space is for `algoperf tune"),
    ],
)
def test_files_that_hold_no_point_are_refused(tmp_path, content, message):
    path = tmp_path / "hparams.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInputError, match=message):
        expand_hparams(["--submission", "adamw", "--hparams", str(path)])
    with pytest.raises(BadInputError, match="--hparams needs a file"):
        expand_hparams(["--hparams"])


@pytest.mark.slow
def test_a_study_tunes_over_the_one_point_of_a_trial(tmp_path, hparams, capsys):
    arguments = ["tune", "digits", "--submission", "nadamw", "--search-space", hparams, "--studies", "2"]
    cli.main([*arguments, "--trials", "1", "--dry-run", "--output", str(tmp_path / "runs")])
    assert "learning_rate 0.00174864" in capsys.readouterr().out
    cli.main([*arguments, "--trials", "1", "--output", str(tmp_path / "runs"), "--", "--trainer.max_steps", "1"])
    for number in (1, 2):
        (trial,) = Study.read(tmp_path / f"runs/nadamw/study_{number}/digits").trials
        assert trial.point == POINT
