"""Classes whose fields are arguments: what they inherit, and what users make of the baselines."""

from __future__ import annotations

import inspect
from argparse import ArgumentError
from dataclasses import dataclass

import docstring_parser
import pytest
from jsonargparse import ArgumentParser

from algoperf_lightning import Submission
from algoperf_lightning.baselines import Lamb, Muon, NadamW
from algoperf_lightning.baselines.arguments import with_arguments
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.hyperparameters import numeric_hyperparameters
from algoperf_lightning.utilities.signatures import constructor_parameters


@with_arguments
class First(Submission):
    """One.

    More of it.

    Args:
        rate: A rate
            in two lines.
        decay: A decay.

    Reference: nowhere.
    """

    rate: float = 0.1
    decay: float = 0.2


@with_arguments
class Second(First):
    """Two.

    Args:
        decay: Another decay.
        length: A length.

    Raises:
        BadInputError: Never.
    """

    hyperparameter_ranges = {"rate": "[0, 1)"}  # noqa: RUF012

    length: int = 3
    decay: float = 0.5


@dataclass
class OfAUser(Muon):
    """A user's dataclass in a module that does not know the names in the annotations of the base class."""

    learning_rate: float = 0.5
    more: int = 1


class WithOptions(Lamb):
    """A user's class with a constructor of its own.

    Args:
        more: More.
    """

    def __init__(self, more: float = 1.0, **options: float) -> None:
        super().__init__(**options)
        self.more = more


def test_a_field_declared_again_keeps_its_place_and_a_new_one_comes_last():
    assert str(inspect.signature(Second)) == "(rate: float = 0.1, decay: float = 0.5, length: int = 3) -> None"
    assert Second(0.3).hyperparameters == {"rate": 0.3, "decay": 0.5, "length": 3}


def test_the_docstring_describes_inherited_arguments_before_its_other_sections():
    parsed = docstring_parser.parse(Second.__doc__)
    assert parsed.short_description == "Two."
    assert [(each.arg_name, each.description) for each in parsed.params] == [
        ("rate", "A rate in two lines."),
        ("decay", "Another decay."),
        ("length", "A length."),
    ]
    assert Second.__doc__.index("length:") < Second.__doc__.index("Raises:")
    assert First.__doc__.index("More of it.") < First.__doc__.index("Args:") < First.__doc__.index("Reference:")


def test_instances_are_told_apart_by_identity():
    assert First() != First()
    assert len({First(), First()}) == 2


@pytest.mark.parametrize(
    ("cls", "given", "made"),
    [
        (OfAUser, {"more": 2}, {"learning_rate": 0.5, "muon_beta": 0.9, "more": 2}),
        (WithOptions, {"more": 2.0, "epsilon": 0.5}, {"more": 2.0, "epsilon": 0.5}),
    ],
    ids=["dataclass", "own-constructor"],
)
def test_users_can_derive_from_a_baseline(cls, given, made):
    submission = cls(**given)
    assert made.items() <= submission.hyperparameters.items()
    assert submission.label_smoothing == submission.__class__.__mro__[1]().label_smoothing
    with pytest.raises(BadInputError, match=r"learning_rate must be a number in \[0, inf\), but got -1"):
        cls(learning_rate=-1)
    assert numeric_hyperparameters(cls).keys() >= {"learning_rate", "weight_decay", "more"}
    parameters, takes_any = constructor_parameters(cls)
    assert not takes_any
    assert all(parameter.annotation is not parameter.empty for parameter in parameters.values())
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "submission")
    parsed = parser.parse_args(["--submission.learning_rate", "0.25", "--submission.more", "3"])
    assert isinstance(parser.instantiate(parsed).submission, cls)
    assert parsed.submission.learning_rate == 0.25
    assert_checks_types(parser)


def assert_checks_types(parser):
    """Of what is given on a command line; types that jsonargparse cannot resolve it does not check."""
    assert "Unvalidated" not in parser.format_help()
    with pytest.raises(ArgumentError, match="Expected a <class 'float'>"):
        parser.parse_args(["--submission.learning_rate", "fast"])


@dataclass
class OfItsOwn(Submission):
    """A user's dataclass in a module with postponed annotations."""

    learning_rate: float = 0.5


@pytest.mark.parametrize("cls", [OfItsOwn, Lamb], ids=lambda cls: cls.__name__)
def test_the_command_line_knows_the_types(cls):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "submission")
    assert_checks_types(parser)


def test_a_class_that_was_not_decorated_is_refused_when_its_defaults_would_be_ignored():
    class Forgotten(Lamb):
        learning_rate: float = 0.5
        note: str = "no hyperparameter"

    with pytest.raises(BadInputError, match=r"^Forgotten declares learning_rate again, but is not decorated"):
        Forgotten()


def test_an_unknown_argument_of_a_baseline_is_refused_with_all_of_its_names():
    with pytest.raises(TypeError, match=r"NadamW: .*'lr'.* learning_rate, .*epsilon, warmup_steps, horizon_steps\."):
        NadamW(lr=0.1)
