"""Every registered workload and submission passes the library's own checks: a new one is tested by being registered."""

import pytest

from algoperf_lightning import get_submission, get_workload, testing
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, plugins

SLOW = (
    testing.check_compile,
    testing.check_dropout,
    testing.check_evaluation,
    testing.check_resume,
    testing.check_target,
    testing.check_trains,
)

# Published default points at which an optimizer learns too slowly here, or too fast.
RATES = {
    "psgd_kron": 2e-3,
    "scion": 1e-4,
    "valley_adabelief": 0.1,
    "valley_adadelta": 1.0,
    "valley_adagrad": 0.1,
    "valley_lookahead_momentum": 0.05,
    "valley_lookahead_radam": 0.2,
    "valley_momentum": 0.005,
    "valley_radam": 0.1,
    "valley_sgd": 0.3,
}


def at_rate(submission, learning_rate):
    """A class of submissions whose default learning rate is another one."""

    class AtRate(submission):
        def __init__(self, **options):
            super().__init__(**{"learning_rate": learning_rate, **options})

    return AtRate


def checks(of):
    return [pytest.param(each, id=each.__name__, marks=[pytest.mark.slow] if each in SLOW else []) for each in of]


@pytest.mark.parametrize("check", checks(testing.WORKLOAD_CHECKS))
@pytest.mark.parametrize("name", plugins(WORKLOADS))
def test_workload(name, check, tiny_folder):
    check(get_workload(name), tiny_folder(name))


@pytest.mark.parametrize("check", checks(testing.SUBMISSION_CHECKS))
@pytest.mark.parametrize("name", plugins(SUBMISSIONS))
def test_submission(name, check, tmp_path):
    submission = get_submission(name)
    if check is testing.check_trains and name in RATES:
        submission = at_rate(submission, RATES[name])
    check(submission, tmp_path)
