"""The log of a submission by itself: what it takes, what it keeps, in which rows it comes out."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.training import submission_log
from algoperf_lightning.training.submission_log import SubmissionLog


@pytest.fixture
def at():
    """The step that is made; a test sets ``at.step``."""

    class At:
        step = 1

    return At()


@pytest.fixture
def log(at):
    log = SubmissionLog()
    log.begin(lambda: at.step, step_hint=10_000)
    log.rows = []
    log.sinks.append(log.rows.extend)
    return log


def test_values_of_a_step_are_one_row_in_any_type(log):
    log.add({"number": 2, "truth": True, "numpy": np.float32(0.5), "single": torch.tensor(1.5)})
    log.add({"double": torch.tensor(0.1, dtype=torch.float64), "count": torch.tensor(3), "half": torch.ones(()).half()})
    log.add({"parameter": torch.nn.Parameter(torch.tensor(7.0)), "loss": torch.tensor(2.0, requires_grad=True) * 3})
    log.add({"number": 4})
    log.flush(1.25, 1)
    (row,) = log.rows
    assert (row.step, row.submission_seconds, row.loss, row.learning_rates) == (1, 1.25, None, [])
    names = ("number", "truth", "numpy", "single", "double", "count", "half", "parameter", "loss")
    assert row.values == dict(zip(names, (4.0, 1.0, 0.5, 1.5, 0.1, 3.0, 1.0, 7.0, 6.0), strict=True))


def test_a_tensor_is_logged_as_it_was(log):
    norm = torch.tensor(1.0)
    log.add({"norm": norm})
    norm.fill_(5.0)
    log.flush(0.0, 1)
    assert log.rows[0].values == {"norm": 1.0}


class Reads(TorchDispatchMode):
    """Counts what makes a number of a tensor, for which a GPU is waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten._to_copy.default)
        return function(*args, **(kwargs or {}))


def test_no_value_is_read_before_the_clock_is(log, at, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "tolist", None)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=torch.tensor(0.5))
    with Reads() as reads:
        for at.step in range(1, 1500):
            log.add({"norm": torch.ones(()), "other": torch.ones((), dtype=torch.int64)})
            log.add_learning_rates([optimizer])
    assert reads.count == 0


def test_many_values_come_out_in_order_and_are_kept_as_few_tensors(log, at):
    for at.step in range(1, 5001):
        log.add({"a": torch.tensor(float(at.step)), "b": -at.step})
    assert len(log._kept) < submission_log._PACKED_AT
    log.flush(9.0, 5000)
    assert [(row.step, row.values) for row in log.rows] == [(n, {"a": n, "b": -n}) for n in range(1, 5001)]


def test_a_long_time_without_an_evaluation_does_not_fill_the_memory(log, at, monkeypatch):
    monkeypatch.setattr(submission_log, "_HELD", 100)
    for at.step in range(1, 1001):
        log.add({"a": at.step})
        log.collect(at.step / 10)
        assert len(log._rows) <= 101
    log.flush(100.0, 1000)
    assert [row.step for row in log.rows] == list(range(1, 1001))
    assert [row.submission_seconds for row in log.rows] == [n / 10 for n in range(1, 1001)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"norm": "high"}, "'norm' must be a number .*got 'high'"),
        ({"norm": None}, "'norm' must be .*got None"),
        ({"norm": torch.zeros(3)}, r"'norm' must be .* Tensor of shape \(3,\) and type torch.float32"),
        ({"norm": torch.zeros(1)}, r"a Tensor of shape \(1,\)"),
        ({"norm": torch.zeros((), dtype=torch.complex64)}, "complex64"),
        ({"norm": torch.zeros((), device="meta")}, "'norm' must be"),
        ({"norm": 1j}, "got 1j"),
        ({"norm": 10**400}, "got 1000"),
        ({"norm": [1.0]}, r"got \[1.0\]"),
        ({"": 1.0}, "a name must be .*got ''"),
        ({3: 1.0}, "a name must be .*got 3"),
        (("norm", 1.0), "takes a dict of values by name, but got"),
    ],
)
@pytest.mark.parametrize("running", [True, False])
def test_what_is_no_number_is_refused_also_where_nothing_is_kept(values, message, running, log):
    with pytest.raises(BadInputError, match=message):
        (log if running else SubmissionLog()).add(values)


def test_a_value_within_a_transformed_function_is_refused(log):
    def loss(x):
        log.add({"x": x})
        return x * x

    with pytest.raises(BadInputError, match=r"torch\.func"):
        torch.func.grad(loss)(torch.tensor(1.0))


def test_a_class_of_the_submission_is_no_number_as_its_code_would_run_off_the_clock(log):
    class Own(torch.Tensor):
        pass

    with pytest.raises(BadInputError, match="Own of shape"):
        log.add({"own": torch.zeros(()).as_subclass(Own)})


def test_losses_and_rates_of_a_thousand_steps_are_logged(log, at):
    weights = [torch.zeros(1) for _ in range(3)]
    first = torch.optim.SGD([{"params": weights[:1], "lr": 0.5}, {"params": weights[1:2], "lr": torch.tensor(0.25)}])
    second = torch.optim.SGD(weights[2:], lr=3.0)
    for at.step in range(1, 41):
        first.param_groups[0]["lr"] = 1.0 / at.step
        for _ in range(2):  # as two passes do
            log.add_learning_rates([first, second])
    log.collect(1.0, [(step, step / 2) for step in range(1, 41)])
    log.flush(1.0, 40)
    assert [(row.step, row.loss) for row in log.rows] == [(1, 0.5), (10, 5.0), (20, 10.0), (30, 15.0), (40, 20.0)]
    assert log.rows[1].learning_rates == [0.1, 0.25, 3.0]
    assert log.rows[1].to_metrics() == {
        "training/loss": 5.0,
        "training/learning_rate": 0.1,
        "training/learning_rate/1": 0.25,
        "training/learning_rate/2": 3.0,
    }


def test_nothing_is_kept_where_no_clock_has_begun_it():
    log = SubmissionLog()
    log.add({"norm": torch.ones(())})
    log.add_learning_rates([torch.optim.SGD([torch.zeros(1)], lr=0.1)])
    log.collect(1.0, [(1, 0.5)])
    assert not log._kept
    assert not log._rows


def test_values_that_are_not_finite_come_out_as_they_are(log):
    log.add({"a": math.inf, "b": torch.tensor(math.nan)})
    log.flush(0.0, 1)
    assert log.rows[0].values["a"] == math.inf
    assert math.isnan(log.rows[0].values["b"])
