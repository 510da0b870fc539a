"""The checks of the contract that make many runs, or compile, on a representative of each kind of submission."""

import pytest
from contract_parts import LONG
from odd_digits import representatives

from algoperf_lightning import get_submission
from algoperf_lightning.testing import check_submission

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", representatives())
def test_keeps_the_rest_of_the_contract(name):
    check_submission(get_submission(name), only=LONG).raise_if_failed()


# A step takes up to a minute to compile.
@pytest.mark.parametrize("name", [*representatives()[::5], "prodigy", "psgd_kron"])
def test_steps_are_the_same_compiled(name):
    check_submission(get_submission(name), only=["compile"]).raise_if_failed()
