"""A submission chosen after a config takes none of the hyperparameters that the config sets for another one."""

import pytest

from algoperf_lightning.commands.fit import parse

OTHER = "--config={folder}/mine.yaml --submission nesterov"


def learning_rate(arguments, folder):
    given = ["--trainer.logger", "false", "--recorder.folder", str(folder / "trial")]
    return parse([*arguments.format(folder=folder).split(), *given]).model.submission.learning_rate


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "workload: digits\nsubmission:\n  class_path: adamw\n  learning_rate: 0.5\n  warmup_factor: 0.3\n"
    )
    (tmp_path / "rate.yaml").write_text("submission:\n  learning_rate: 0.25\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--config={folder}/mine.yaml", 0.5),
        ("--config={folder}/mine.yaml --submission adamw", 0.5),
        ("--config={folder}/mine.yaml --config={folder}/rate.yaml", 0.25),
        (OTHER, 0.1),
        ("--config={folder}/mine.yaml --submission.class_path nesterov", 0.1),
        ("--config={folder}/mine.yaml --config submissions/nesterov", 0.1),
        ("--config={folder}/mine.yaml --config={folder}/rate.yaml --submission nesterov", 0.1),
        (f"{OTHER} --config={{folder}}/rate.yaml", 0.25),
        (f"{OTHER} --submission.learning_rate 0.7", 0.7),
        ("--config={folder}/mine.yaml --submission.learning_rate 0.7 --submission nesterov", 0.7),
    ],
)
def test_hyperparameters_are_those_of_the_submission(arguments, expected, folder):
    assert learning_rate(arguments, folder) == expected
