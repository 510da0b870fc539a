"""Every registered workload and submission passes the library's own checks: a new one is tested by being registered."""

import pytest

from algoperf_lightning import get_submission, get_workload, testing
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, plugins

SLOW = (testing.check_compile,)


def checks(of):
    return [pytest.param(each, id=each.__name__, marks=[pytest.mark.slow] if each in SLOW else []) for each in of]


@pytest.mark.parametrize("check", checks(testing.WORKLOAD_CHECKS))
@pytest.mark.parametrize("name", plugins(WORKLOADS))
def test_workload(name, check, tmp_path):
    check(get_workload(name), tmp_path)


@pytest.mark.parametrize("check", checks(testing.SUBMISSION_CHECKS))
@pytest.mark.parametrize("name", plugins(SUBMISSIONS))
def test_submission(name, check, tmp_path):
    check(get_submission(name), tmp_path)
