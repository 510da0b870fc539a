"""Every registered submission keeps the contract, or declares why a check does not apply."""

import pytest
from odd_digits import representatives

from algoperf_lightning import get_submission
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.testing import CHECKS, check_submission

NAMES = list(plugins(SUBMISSIONS))
LONG = ("resume", "symmetry", "memory", "ranks", "foreach", "order", "float32", "schedule")
"""Checks of many runs; those of the first ones together take a second or two."""


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_contract(name):
    check_submission(get_submission(name), skip=[*LONG, "compile"]).raise_if_failed()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_rest_of_the_contract(name):
    check_submission(get_submission(name), only=LONG).raise_if_failed()


@pytest.mark.slow
@pytest.mark.parametrize("name", representatives())
def test_steps_are_the_same_compiled(name):
    check_submission(get_submission(name), only=["compile"]).raise_if_failed()


@pytest.mark.parametrize("name", NAMES)
def test_every_exemption_is_needed(name):
    contract = get_submission(name).contract
    assert set(contract.exempt) <= set(CHECKS)
    assert all(reason.endswith(".") for reason in contract.exempt.values())
