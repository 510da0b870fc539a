"""Every registered workload and submission passes the library's own checks: a new one is tested by being registered."""

import pytest

from algoperf_lightning import get_submission, get_workload, testing
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, plugins


@pytest.mark.parametrize("check", testing.WORKLOAD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugins(WORKLOADS))
def test_workload(name, check, tmp_path):
    check(get_workload(name), tmp_path)


@pytest.mark.parametrize("check", testing.SUBMISSION_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugins(SUBMISSIONS))
def test_submission(name, check, tmp_path):
    check(get_submission(name), tmp_path)
