"""NadamW sequential: when runs begin, from where, with what."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch
from odd_digits import STEP_HINT, OddDigits, make

from algoperf_lightning import get_submission
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.testing import train

ENDS = (STEP_HINT, 2 * STEP_HINT, 2 * STEP_HINT + 9)  # the third run is three quarters of the step hint


class Notes(L.Callback):
    """What holds at each step: weights before it, and the optimizer's options."""

    def __init__(self):
        self.weights, self.options, self.tracked = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        (group,) = optimizer.param_groups
        self.weights.append([p.detach().clone() for p in pl_module.network.parameters()])
        self.options.append((group["lr"], *group["betas"], group["weight_decay"]))
        self.tracked.append(int(pl_module.network.norm.num_batches_tracked))


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    notes = Notes()
    train(OddDigits(make("nadamw_sequential")), ENDS[-1] + 2, tmp_path_factory.mktemp("runs"), callbacks=[notes])
    return notes


def equal(ones, others):
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


def test_each_run_begins_where_the_first_began(notes):
    for begin in ENDS[:2]:
        assert equal(notes.weights[begin], notes.weights[0])
        assert not equal(notes.weights[begin - 1], notes.weights[0])
        assert notes.tracked[begin] == notes.tracked[0] == 1  # running statistics too: this is their first batch
    assert not equal(notes.weights[ENDS[2]], notes.weights[0])


def test_each_run_has_its_point(notes):
    runs = get_submission("nadamw_sequential").runs
    for begin, end, run in zip((0, *ENDS[:2]), ENDS, runs, strict=True):
        for step in range(begin, end):
            rate, beta1, beta2, decay = notes.options[step]
            assert (beta1, beta2, decay) == (1 - run.one_minus_beta1, run.beta2, run.weight_decay)
            assert rate <= run.learning_rate
        assert notes.options[begin][0] == run.learning_rate  # int(0.02 * 12) steps of warm-up: none
    assert notes.options[-1][0] == 0.0


@pytest.mark.parametrize(
    ("step_hint", "last"),  # of AlgoPerf v0.5, in which this was an entry: criteo1tb, fastmri, imagenet, wmt
    [(10_666, 8_000), (36_189, 27_142), (186_666, 140_000), (133_333, 100_000)],
)
def test_three_quarters_of_a_step_hint_are_rounded_up(step_hint, last):
    model = torch.nn.Linear(2, 2)
    submission = get_submission("nadamw_sequential")()
    made = submission.configure_optimizers(model, SimpleNamespace(step_hint=step_hint, model=model))
    (rate,) = made["lr_scheduler"].lr_lambdas
    end = 2 * step_hint + last
    assert rate(end - 1) > 0 == rate(end) == rate(end + last)


def test_no_run_smooths_its_labels(tmp_path):
    """As all runs of the entry were made, though its points name label smoothing."""
    smoothings = []

    class Watched(OddDigits):
        def loss(self, batch, *, label_smoothing=0.0):
            smoothings.append(label_smoothing)
            return super().loss(batch, label_smoothing=label_smoothing)

    train(Watched(make("nadamw_sequential")), ENDS[-1], tmp_path)
    assert smoothings == [0.0] * ENDS[-1]


def test_each_run_begins_with_fresh_moments(tmp_path):
    """The first step of the second run goes as far as Adam's first step does, whatever was before."""
    notes = Notes()
    train(OddDigits(make("nadamw_sequential")), STEP_HINT + 2, tmp_path, callbacks=[notes])
    rate, _, _, decay = notes.options[STEP_HINT]
    before, after = notes.weights[STEP_HINT][0], notes.weights[STEP_HINT + 1][0]
    steps = (after - before * (1 - rate * decay)).abs() / rate
    beta1 = notes.options[STEP_HINT][1]
    # At the first step m = (1 - b1) g, so the numerator is (b1 + 1) g and the denominator |g|.
    torch.testing.assert_close(steps, torch.full_like(steps, 1 + beta1), rtol=0.02, atol=0)


def test_it_ends_after_the_last_run(tmp_path):
    budget = TimeBudget(budget=1000.0, eval_period=500.0, target=0.9999)
    workload = OddDigits(make("nadamw_sequential"))
    train(workload, -1, tmp_path, callbacks=[budget])
    assert budget.result.message == "The submission ended the run."
    assert budget.result.steps > ENDS[-1]


def test_initial_weights_are_kept_as_long_as_they_are_wanted(tmp_path):
    workload = OddDigits(make("nadamw_sequential"))
    train(workload, ENDS[1] + 1, tmp_path)
    assert workload.submission.state_dict()["initial"] == {}
