"""Every check of the contract finds the fault that it is for, and an optimizer without faults passes all."""

import faults
import pytest
import torch

from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import CHECKS, check_optimizer, check_submission

FAULTS = {
    "roles": [
        (faults.OnlyMatrices, "not accept 0-d, 1-d, 3-d, 4-d"),
        (faults.ForgetsBias, "head.bias never move"),
    ],
    "convolution": [(faults.LastAxes, "is not trained like")],
    "symmetry": [(faults.SaysItTurns, "rotation is declared")],
    "resume": [
        (faults.CountsForItself, "after resuming from step"),
        (faults.CountsForTheClass, "two identical runs differ"),
        (faults.Counts, "after resuming from step"),
    ],
    "state": [(faults.RestartsLate, r"RestartsLate\.steps is 5 instead of 16")],
    "memory": [(faults.KeepsAll, "bytes per parameter after 12"), (faults.KeepsNumbers, "stored numbers")],
    "ranks": [(faults.DiffersByRank, "two ranks end with different parameters")],
    "foreach": [(faults.OtherForeach, "foreach=True and False"), (faults.OneNormOfAGroup, "separate groups")],
    "order": [(faults.ByPlace, "opposite order")],
    "float32": [(faults.Cancels, "float32 and float64 differ with gradients of size 0.0001")],
    "bfloat16": [(faults.Widens, "become torch.float32")],
    "float16": [(faults.TinyEps, "NaN or infinite")],
    "compile": [(faults.OtherWhenCompiled, "the compiled step gives a different result")],
    "missing_gradients": [(faults.MissingIsZero, "without a gradient")],
    "zero_gradients": [(faults.DividesByNorm, "NaN or infinite")],
    "sparse_gradients": [
        (faults.DividesByRows, "rows without gradient, embedding.weight become NaN"),
        (faults.SparseTwice, "sparse gradients differ from dense"),
    ],
    "gradient_kept": [(faults.KeepsGradient, "the gradient is kept without a copy")],
    "gradient_modified": [(faults.DecaysGradient, "modifies the gradient of")],
    "closure": [
        (faults.CallsTwice, "calls its closure 2 times"),
        (faults.CallsWithoutGrad, "gradients disabled"),
        (faults.ReturnsNothing, "returns None"),
    ],
    "zero_learning_rate": [(faults.NeverStill, "with a learning rate of 0")],
    "schedule": [
        (faults.FirstRate, "the same with half the learning rate"),
        (faults.FrozenSchedule, "never decreases"),
        (faults.NeverMoves, "no parameter moves in 24 steps, so the learning rate has no effect"),
        (faults.BecomesNaN, "after 24 steps, .* become NaN or infinite"),
    ],
    "global_state": [
        (faults.DrawsGlobally, r"random generators \(torch\)"),
        (faults.SetsPrecision, "matmul_precision"),
        (faults.DrawsAtStart, "not seeded yet"),
    ],
    "attributes": [(faults.Misspelt, r"microbatches \(did you mean micro_batches\?\)")],
}
ALSO = {
    faults.CountsForItself: {"state"},
    faults.CountsForTheClass: {
        "ranks",
        "foreach",
        "order",
        "float32",
        "compile",
        "gradient_kept",
        "closure",
        "schedule",
    },
    faults.Counts: {"schedule", "zero_learning_rate"},
    faults.Widens: {"float16"},
    faults.ByPlace: {"foreach"},
    faults.DecaysGradient: {"sparse_gradients"},
}
"""What a fault must break beside the check that is for it."""

PLANTED = [
    pytest.param(check, fault, said, id=f"{check}-{fault.__name__}")
    for check, found in FAULTS.items()
    for fault, said in found
]


@pytest.fixture(autouse=True)
def as_before():
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


def check(fault, **chosen):
    return check_submission(fault, **chosen) if issubclass(fault, Submission) else check_optimizer(fault, **chosen)


def test_every_check_has_a_planted_fault():
    assert FAULTS.keys() == CHECKS.keys()


@pytest.mark.parametrize(("name", "fault", "said"), PLANTED)
def test_a_planted_fault_is_found(name, fault, said):
    with pytest.raises(AssertionError, match=rf"{name}: .*{said}"):
        check(fault, only=[name]).raise_if_failed()


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_planted_fault_is_found_by_no_other_check(name):
    fault = FAULTS[name][0][0]
    report = check(fault, skip={name, "compile"})
    assert {row.check for row in report.failed} <= ALSO.get(fault, set())


@pytest.mark.parametrize("right", [faults.Plain, pytest.param(faults.Right, marks=pytest.mark.slow)])
def test_what_has_no_fault_passes(right):
    report = check(right).raise_if_failed()
    assert [row.check for row in report.rows] == list(CHECKS)
    other = {"symmetry"} | ({"attributes"} if right is faults.Plain else {"foreach"})
    assert {row.check for row in report.rows if row.status != "passed"} == other


def test_a_step_that_never_calls_its_closure_is_found():
    assert "does not call its closure" in check(faults.NeverCalls, only=["closure"])["closure"].found


@pytest.mark.slow
def test_ranks_that_wait_for_each_other_end():
    assert check(faults.WaitsForOneRank, only=["ranks"])["ranks"].status == "failed"
