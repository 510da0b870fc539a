"""Tests for authors of workloads and submissions.

Each check raises an ``AssertionError`` that describes the problem. In a test file::

    import pytest
    from algoperf_lightning import testing

    @pytest.mark.parametrize("check", testing.SUBMISSION_CHECKS, ids=lambda check: check.__name__)
    def test_my_submission(check, tmp_path):
        check(MySubmission, tmp_path)

    def test_my_submission_keeps_the_contract():
        testing.check_submission(MySubmission).raise_if_failed()

    def test_my_optimizer_keeps_the_contract():
        testing.check_optimizer(MyOptimizer, lr=0.01).raise_if_failed()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.contract import Contract
from algoperf_lightning.utilities.lazy_names import lazy_names

if TYPE_CHECKING:
    from algoperf_lightning.testing.contract.checks import CHECKS, Check, check_optimizer, check_submission
    from algoperf_lightning.testing.contract.report import Report, Row
    from algoperf_lightning.testing.runs import PlainSGD, at_tiny_size, train, with_tiny_data
    from algoperf_lightning.testing.submissions import (
        SUBMISSION_CHECKS,
        SubmissionCheck,
        check_hyperparameters,
        check_submission_resume,
        check_trains,
    )
    from algoperf_lightning.testing.workloads import (
        WORKLOAD_CHECKS,
        WorkloadCheck,
        check_compile,
        check_data,
        check_dropout,
        check_evaluation,
        check_gradients,
        check_model,
        check_multiplied,
        check_outputs,
        check_parts,
        check_resume,
        check_spec,
        check_target,
    )

# Imported on first use, because the contract needs neither Lightning nor a workload.
_FILE = {
    "CHECKS": "contract.checks",
    "Check": "contract.checks",
    "PlainSGD": "runs",
    "Report": "contract.report",
    "Row": "contract.report",
    "SUBMISSION_CHECKS": "submissions",
    "SubmissionCheck": "submissions",
    "WORKLOAD_CHECKS": "workloads",
    "WorkloadCheck": "workloads",
    "at_tiny_size": "runs",
    "check_compile": "workloads",
    "check_data": "workloads",
    "check_dropout": "workloads",
    "check_evaluation": "workloads",
    "check_gradients": "workloads",
    "check_hyperparameters": "submissions",
    "check_model": "workloads",
    "check_optimizer": "contract.checks",
    "check_outputs": "workloads",
    "check_multiplied": "workloads",
    "check_parts": "workloads",
    "check_resume": "workloads",
    "check_spec": "workloads",
    "check_submission": "contract.checks",
    "check_submission_resume": "submissions",
    "check_target": "workloads",
    "check_trains": "submissions",
    "train": "runs",
    "with_tiny_data": "runs",
}

__all__ = [
    "CHECKS",
    "SUBMISSION_CHECKS",
    "WORKLOAD_CHECKS",
    "Check",
    "Contract",
    "PlainSGD",
    "Report",
    "Row",
    "SubmissionCheck",
    "WorkloadCheck",
    "at_tiny_size",
    "check_compile",
    "check_data",
    "check_dropout",
    "check_evaluation",
    "check_gradients",
    "check_hyperparameters",
    "check_model",
    "check_multiplied",
    "check_optimizer",
    "check_outputs",
    "check_parts",
    "check_resume",
    "check_spec",
    "check_submission",
    "check_submission_resume",
    "check_target",
    "check_trains",
    "train",
    "with_tiny_data",
]

__getattr__, __dir__ = lazy_names(__name__, _FILE)
