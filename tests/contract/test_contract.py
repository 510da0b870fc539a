"""What is declared in a contract, and what a report says."""

import dataclasses
import warnings

import faults
import pytest
import torch

from algoperf_lightning import Submission
from algoperf_lightning.contract import EVERY_ROLE, Contract
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.testing import check_optimizer, check_submission


def test_an_exemption_is_shown_with_its_reason():
    contract = Contract(exempt={"closure": "It plays chess."})
    row = check_optimizer(faults.CallsTwice, contract=contract, only=["closure"]).raise_if_failed()["closure"]
    assert (row.status, row.found) == ("not applicable", "declared: It plays chess.")


def test_a_check_that_is_skipped_is_shown():
    assert check_optimizer(faults.CallsTwice, only=["closure"], skip=["closure"])["closure"].found == "skipped"


def test_declared_calls_of_the_closure_are_expected():
    contract = Contract(closure_calls=2)
    check_optimizer(faults.CallsTwice, contract=contract, only=["closure"]).raise_if_failed()
    assert not check_optimizer(faults.Plain, contract=contract, only=["closure"]).passed


def test_a_class_carries_its_contract():
    class Signs(faults.SaysItTurns):
        contract = Contract(symmetries={"sign": EVERY_ROLE, "permutation": EVERY_ROLE})

    assert check_optimizer(Signs, only=["symmetry"])["symmetry"].found == "sign, permutation hold"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"symmetries": {"rotations": EVERY_ROLE}}, "Did you mean 'rotation'"),
        ({"exempt": {"closure": " "}}, "must give the reason why 'closure' does not apply"),
    ],
)
def test_what_is_declared_wrongly_is_refused(given, said):
    with pytest.raises(BadInputError, match=said):
        Contract(**given)


def test_an_unknown_check_in_a_contract_is_refused():
    with pytest.raises(BadInputError, match="Did you mean 'closure'"):
        check_optimizer(faults.Plain, contract=Contract(exempt={"closures": "Why not."}))


def test_options_of_a_contract_are_hyperparameters_and_those_given_count_more():
    class Large(Submission):
        contract = Contract(options={"lr": 7.0})

        def __init__(self, lr: float = 0.1):
            self.lr = lr

        def configure_optimizers(self, model, workload):
            raise RuntimeError(f"the rate is {self.lr}")

    for options, rate in (({}, 7.0), ({"lr": 3.0}, 3.0)):
        with pytest.raises(BadInputError, match=f"the rate is {rate}"):
            check_submission(Large, **options)


def test_checks_leave_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_optimizer(faults.Plain, only=["closure", "resume"])
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("microbatches", "micro_batches"),
        ("batchsize", "batch_sizes"),
        ("grad_clip", "gradient_clip"),
        ("train_step", "training_step"),
        ("configure_optimizer", "configure_optimizers"),
    ],
)
def test_a_misspelt_attribute_of_a_class_is_warned_of(name, meant):
    with pytest.warns(UserWarning, match=rf"Mine\.{name} is not used by any run\. Did you mean {meant}\?"):
        type("Mine", (Submission,), {name: 1})


def test_other_attributes_are_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @dataclasses.dataclass
        class Mine(Submission):
            dropout_rate: float = 0.1
            batch_size: int = 3  # an argument is the submission's own

            momentum = 0.9

            def take_average(self):
                pass
