"""Hyperparameters out of range are refused where a submission is made, by what its class says of them."""

import copy
import json
import math
import pickle
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from algoperf_lightning import Submission
from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.hyperparameters import Interval
from algoperf_lightning.testing import PlainSGD, check_hyperparameters
from algoperf_lightning.workloads import Digits


class Ours(Submission):
    hyperparameter_ranges: ClassVar = {
        "learning_rate": "[0, inf)",
        "decay": "(-1, 1]",
        "steps": "[1, inf)",
        "clip": "(0, inf)",
        "plain": "[0, 10]",
    }

    def __init__(
        self, learning_rate: float = 0.1, decay: float = 0.5, steps: int = 3, clip: float | None = 1.0, plain=1
    ):
        self.made = True


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"learning_rate": -0.1}, "learning_rate must be a number in [0, inf), but got -0.1."),
        ({"learning_rate": None}, "learning_rate must be a number in [0, inf), but got None."),
        ({"learning_rate": math.nan}, "learning_rate must be a number in [0, inf), but got nan."),
        ({"learning_rate": math.inf}, "learning_rate must be a number in [0, inf), but got inf."),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number in [0, inf), but got '1e-3'."),
        ({"learning_rate": True}, "learning_rate must be a number in [0, inf), but got True."),
        ({"learning_rate": [0.1]}, "learning_rate must be a number in [0, inf), but got [0.1]."),
        ({"decay": -1}, "decay must be a number in (-1, 1], but got -1."),
        ({"decay": 1.01}, "decay must be a number in (-1, 1], but got 1.01."),
        ({"steps": 0}, "steps must be an integer in [1, inf), but got 0."),
        ({"steps": 2.5}, "steps must be an integer in [1, inf), but got 2.5."),
        ({"clip": 0.0}, "clip must be a number in (0, inf) or None, but got 0.0."),
        ({"plain": 11}, "plain must be a number in [0, 10], but got 11."),
        ({"plain": None}, "plain must be a number in [0, 10], but got None."),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused_in_one_line(given, expected):
    with pytest.raises(BadInputError) as error:
        Ours(**given)
    assert str(error.value) == f"Ours: {expected}"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"learning_rate": 0},
        {"learning_rate": np.float32(0.1)},
        {"decay": 1.0},
        {"steps": np.int64(4)},
        {"clip": None},
        {"plain": 0.5},
    ],
    ids=str,
)
def test_what_is_in_range_is_taken(given):
    assert Ours(**given).made


@pytest.mark.parametrize(
    ("value", "shown"),
    [("-0.1", "-0.1"), (".nan", "nan"), (".inf", "inf"), ("null", "None")],
    ids=["negative", "nan", "infinite", "null"],
)
def test_the_command_line_says_it_in_one_line(value, shown, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", "digits", "--submission", "adamw", "--submission.learning_rate", value])
    expected = f"AdamW: learning_rate must be a number in [0, inf), but got {shown}."
    assert capsys.readouterr().err.strip() == f"algoperf: error: {expected}"


def test_every_point_of_a_search_space_is_checked_when_a_study_is_planned(tmp_path, capsys):
    space = [{"learning_rate": 0.1, "beta2": 0.9}, {"learning_rate": 0.1, "beta2": 1}]
    (tmp_path / "space.json").write_text(json.dumps(space))
    command = ["tune", "digits", "--submission", "adamw", "--search-space", str(tmp_path / "space.json"), "--dry-run"]
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--studies", "1", "--trials", "2", "--output", str(tmp_path / "runs")])
    assert "AdamW: beta2 must be a number in [0, 1), but got 1" in capsys.readouterr().err


def test_positional_arguments_are_checked_too():
    with pytest.raises(BadInputError, match="learning_rate must be"):
        Ours(-1.0)


def test_a_submission_without_ranges_takes_anything():
    assert PlainSGD(lr=-1.0).hyperparameters == {"lr": -1.0}


def test_a_subclass_adds_to_the_ranges_of_its_base_and_may_change_one():
    class Theirs(Ours):
        hyperparameter_ranges: ClassVar = {"mu": "[0, 1)", "decay": "[0, 5]"}

        def __init__(self, mu: float = 0.9, **options):
            super().__init__(**options)

    assert Theirs(decay=2.0, steps=1).made
    for given in ({"mu": 1.0}, {"decay": -0.5}, {"learning_rate": -1.0}, {"steps": 0}):
        with pytest.raises(BadInputError, match=r"^Theirs: "):
            Theirs(**given)


def test_a_dataclass_is_checked():
    @dataclass
    class Data(Submission):
        hyperparameter_ranges: ClassVar = {"lr": "(0, 1]", "warmup": "[0, 1]"}
        lr: float = 0.1
        warmup: float | None = None

    assert Data(warmup=None).lr == 0.1
    with pytest.raises(BadInputError, match=r"Data: lr must be a number in \(0, 1\], but got 0"):
        Data(lr=0)


def test_an_annotation_that_cannot_be_read_leaves_the_check_by_default_and_range():
    class Odd(Submission):
        hyperparameter_ranges: ClassVar = {"lr": "(0, 1]"}

        def __init__(self, lr: "NoSuchType" = 0.1):  # noqa: F821
            pass

    Odd(lr=0.5)
    with pytest.raises(BadInputError, match="Odd: lr"):
        Odd(lr=2)


def test_copies_are_made_as_before():
    made = Ours(learning_rate=3.0)
    assert copy.deepcopy(made).hyperparameters == made.hyperparameters
    assert pickle.loads(pickle.dumps(made)).hyperparameters == made.hyperparameters


@pytest.mark.parametrize("text", ["0, 1", "[0; 1]", "[a, b]", "", None, "(1, 1)", "[2, 1]", "[nan, 1]"], ids=repr)
def test_a_range_that_is_no_interval_is_refused(text):
    with pytest.raises(BadInputError, match="range"):
        Interval(text)


def test_a_misspelt_range_is_seen_by_the_checks_of_submissions(tmp_path):
    class Misspelt(PlainSGD):
        hyperparameter_ranges: ClassVar = {"lr": "[0, inf)", "momentun": "[0, 1)"}

        def __init__(self, lr: float = 0.1, momentum: float = 0.9):
            super().__init__(lr)

    with pytest.raises(AssertionError, match="hyperparameter_ranges has no momentum"):
        check_hyperparameters(Misspelt, tmp_path)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        *(("gradient_clip", value) for value in (0, -1.0, math.nan, math.inf, "1")),
        *(("label_smoothing", value) for value in (-0.1, 1.0, None, math.nan)),
        *(("dropout", value) for value in (-0.1, 1.0, math.nan)),
    ],
)
def test_regularisers_out_of_range_are_refused_when_the_workload_is_made(attribute, value):
    submission = PlainSGD()
    setattr(submission, attribute, value)
    with pytest.raises(BadInputError, match=f"PlainSGD: {attribute} must be a number in .*, but got"):
        Digits(submission)
