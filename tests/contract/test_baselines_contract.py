"""Every registered submission keeps the contract, or declares why a check does not apply."""

import pytest
from contract_parts import LONG
from odd_digits import representatives

from algoperf_lightning import get_submission
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.testing import CHECKS, check_submission

NAMES = list(plugins(SUBMISSIONS))
FAST = representatives()[::12]
"""Each takes some seconds; the others are left to the slow tests."""


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_keeps_the_contract(name):
    check_submission(get_submission(name), skip=[*LONG, "compile"]).raise_if_failed()


@pytest.mark.parametrize("name", NAMES)
def test_every_exemption_has_its_reason(name):
    contract = get_submission(name).contract
    assert set(contract.exempt) <= set(CHECKS)
    assert all(reason.endswith(".") for reason in contract.exempt.values())
